"""Whether a subscriber may be sent to now: is it paused, is its breaker open? And what the store is to know of that."""

from collections.abc import Callable

import msgspec
import structlog

from gateway.delivery.breaker import Breaker, BreakerState, Rules
from gateway.delivery.outcome import Outcome
from gateway.store.parked import SubscriberStore

log = structlog.get_logger("gateway.delivery")


class Standing:
    """One subscriber's."""

    def __init__(
        self, store: SubscriberStore, rules: Rules, *, wall_ms: Callable[[], int], switched: Callable[[], None]
    ) -> None:
        """``switched`` is called when it may be sent to again, or no longer."""
        self.breaker = Breaker(BreakerState(), rules)
        self.paused = ""
        """Why; empty if it is not."""
        self._store = store
        self._rules = rules
        self._switched = switched
        self._wall_ms = wall_ms
        self._pause_to_save = ""
        self._breaker_changed = False

    @property
    def is_open(self) -> bool:
        """Whether deliveries may go."""
        return not (self.paused or self.breaker.is_open)

    @property
    def is_to_save(self) -> bool:
        """Whether the store is to be told of a pause."""
        return bool(self._pause_to_save)

    async def load(self) -> None:
        """Begin with what the store has. Raises ``StoreUnavailable``."""
        found = await self._store.switches()
        saved = found.breaker
        self.paused = found.paused
        self.breaker = Breaker(msgspec.json.decode(saved, type=BreakerState) if saved else BreakerState(), self._rules)

    async def look(self) -> None:
        """Save what was decided here, and see what an operator has decided. Raises ``StoreUnavailable``."""
        await self.save()
        found = await self._store.switches()
        paused = found.paused or self._pause_to_save  # a 410 that came while we asked
        if bool(paused) != bool(self.paused):
            log.warning("delivery.paused" if paused else "delivery.resumed", subscriber=self._store.name, why=paused)
        self.paused = paused
        self._switched()

    async def save(self) -> None:
        """Write to the store what was decided here; what fails is written at the next try."""
        if self._pause_to_save:
            await self._store.pause(self._pause_to_save)
            self._pause_to_save = ""
        if self._breaker_changed:
            state = self.breaker.state
            await self._store.save_breaker(msgspec.json.encode(state))
            self._breaker_changed = self.breaker.state is not state

    def forget(self) -> None:
        """Save nothing of what was decided here."""
        self._breaker_changed, self._pause_to_save = False, ""

    def gone(self) -> None:
        """It answered 410."""
        if self.paused:
            return
        self.paused = self._pause_to_save = "it answered 410 Gone: it wants no more"
        log.error("delivery.paused", subscriber=self._store.name, why=self.paused)
        self._switched()

    def note(self, outcome: Outcome, *, probe: bool, jitter: float) -> None:
        """An attempt has ended."""
        now_ms, name = self._wall_ms(), self._store.name
        if probe:
            if self.breaker.probed(outcome, now_ms, jitter):
                log.warning("delivery.breaker", subscriber=name, state="closed", why="a probe was delivered")
        elif self.breaker.note(outcome, now_ms):
            log.warning("delivery.breaker", subscriber=name, state="open", cause=outcome.cause)
        else:
            return
        self._breaker_changed = True
        self._switched()
