"""What one fsync costs on the disk below the store: the unit in which the acknowledgement's latency is measured."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec


class FsyncCost(msgspec.Struct, frozen=True):
    """Latencies of append-and-sync, in milliseconds."""

    p50_ms: float
    p99_ms: float
    count: int
    write_bytes: int


def fsync_cost(
    directory: Path,
    write_bytes: int,
    *,
    count: int,
    within_s: float,
    clock_s: Callable[[], float] = time.perf_counter,
) -> FsyncCost:
    """Append ``write_bytes`` and ``fdatasync``, as the store does for a batch, up to ``count`` times or ``within_s``.

    The file lies in ``directory``, which should be the store's. Raises ``OSError``.
    """
    path = directory / "fsync-probe"
    block = os.urandom(write_bytes)
    latencies_s: list[float] = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o600)
    try:
        end_s = clock_s() + within_s
        while len(latencies_s) < count and (not latencies_s or clock_s() < end_s):
            start_s = clock_s()
            os.write(descriptor, block)
            os.fdatasync(descriptor)
            latencies_s.append(clock_s() - start_s)
    finally:
        os.close(descriptor)
        path.unlink()
    return FsyncCost(
        percentile(latencies_s, 50) * 1000, percentile(latencies_s, 99) * 1000, len(latencies_s), write_bytes
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of ``values`` do not exceed. Raises ``ValueError`` for none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(rank) - 1)]
