"""What the configuration says, in the form in which the intake's parts want it."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from adapters.registry import BrokenAdapter, find
from gateway.config import Config, GatewaySettings, SourceSettings, StoreSettings
from gateway.intake.connections import Limits, open_files_for
from gateway.intake.endpoint import Inlet
from gateway.intake.spool import Spool
from gateway.store.log import PartitionLog

log = structlog.get_logger("gateway.intake")


def inlets(config: Config, *, workers: int) -> dict[str, Inlet]:
    """Source name → what the endpoint serves it with. ``workers``: how many processes share each source's rate."""
    return {name: _inlet(config, name, source, workers) for name, source in config.sources.items()}


def _inlet(config: Config, name: str, settings: SourceSettings, workers: int) -> Inlet:
    found = find(settings.adapter, config.path.parent)
    broken = settings.broken or (found.reason if isinstance(found, BrokenAdapter) else "")
    adapter = None if broken or isinstance(found, BrokenAdapter) else found
    return Inlet(
        source=settings.source,
        adapter=adapter,
        broken=broken,
        seen_ttl_s=config.remembered_s(name),
        rate_per_s=settings.rate_per_s / workers if settings.rate_per_s else None,  # each has its share
    )


def make_spool(
    settings: StoreSettings,
    logs: Sequence[PartitionLog],
    *,
    make_name: Callable[[], str],
    wall_ms: Callable[[], int],
    has_room: Callable[[], bool],
) -> Spool | None:
    """The spool, if there shall be one. ``logs``: one a partition; the rest is as for ``Spool``."""
    if settings.spool is None:
        return None

    def renew() -> None:
        for each in logs:
            each.renew()

    return Spool(
        settings.spool,
        limit_bytes=settings.spool_bytes,
        partitions=settings.partitions,
        make_name=make_name,
        wall_ms=wall_ms,
        has_room=has_room,
        replaced=renew,
    )


def limits(settings: GatewaySettings) -> Limits:
    """The limits of connections, as far as the system lets this process have the open files for them."""
    possible = open_files_for(settings.max_connections)
    if possible < settings.max_connections:
        log.warning("gateway.few_files", max_connections=possible, why="the limit of open files allows no more")
    return Limits(
        header_timeout_s=settings.header_timeout_s,
        body_timeout_s=settings.body_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        max_connections=possible,
    )


def key_host(env: Mapping[str, str]) -> dict[str, Any]:
    """For the demo and tests: where a key host's name leads, and whose certificates to trust, for ``KeyFetcher``.

    ``GATEWAY_KEY_HOST_RESOLVE="<host>=<ip>:<port>"`` and ``GATEWAY_KEY_HOST_CA=<file of PEM>``; without them nothing.
    """
    found: dict[str, Any] = {}
    with contextlib.suppress(KeyError, ValueError):
        host, _, target = env["GATEWAY_KEY_HOST_RESOLVE"].partition("=")
        ip, _, port = target.rpartition(":")
        found["resolve"] = {host: (ip, int(port))}
        found["ca_pem"] = Path(env["GATEWAY_KEY_HOST_CA"]).read_bytes()
    return found
