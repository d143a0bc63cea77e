"""What one process says of itself: whether it is ready, what its spool holds, and what only it knows."""

import asyncio
import os
from collections.abc import Callable, Sequence

from gateway.delivery.dispatcher import Dispatcher
from gateway.errors import StoreError
from gateway.intake.connections import Connections
from gateway.intake.endpoint import Stats
from gateway.intake.spool import Spool
from gateway.intake.spool_folder import BEING_WRITTEN, FolderReader, FolderView
from gateway.operate.processes import Process, resources
from gateway.operate.refusals import why_away
from gateway.operate.sight import Away, Sight
from gateway.store.connection import Store
from gateway.store.embedded import socket_path
from gateway.store.housekeeping import Housekeeping
from gateway.store.plight import Plight
from schemas.timestamps import format_ms


class ThisProcess:
    """Looks at the parts of its process; changes nothing."""

    def __init__(
        self,
        *,
        worker: int,
        sight: Callable[[], Sight],
        store: Store,
        housekeeping: Housekeeping,
        spool: Spool | None,
        stats: Stats,
        connections: Connections,
        dispatchers: Sequence[Dispatcher],
    ) -> None:
        """``worker``: its number. ``sight`` is asked when it is needed: it looks at this process itself."""
        self._worker = worker
        self._sight = sight
        self._store = store
        self._housekeeping = housekeeping
        self._spool = spool
        self._stats = stats
        self._connections = connections
        self._dispatchers = dispatchers
        self._folder_reader = FolderReader()
        self._plight: Plight | None = None

    async def readiness(self) -> dict[str, str]:
        """What keeps a POST from being answered 200, by part; empty when ready."""
        degraded: dict[str, str] = {}
        if self._spool is not None and self._spool.away_since_ms is not None:
            degraded["store"] = self._spool.away_why
        else:
            try:
                await self._store.ping()
            except StoreError as error:  # away, or no longer durable
                degraded["store"] = str(error)
        if not self._housekeeping.has_room:
            degraded["memory"] = "the store has used 85 % of its maxmemory"
        for name, source in self._sight().config.sources.items():
            if source.broken:
                degraded[f"sources.{name}"] = source.broken
        return degraded

    def away(self) -> Away | None:
        """Since when and why the store is not used, and the spool is, or would be; ``None`` if it is used."""
        unheard = self._housekeeping.unheard
        if self._spool is None or self._spool.away_since_ms is None:  # it has not been tried with a webhook
            return None if unheard is None else Away(format_ms(unheard[0]), why_away(unheard[1]))
        since_ms = self._spool.away_since_ms if unheard is None else min(self._spool.away_since_ms, unheard[0])
        return Away(format_ms(since_ms), self._spool.away_why)

    async def plight(self) -> str:
        """What the machine tells of an embedded store that does not answer, and what to do; empty if nothing."""
        settings = self._sight().config.store
        if settings.data_dir is None:
            return ""
        if self._plight is None:
            self._plight = Plight(settings, socket_path(settings.data_dir))
        return await asyncio.to_thread(self._plight.words)

    def close(self) -> None:
        """Look no longer."""
        if self._plight is not None:
            self._plight.close()

    def takes(self) -> bool | None:
        """Whether a POST is answered 200 although the store cannot take it; ``None`` without a spool."""
        return None if self._spool is None else self._spool.takes

    async def spooled(self, recount: bool = False, held_only: bool = False) -> FolderView:
        """What lies in the spool's folder, of whatever process; the arguments are those of ``FolderReader``."""
        folder = self._sight().config.store.spool
        if folder is None:
            view = FolderView()
        else:
            view = await asyncio.to_thread(self._folder_reader.read, folder, recount=recount, held_only=held_only)
        if self._spool is not None and self._spool.broken:
            view.unreadable[BEING_WRITTEN] = self._spool.broken
        return view

    def knows(self) -> Process:
        """What only this process knows."""
        sight = self._sight()
        return Process(
            pid=os.getpid(),
            worker=self._worker,
            answers=self._stats.answers,
            received_bytes=self._stats.bytes,
            limited=self._stats.limited,
            connections=len(self._connections),
            refused_connections=self._connections.refused,
            refused_changes=sight.refused_changes,
            lanes={
                name: [known for each in self._dispatchers if (known := each.lane_status(name)) is not None]
                for name in sight.config.subscribers
            },
            resources=resources(),
        )
