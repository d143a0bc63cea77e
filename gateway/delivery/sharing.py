"""Which partitions this process wants: of several processes each has its share.

Each says in the store that it would deliver, sees once a second who has what, and reckons the same shares from it:
equal ones, and nobody gives away what is within its own. Who has more than its share gives the surplus back, who has
less takes what is free. That only says who *tries*: who may is decided by the lease and its epoch, as ever, so two
processes that see different things for a moment cannot both deliver.
"""

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from typing import Protocol

import structlog

from gateway.errors import StoreError
from gateway.store.deliverers import Deliverers

log = structlog.get_logger("gateway.delivery")

LOOK_S = 1.0
LEAVE_S = 1.0


class Reader(Protocol):
    """What delivers from one partition."""

    def want(self, wanted: bool) -> None:
        """Take the partition when it can be had; or give it back."""
        ...


def share(holders: Sequence[str], owners: Collection[str], me: str) -> set[int]:
    """The partitions that ``me`` is to have. Pure; whoever sees the same comes to the same.

    ``holders``: partition → who has it, empty for nobody. ``owners``: all that would; ``me`` is one of them.
    """
    held = {owner: [at for at, holder in enumerate(holders) if holder == owner] for owner in owners}
    free = [at for at, holder in enumerate(holders) if not holder]
    least, remainder = divmod(len(holders), len(owners))
    # The one more that some get goes to those who have the most: then nothing moves without need.
    for rank, owner in enumerate(sorted(owners, key=lambda each: (-len(held[each]), each))):
        fair = least + (rank < remainder)
        kept = held[owner][:fair]
        taken, free = free[: fair - len(kept)], free[fair - len(kept) :]
        if owner == me:
            return {*kept, *taken}
    raise ValueError("me is not among the owners")


class Sharing:
    """One process's part in it."""

    def __init__(self, deliverers: Deliverers, readers: Sequence[Reader]) -> None:
        """``readers``: one a partition."""
        self._deliverers = deliverers
        self._readers = readers
        self._wanted = set(range(len(readers)))
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look once, then every second. While the store is away everything stays as it is."""
        await self._look()
        self._task = asyncio.create_task(self._look_forever(), name="sharing")

    async def stop(self) -> None:
        """Leave the shares to the others, who then need not wait."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            with contextlib.suppress(StoreError, TimeoutError):  # else its entry ends by itself
                async with asyncio.timeout(LEAVE_S):
                    await self._deliverers.leave()

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._look()
            except Exception:  # a defect in one look must not end them all: this process would keep its share for good
                log.exception("delivery.share")

    async def _look(self) -> None:
        try:
            found = await self._deliverers.look()
        except StoreError:
            return
        wanted = share(found.holders, found.owners, self._deliverers.owner)
        if wanted != self._wanted and len(found.owners) > 1:
            log.info("delivery.share", partitions=sorted(wanted), processes=len(found.owners))
        self._wanted = wanted
        for number, reader in enumerate(self._readers):
            reader.want(number in wanted)
