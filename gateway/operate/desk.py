"""The desk: every question an operator can ask, in one place, for the API, the pages and the metrics alike."""

from collections.abc import Callable, Sequence

from gateway.config import Config
from gateway.operate.sight import Deliveries, Sight, Stats
from gateway.operate.status import read_status
from gateway.operate.views import Status
from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.ledger import Ledger, make_ledger
from gateway.store.log import PartitionLog


class Desk:
    """Answers; changes nothing but by ``move_dead``. Everything raises ``StoreUnavailable`` where the store is away."""

    def __init__(
        self,
        *,
        config: Config,
        store: Store,
        keys: Sequence[Keys],
        logs: Sequence[PartitionLog],
        wall_ms: Callable[[], int],
        stats: Stats | None,
        deliveries: Deliveries,
    ) -> None:
        self.sight = Sight(
            config=config, store=store, keys=keys, logs=logs, wall_ms=wall_ms, stats=stats, deliveries=deliveries
        )

    async def ledger(self) -> Ledger:
        """The account of this moment."""
        return make_ledger(await self.sight.accounts(), self.sight.wall_ms())

    async def status(self) -> Status:
        """Sources, subscribers, store and open problems at a glance."""
        return await read_status(self.sight)
