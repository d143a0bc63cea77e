"""The points of ``migrate.lua``, which no running gateway passes as long as there is one format only."""

import os
import subprocess
import sys

import pytest

from gateway.faults import VARIABLE
from tests.faults.migrating import KEYS
from tests.faults.points import all_points
from tests.support.stores import StoreServer

POINTS = [point for point in all_points() if point.startswith("migrate.")]


def bring(server: StoreServer, order: str) -> "subprocess.CompletedProcess[bytes]":
    """Run the process, armed so."""
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.migrating", server.url],
        env={**os.environ, VARIABLE: order},
        capture_output=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("point", POINTS)
def test_a_migration_survives_its_points(server: StoreServer, point: str) -> None:
    """Killed, failing or hanging: whoever comes next finishes it, and every partition is done once."""
    for action in ("kill@2", "error@1", "hang:0.2@1"):
        server.ask("FLUSHALL")
        for keys in KEYS:
            server.ask("HSET", keys.state, "format", 1)
        assert f"fault {point}".encode() in bring(server, f"{point}={action}").stderr
        assert bring(server, "").returncode == 0
        for keys in KEYS:
            assert server.ask("HMGET", keys.state, "format", "stepped") == [b"2", b"1"]
