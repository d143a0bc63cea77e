"""Opening the store, without making providers wait for it.

A store that has much to load takes its time. With a spool nobody waits: what is not there within ``PROMPT_S`` is opened
in the background, and until then webhooks go into the spool. A store that answers and is wrong is refused at once if it
answers at once; found out later, it is not used, and whoever mends it need not start anything again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog

from gateway.errors import StoreError, StoreUnavailable

log = structlog.get_logger("gateway")

PROMPT_S = 1.0
"""An empty embedded store is there after 0.05 s, one of 100 000 events after 0.4 s (measured)."""

AGAIN_S = 0.25
LONGEST_S = 5.0
"""A server that ends while it loads is not launched over and over: each time it waits twice as long."""

Step = Callable[[], Awaitable[object]]


class Opening:
    """What must be done before the store is used, step by step; each is repeated until it succeeds."""

    def __init__(self, *, launch: Step | None, steps: Sequence[Step]) -> None:
        """``launch`` starts the store itself, where that is ours to do: if it fails at once, so does the start."""
        self._launch = launch
        self._steps = [*([launch] if launch else []), *steps]
        self._task: asyncio.Task[None] | None = None

    async def now(self) -> None:
        """Do it all. Raises ``StoreError``."""
        while self._steps:
            await self._steps[0]()
            self._steps.pop(0)

    async def soon(self, lost: Callable[[str], None]) -> None:
        """Do it within ``PROMPT_S``, or go on in the background; ``lost`` is told why it takes longer.

        Raises ``NotDurable``, ``StoreMismatch``, and what a launch raises, if that is known by then.
        """
        first = self._task = asyncio.create_task(self.now(), name="opening")
        await asyncio.wait([first], timeout=PROMPT_S)
        if first.done():
            error = first.exception()
            if error is None:
                return
            if not isinstance(error, StoreUnavailable) or self._is_launching():
                raise error
            lost(str(error))
        else:
            lost("the store is not there yet")
        self._task = asyncio.create_task(self._go_on(first, lost), name="opening")

    async def _go_on(self, first: "asyncio.Task[None]", lost: Callable[[str], None]) -> None:
        work: Awaitable[None] = first
        told, pause_s = "", AGAIN_S
        while True:
            try:
                await work
                log.info("store.opened")
                return
            except StoreError as error:
                why = str(error)
            except Exception as error:  # whatever it is, the store must not stay away for ever because of it
                log.exception("store.not_opened")
                why = f"a defect: {error}"
            if why != told:
                log.error("store.not_opened", why=why)
            told = why
            lost(why)
            pause_s = min(2 * pause_s, LONGEST_S) if self._is_launching() else AGAIN_S
            await asyncio.sleep(pause_s)
            work = self.now()

    def _is_launching(self) -> bool:
        return self._launch is not None and self._steps[0] is self._launch

    async def stop(self) -> None:
        """Open it no longer."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, StoreError):
                await self._task
