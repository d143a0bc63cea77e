"""How one process starts and stops: which part before which."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from gateway.config import StoreSettings
from gateway.delivery.dispatcher import Dispatcher
from gateway.delivery.replay import Replayer
from gateway.delivery.roster import Roster
from gateway.delivery.sharing import Sharing
from gateway.intake.committer import Committer
from gateway.intake.draining import Drainer
from gateway.intake.keys import KeyFetcher
from gateway.intake.spool import Spool
from gateway.opening import Opening
from gateway.operate.alerts import Alerts
from gateway.store.connection import Store
from gateway.store.embedded import EmbeddedStore, refuse_half_restored
from gateway.store.housekeeping import Housekeeping
from gateway.store.layout import Keys
from gateway.store.opening import PATIENCE_S, open_store
from gateway.workers.exchange import Exchange

log = structlog.get_logger("gateway")


class StartStop:
    """Starts and stops the parts of one process, each once."""

    def __init__(
        self,
        settings: StoreSettings,
        *,
        takes_requests: bool,
        delivers: bool,
        embedded: EmbeddedStore | None,
        store: Store,
        intake_store: Store,
        keys: Sequence[Keys],
        housekeeping: Housekeeping,
        exchange: Exchange | None,
        roster: Roster,
        spool: Spool | None,
        drainer: Drainer | None,
        committers: Sequence[Committer],
        key_fetcher: KeyFetcher,
        sharing: Sharing,
        dispatchers: Sequence[Dispatcher],
        replayer: Replayer,
        alerts: Alerts,
    ) -> None:
        """``takes_requests``: whether this process takes them; ``delivers``: whether it delivers.

        ``embedded``: the store as its child, if it has it; ``spool`` and ``drainer``: both or none.
        """
        self._settings = settings
        self._takes_requests = takes_requests
        self._delivers = delivers
        self._embedded = embedded
        self._store = store
        self._intake_store = intake_store
        self._keys = keys
        self._housekeeping = housekeeping
        self._exchange = exchange
        self._roster = roster
        self._spool = spool
        self._drainer = drainer
        self._committers = committers
        self._key_fetcher = key_fetcher
        self._sharing = sharing
        self._dispatchers = dispatchers
        self._replayer = replayer
        self._alerts = alerts
        self._opening = Opening(
            launch=embedded.start if embedded else None,
            steps=[self._open_store, self._keep_house, roster.start, self._deliver],
        )
        self._handing_over: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the store, check it, then take requests and deliver; with a spool, requests do not wait for the store.

        Raises ``NotDurable``, ``StoreMismatch``, ``StoreUnavailable``.
        """
        if self._settings.data_dir is not None:
            refuse_half_restored(self._settings.data_dir)
        if self._exchange is not None:
            await self._exchange.start()
        if self._spool is None or self._drainer is None:
            await self._opening.now()
        else:
            await self._spool.open()
            await self._drainer.start()
            await self._opening.soon(self._spool.lost)
        if self._delivers:
            self._alerts.start()  # also while the store is still to come: that it does not is an alert
        if self._takes_requests:
            for committer in self._committers:
                committer.start()

    async def _open_store(self) -> None:
        await open_store(self._store, self._keys, patience_s=PATIENCE_S if self._settings.data_dir else 0)

    async def _keep_house(self) -> None:
        await self._housekeeping.start(self._settings)

    async def _deliver(self) -> None:
        if self._delivers:
            await self._sharing.start()
            for dispatcher in self._dispatchers:
                dispatcher.start()
            self._replayer.start()
        if self._spool is not None:
            self._spool.opened()

    def hand_over(self) -> None:
        """Begin to stop delivering, while requests are still answered; ``stop`` waits for it."""
        if self._delivers:
            dispatchers = [dispatcher.stop() for dispatcher in self._dispatchers]
            stops = [self._sharing.stop(), self._replayer.stop(), *dispatchers]
            self._handing_over += [asyncio.create_task(each, name="hand over") for each in stops]

    async def stop(self) -> None:
        """Stop in the order of a webhook's way: what is accepted is committed, what is on the wire is settled.

        Also after a start that ended half way. Who cannot stop keeps nobody else from it; the first such error is
        raised when all others have stopped.
        """
        failed: list[Exception] = []
        for stop in self._stops():
            try:
                await stop()
            except Exception as error:  # whatever it is, the embedded store must not be left running because of it
                log.exception("stop.failed")
                failed.append(error)
        if failed:
            raise failed[0]

    def _stops(self) -> list[Callable[[], Awaitable[None]]]:
        """What ends each part, one after the other."""
        stops: list[Callable[[], Awaitable[None]]] = [self._opening.stop, self._roster.stop]
        if self._exchange is not None:
            stops.append(self._exchange.stop)
        if self._takes_requests:
            stops.append(self._commit_all)
        if self._spool is not None and self._drainer is not None:
            stops += [self._drainer.stop, self._spool.close]
        if self._delivers:
            stops += [self._alerts.stop, self._settle_all]
        stops += [self._housekeeping.stop, self._key_fetcher.close, self._intake_store.close, self._store.close]
        if self._embedded is not None:
            stops.append(self._embedded.stop)
        return stops

    async def _commit_all(self) -> None:
        await _all_of([committer.close() for committer in self._committers])

    async def _settle_all(self) -> None:
        self.hand_over()
        await _all_of(self._handing_over)


async def _all_of(work: Iterable[Awaitable[None]]) -> None:
    """Wait for each, then raise the first error."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if result is not None:
            raise result
