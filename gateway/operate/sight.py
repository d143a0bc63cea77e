"""What everything in this package looks at: the configuration, the store, the clock."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from gateway.config import Config
from gateway.intake.spool_folder import FolderView
from gateway.operate.processes import Process, Processes
from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.ledger import Account, read_account, subscribers_of
from gateway.store.log import PartitionLog
from gateway.store.spooled import SpooledLine, home_of


async def nothing_spooled(recount: bool = False, held_only: bool = False) -> FolderView:
    """Of a gateway without a spool."""
    return FolderView()


async def no_others() -> tuple[list[Process], list[int]]:
    """Of a gateway that is one process."""
    return [], []


async def nothing_told() -> str:
    """Of a store on another machine."""
    return ""


class Away(msgspec.Struct, frozen=True):
    """Since when and why a process does not use the store."""

    since: str
    """As the schema writes times."""
    why: str

    @property
    def words(self) -> str:
        """Both, to go on a sentence with."""
        return f"since {self.since} ({self.why})"


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
    here: Callable[[], Process]
    """What only this process knows."""
    away: Callable[[], Away | None] = lambda: None
    """Since when and why this process cannot use the store; ``None`` if it can, or has not noticed."""
    plight: Callable[[], Awaitable[str]] = nothing_told
    """What the machine tells of an embedded store that does not answer, and what to do; empty if nothing."""
    takes: Callable[[], bool | None] = lambda: None
    """Whether the spool would take a request now; ``None`` where this process has none, and cannot tell."""
    spooled: Callable[..., Awaitable[FolderView]] = nothing_spooled
    """What is in the spool; with ``recount=True`` counted from the payloads, with ``held_only=True`` without
    its lines, which are long where much waits."""
    others: Callable[[], Awaitable[tuple[list[Process], list[int]]]] = no_others
    """What only the other workers know, and the numbers of those that do not say."""
    refused_changes: dict[str, int] = {}
    """Code of the refusal → changes that this process refused."""

    async def processes(self) -> Processes:
        """What only the processes themselves know."""
        others, missing = await self.others()
        return Processes(sorted([self.here(), *others], key=lambda each: each.worker), missing)

    async def accounts(self, spooled: Sequence[SpooledLine] | None = None) -> list[Account]:
        """The numbers of every partition, each of one moment. Raises ``StoreUnavailable``.

        ``spooled``: what is in the spool, if it was read already: before the accounts, which know what went on since.
        """
        names = await subscribers_of(self.store, self.keys)
        if spooled is None:
            spooled = (await self.spooled()).lines
        return [
            await read_account(
                self.store, keys, known, [each for each in spooled if home_of(each.partition, len(self.keys)) == number]
            )
            for number, (keys, known) in enumerate(zip(self.keys, names, strict=True))
        ]
