"""The attempts of one lane: send, tell the log, and say what follows."""

from collections import Counter
from collections.abc import Callable
from typing import Literal

import msgspec
import structlog

from gateway.config import SubscriberSettings
from gateway.delivery.attempt import Sender, encode
from gateway.delivery.outcome import Outcome
from gateway.delivery.parcel import Delivery
from gateway.delivery.records import dead_change, done_change, parked_change
from gateway.delivery.schedule import Again, Dead, Done, Step, next_step
from gateway.delivery.standing import Standing
from gateway.store.firsts import First
from gateway.store.parked import Change, Parked

log = structlog.get_logger("gateway.delivery")


class Ended(msgspec.Struct, frozen=True):
    """One attempt, and what follows from it."""

    delivery: Delivery
    before: Parked
    outcome: Outcome
    step: Step
    now_ms: int
    probe: bool

    def change(self, name: str) -> Change | None:
        """What to settle for an event that was not parked; ``None`` if it was delivered."""
        if isinstance(self.step, Done):
            return None
        if isinstance(self.step, Again):
            return self._park("park", self.step)
        change = dead_change("dead", name, self.delivery, self.before, self.outcome, self.step, self.now_ms)
        return msgspec.structs.replace(change, key="")  # it never held its key

    def first(self) -> First | None:
        """What is remembered of an event that was not parked, if it was delivered."""
        if not isinstance(self.step, Done) or self.outcome.status is None:
            return None
        return First(self.delivery.seq, self.now_ms, round(self.outcome.duration_s * 1000), self.outcome.status)

    def parked_change(self, name: str) -> Change:
        """What to settle for an event that was parked."""
        if isinstance(self.step, Done):
            return done_change(self.delivery, self.before, self.outcome, self.now_ms)
        if isinstance(self.step, Again):
            return self._park("again", self.step)
        return dead_change("bury", name, self.delivery, self.before, self.outcome, self.step, self.now_ms)

    def _park(self, operation: Literal["park", "again"], step: Again) -> Change:
        return parked_change(
            operation, self.delivery, self.before, self.outcome, step, self.now_ms, counts=not self.probe
        )


class Attempts:
    """Makes them, one at a call."""

    def __init__(
        self,
        settings: SubscriberSettings,
        sender: Sender,
        standing: Standing,
        ended: Counter[str],
        *,
        wall_ms: Callable[[], int],
        jitter: Callable[[], float],
    ) -> None:
        """``ended`` counts the attempts by their cause; ``delivered`` where there is none."""
        self._settings = settings
        self._sender = sender
        self._standing = standing
        self._ended = ended
        self._wall_ms = wall_ms
        self._jitter = jitter

    async def make(self, delivery: Delivery, before: Parked, *, probe: bool) -> Ended | None:
        """Make the next attempt of an event. ``None`` if we are stopping: no attempt is used up."""
        retry_s = () if before.last_chance else self._settings.retry_s
        attempt = before.attempt + 1
        outcome = await self._send(delivery, attempt, max(0, len(retry_s) + 1 - attempt))
        if outcome.cause == "closed":
            return None
        self._standing.note(outcome, probe=probe, jitter=self._jitter())
        now_ms = self._wall_ms()
        step = next_step(outcome, attempt, retry_s, now_ms, self._jitter())
        if isinstance(step, Dead) and probe and not step.disables:
            step = Again(self._standing.breaker.state.probe_ms)  # a probe uses no attempt up, not even the last
        if isinstance(step, Dead):
            self._tell_dead(delivery, attempt, step)
        return Ended(delivery, before, outcome, step, now_ms, probe)

    def _tell_dead(self, delivery: Delivery, attempts: int, step: Dead) -> None:
        name, event_id = self._settings.name, delivery.event_id
        log.warning("delivery.dead", subscriber=name, event_id=event_id, attempts=attempts, cause=step.cause)
        if step.disables:
            self._standing.gone()

    async def _send(self, delivery: Delivery, attempt: int, attempts_left: int) -> Outcome:
        entry = delivery.entry
        body = encode(entry.event_json, entry.raw_json if self._settings.raw else None)
        outcome = await self._sender.send(delivery.event_id, body, attempt=attempt, attempts_left=attempts_left)
        self._ended[outcome.cause or "delivered"] += 1
        if not outcome.delivered:
            log.info(
                "delivery.attempt",
                subscriber=self._settings.name,
                event_id=delivery.event_id,
                type=delivery.event_type,
                attempt=attempt,
                attempts_left=attempts_left,
                cause=outcome.cause,
                detail=outcome.detail,
                seconds=round(outcome.duration_s, 3),
            )
        return outcome
