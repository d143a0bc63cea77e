"""What everything in this package looks at: the configuration, the store, the clock."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from gateway.config import Config
from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.ledger import Account, read_account, subscribers_of
from gateway.store.log import PartitionLog


class Stats(Protocol):
    """What the endpoint answered since the process started."""

    answers: dict[int, int]
    """HTTP status → number of answers."""
    bytes: int
    """Bytes of accepted bodies."""


class Deliveries(Protocol):
    """What only the delivering process knows."""

    def status(self) -> dict[str, Any] | None:
        """Subscriber → one dictionary a partition (``delivery/lane.py``); ``None`` where this process delivers not."""
        ...


class Sight(msgspec.Struct, kw_only=True):
    """The parts of the gateway that questions are answered from."""

    config: Config
    """The one in force, with the subscribers made through the API; replaced when it changes."""
    store: Store
    keys: Sequence[Keys]
    """One a partition."""
    logs: Sequence[PartitionLog]
    """One a partition."""
    wall_ms: Callable[[], int]
    stats: Stats | None
    deliveries: Deliveries
    refused_changes: dict[str, int] = {}
    """Code of the refusal → changes that this process refused."""

    async def accounts(self) -> list[Account]:
        """The numbers of every partition, each of one moment. Raises ``StoreUnavailable``."""
        names = await subscribers_of(self.store, self.keys)
        return [await read_account(self.store, keys, known) for keys, known in zip(self.keys, names, strict=True)]
