"""Whether a subscriber may be sent to now: is it paused, is its breaker open? One answer for all its lanes.

A process has one lane of a subscriber in each partition that it reads, and a subscriber that is down is down for all of
them. So they share one ``Standing``: their attempts count together, a 410 to one of them stops all, and one probe at a
time goes out, from whichever lane has an event at hand. Other processes follow within a second: what is decided here is
saved, and what the store has is looked at, once a second, by the lane that joined first.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from weakref import WeakValueDictionary

import msgspec
import structlog

from gateway.delivery.breaker import Breaker, BreakerState, Rules
from gateway.delivery.outcome import Outcome
from gateway.errors import StoreUnavailable
from gateway.store.connection import Store
from gateway.store.control import GONE, Control, Switches
from gateway.store.layout import Keys

log = structlog.get_logger("gateway.delivery")

PROBE_MARGIN_S = 10.0
"""A probe whose process died with it is made up for this long after it must have ended."""
SAVE_S = 1.0
"""How long a last save may take."""

Switched = Callable[[], None]


class Standing:
    """One subscriber's, in one process."""

    def __init__(self, name: str, control: Control, rules: Rules, *, wall_ms: Callable[[], int]) -> None:
        self.breaker = Breaker(BreakerState(), rules)
        self.paused = ""
        """Why; empty if it is not."""
        self._name = name
        self._control = control
        self._rules = rules
        self._wall_ms = wall_ms
        self._lanes: dict[Switched, None] = {}
        self._lock = asyncio.Lock()
        self._pause_to_save = ""
        self._breaker_changed = False
        self._saved = b""
        self._probing = False
        self._claimed: BreakerState | None = None

    # Lanes come and go

    async def join(self, switched: Switched) -> None:
        """A lane begins; the first one begins with what the store has. ``switched`` is called when the subscriber may
        be sent to again, or no longer. Raises ``StoreUnavailable``.
        """
        async with self._lock:
            if not self._lanes:
                found = await self._control.switches()
                self.forget()
                self.paused, self._saved = found.paused, found.breaker
                self.breaker = Breaker(_decoded(found.breaker), self._rules)
            self._lanes[switched] = None

    async def leave(self, switched: Switched, *, save: bool) -> None:
        """A lane has ended. With ``save`` what was decided here is saved, if the store takes it in time."""
        if switched not in self._lanes:
            return
        if save:
            with contextlib.suppress(StoreUnavailable, TimeoutError):  # the next owner finds out by itself
                async with asyncio.timeout(SAVE_S), self._lock:
                    await self._save()
        self._lanes.pop(switched, None)

    def forget(self) -> None:
        """Save nothing of what was decided here."""
        self._breaker_changed, self._pause_to_save = False, ""

    # What it says

    @property
    def is_open(self) -> bool:
        """Whether deliveries may go."""
        return not (self.paused or self.breaker.is_open)

    @property
    def is_to_save(self) -> bool:
        """Whether the store is to be told of a pause."""
        return bool(self._pause_to_save)

    def probe_due(self, now_ms: int) -> bool:
        """Whether one event may go, though the breaker is open, to find out."""
        return not self.paused and not self._probing and self.breaker.probe_due(now_ms)

    # What changes it

    def gone(self) -> None:
        """It answered 410."""
        if self.paused:
            return
        self.paused = self._pause_to_save = f"{GONE}: it wants no more"
        log.error("delivery.paused", subscriber=self._name, why=self.paused)
        self._tell()

    def note(self, outcome: Outcome, *, probe: bool, jitter: float) -> None:
        """An attempt has ended."""
        now_ms = self._wall_ms()
        if probe:
            if self.breaker.probed(outcome, now_ms, jitter):
                log.warning("delivery.breaker", subscriber=self._name, state="closed", why="a probe was delivered")
        elif self.breaker.note(outcome, now_ms):
            log.warning("delivery.breaker", subscriber=self._name, state="open", cause=outcome.cause)
        else:
            return
        self._breaker_changed = True
        self._tell()

    async def claim_probe(self, timeout_s: float) -> bool:
        """Take the turn of sending one event, which ends within ``timeout_s``; ``probe_ended`` gives it back.

        No other process probes meanwhile: in the store the next probe is due after this one must have ended.
        Raises ``StoreUnavailable``.
        """
        if not self.probe_due(self._wall_ms()):
            return False
        self._probing = True
        try:
            async with self._lock:
                claimed = await self._claim(timeout_s)
        except BaseException:  # a cancelled claim, too, leaves the turn to the next
            self._probing = False
            raise
        self._probing = claimed
        return claimed

    def probe_ended(self) -> None:
        """The claimed turn is over. If nothing came of it, the next one may be at once."""
        self._probing = False
        if self.breaker.state is self._claimed:
            self.breaker.state = msgspec.structs.replace(self._claimed, probe_ms=self._wall_ms())
            self._breaker_changed = True
        self._claimed = None

    async def _claim(self, timeout_s: float) -> bool:
        now_ms = self._wall_ms()
        if self.paused or not self.breaker.probe_due(now_ms):
            return False
        until_ms = now_ms + round((timeout_s + PROBE_MARGIN_S) * 1000)
        claimed = msgspec.structs.replace(self.breaker.state, probe_ms=until_ms)
        saved = msgspec.json.encode(claimed)
        match await self._control.swap_breaker(self._saved, saved):
            case "done":
                self._saved, self._breaker_changed = saved, False
            case "changed":  # another process was faster
                self._adopt(await self._control.switches(), ours_too=False)
                return False
        self.breaker.state = self._claimed = claimed
        return True

    # The store

    async def look(self, switched: Switched) -> None:
        """Save what was decided here, and see what others have decided. Raises ``StoreUnavailable``.

        One lane does it for all.
        """
        if next(iter(self._lanes), None) != switched:
            return
        async with self._lock:
            await self._save()
            self._adopt(await self._control.switches(), ours_too=True)

    async def _save(self) -> None:
        if self._pause_to_save:
            await self._control.pause_known(self._pause_to_save)
            self._pause_to_save = ""
        if self._breaker_changed:
            state = self.breaker.state
            saved = msgspec.json.encode(state)
            match await self._control.swap_breaker(self._saved, saved):
                case "done":
                    self._saved, self._breaker_changed = saved, self.breaker.state is not state
                case "changed":  # another process decided meanwhile; its word was the first
                    self._breaker_changed = False

    def _adopt(self, found: Switches, *, ours_too: bool) -> None:
        before = (self.paused, self.breaker.state)
        self.paused = found.paused or self._pause_to_save  # a 410 that came while we asked
        if bool(self.paused) != bool(before[0]):
            what = "delivery.paused" if self.paused else "delivery.resumed"
            log.warning(what, subscriber=self._name, why=self.paused)
        if found.breaker != self._saved and not (ours_too and self._breaker_changed):
            self._saved, self._breaker_changed = found.breaker, False
            self.breaker.adopt(_decoded(found.breaker))
        if (self.paused, self.breaker.state) != before:
            self._tell()

    def _tell(self) -> None:
        for switched in list(self._lanes):
            switched()


class Standings:
    """Those of all subscribers in one process."""

    def __init__(
        self, store: Store, keys: Sequence[Keys], *, wall_ms: Callable[[], int], rules: Rules | None = None
    ) -> None:
        """``keys``: of every partition, the first first."""
        self._store = store
        self._keys = keys
        self._wall_ms = wall_ms
        self._rules = rules or Rules()
        self._found: WeakValueDictionary[str, Standing] = WeakValueDictionary()

    def of(self, name: str) -> Standing:
        """The one that all lanes of a subscriber share; it lives as long as they do."""
        standing = self._found.get(name)
        if standing is None:
            control = Control(self._store, self._keys, name)
            standing = self._found[name] = Standing(name, control, self._rules, wall_ms=self._wall_ms)
        return standing


def _decoded(saved: bytes) -> BreakerState:
    return msgspec.json.decode(saved, type=BreakerState) if saved else BreakerState()
