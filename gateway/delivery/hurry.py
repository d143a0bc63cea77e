"""A subscriber that may well be back is not kept waiting: its breaker probes at once, and what failed is due.

That is so when it got another URL or secret, and when a test event was answered 2xx. It is written where the lanes look
once a second (``standing.py``, ``returns.py``), whichever process delivers. The schedule goes on from there: an attempt
that fails is used up as any other. A pause stays a pause, and of an ordering key only the first is parked, so order is
kept.
"""

from collections.abc import Sequence

import msgspec
import structlog

from gateway.delivery.breaker import BreakerState
from gateway.store.connection import Store
from gateway.store.control import Control
from gateway.store.layout import Keys
from gateway.store.parked import SubscriberStore

log = structlog.get_logger("gateway.delivery")

MOST = 1_000
"""Events brought forward in a partition, those first that are due first; the others keep their time."""

SWAPS = 5
"""Other processes may write the breaker at the same moment, but not that often."""


async def hurry(store: Store, keys: Sequence[Keys], name: str, now_ms: int) -> None:
    """Let the subscriber be tried at once. ``keys``: of every partition, the first first.

    Raises ``StoreUnavailable``; it may be called again.
    """
    control = Control(store, keys, name)
    for _ in range(SWAPS):
        saved = (await control.switches()).breaker
        state = msgspec.json.decode(saved, type=BreakerState) if saved else BreakerState()
        if not state.open:
            break
        # Who asked for a time by Retry-After has now said otherwise, or is no longer who is called.
        soon = msgspec.structs.replace(state, probe_ms=min(now_ms, state.probe_ms), asked_s=0.0)
        if await control.swap_breaker(saved, msgspec.json.encode(soon)) != "changed":
            break
    brought = 0
    for each in keys:
        brought += await SubscriberStore(store, each, name).bring_forward(now_ms, MOST)
    log.info("delivery.hurry", subscriber=name, breaker="open" if state.open else "closed", brought_forward=brought)
