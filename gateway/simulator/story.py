"""What the players wrote, put together event by event; and the verdict when it is over. Pure.

The provider says what it sent and what it was answered; the subscriber says what reached it. Neither knows the other,
and their lines come in any order: a delivery may be seen before the answer to the request that caused it.
"""

from collections import Counter
from typing import Any

import msgspec

from gateway.simulator.lines import Line, Purpose, Sent, Taken
from schemas.event import CREDENTIAL_TYPE

FOREIGN_AFTER_MS = 2_000
"""A delivery whose request no simulated provider owned up to by then was caused by somebody else, say ``send``."""


class Journey(msgspec.Struct, kw_only=True):
    """One event on its way, or one request that became no event. One line on the screen."""

    at_ms: int
    provider: str
    source: str
    provider_type: str
    """The provider's name for it; until the delivery tells, the name of the case that was sent."""
    purpose: Purpose = "sample"
    times_sent: int = 1
    """How often the provider had to send the request until it had a final answer."""
    outcome: str = ""
    """``logged``, ``duplicate``, ``filtered``, or a request's ``ignored quarantined rejected unanswered``; ``""``: not
    known yet."""
    status: int | None = None
    """What the provider was answered."""
    type: str | None = None
    event_id: str | None = None
    tries: list[tuple[int, int]] = []
    """(attempt, status the subscriber answered)."""
    taken_ms: int | None = None
    """From the request leaving the provider to the subscriber's 2xx."""
    detail: str = ""

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.outcome not in ("", "logged") or (self.outcome == "logged" and self.taken_ms is not None)


class Story:
    """Feed it lines; take the journeys that are over; ask for the verdict."""

    def __init__(self) -> None:
        self._by_id: dict[str, Journey] = {}
        """Every event whose answer or delivery has been seen and that is not settled."""
        self._over: list[Journey] = []
        self._arrived: dict[str, int] = {}
        """Event id → when the subscriber took it."""
        self._logged: set[str] = set()
        self._filtered: set[str] = set()
        self.requests: Counter[str] = Counter()
        """Final answers by outcome, with every duplicate among ``accepted`` as in the ledger."""
        self.duplicates = 0
        self.refused_deliveries = 0
        self.repeated_deliveries = 0
        self.unverified_deliveries = 0
        self._doubtful = False
        """An attempt had no answer: the gateway may know of it all the same, so its counts may be larger."""

    def add(self, line: Line) -> None:
        """Take the next line of any player."""
        if isinstance(line, Sent):
            self._sent(line)
        elif isinstance(line, Taken):
            self._taken(line)

    def settled(self) -> list[Journey]:
        """The journeys that ended since the last call, in the order in which they ended."""
        over, self._over = self._over, []
        return over

    def travelling(self, now_ms: int) -> list[Journey]:
        """The journeys under way, oldest first. Deliveries that nobody here asked for are settled as they are."""
        for event_id, journey in list(self._by_id.items()):
            if not journey.outcome and journey.taken_ms is not None and now_ms - journey.at_ms > FOREIGN_AFTER_MS:
                journey.outcome = "logged"
                journey.taken_ms = 0
                self._end(event_id, journey)
        return list(self._by_id.values())

    @property
    def missing(self) -> set[str]:
        """Ids the gateway said are logged, that the subscriber wants and has not taken."""
        return self._logged - self._filtered - self._arrived.keys()

    def problems(self, ledger: dict[str, Any], *, alone: bool) -> list[str]:
        """What is wrong, in sentences; nothing if every event arrived and every sum is right.

        ``alone``: nobody but the simulated providers sent anything, so the counts must be equal, not just as large.
        """
        alone = alone and not self._doubtful
        found = [f"{count} requests got no final answer" for count in [self.requests["unanswered"]] if count]
        found += [f"{event_id} was logged and never reached the subscriber" for event_id in sorted(self.missing)]
        if self.unverified_deliveries:
            found.append(f"{self.unverified_deliveries} deliveries did not verify")
        found += sums_that_fail(ledger)
        said = {
            **{f"requests.{name}": self.requests[name] for name in ("accepted", "ignored", "quarantined", "rejected")},
            "events.logged": len(self._logged),
            "events.duplicate": self.duplicates,
        }
        for place, count in said.items():
            group, name = place.split(".")
            counted = ledger[group][name]
            if counted < count or (alone and counted != count):
                found.append(f"the ledger counts {counted} as {place}, the providers were told {count}")
        if alone and (strangers := self._arrived.keys() - self._logged):
            found.append(f"{len(strangers)} deliveries were of events that no provider was told of")
        return found

    def _sent(self, line: Sent) -> None:
        if not line.final:
            self._doubtful = True
            return
        self.requests["accepted" if line.outcome == "duplicate" else line.outcome] += 1
        journey = Journey(
            at_ms=line.at_ms,
            provider=line.provider,
            source=line.source,
            provider_type=line.case.split("__")[0],
            purpose=line.purpose,
            times_sent=line.attempt,
            outcome=line.outcome,
            status=line.status,
            detail=line.detail,
        )
        if not line.events:
            self._over.append(journey)
        for event in line.events:
            self._answered(event.id, event.type, event.status, journey)

    def _answered(self, event_id: str, event_type: str, status: str, request: Journey) -> None:
        if status == "duplicate":
            self.duplicates += 1
            self._over.append(
                msgspec.structs.replace(request, outcome="duplicate", type=event_type, event_id=event_id, tries=[])
            )
            return
        self._logged.add(event_id)
        journey = self._by_id.get(event_id)
        if journey is None:
            journey = msgspec.structs.replace(request, tries=[])
            self._by_id[event_id] = journey
            if event_id in self._arrived:  # so long ago that it passed for somebody else's
                journey.taken_ms = self._arrived[event_id] - request.at_ms
        else:  # its delivery was quicker than the answer
            if journey.taken_ms is not None:
                journey.taken_ms = self._arrived[event_id] - request.at_ms
            journey.at_ms, journey.status = request.at_ms, request.status
            journey.purpose, journey.times_sent = request.purpose, request.times_sent
            if request.provider_type.startswith(journey.provider_type):
                journey.provider_type = request.provider_type
        journey.type, journey.event_id, journey.outcome = event_type, event_id, "logged"
        if event_type == CREDENTIAL_TYPE:  # the demo's subscriber does not name it, so it may not have it
            journey.outcome = "filtered"
            self._filtered.add(event_id)
        self._end(event_id, journey)

    def _taken(self, line: Taken) -> None:
        if not line.verified:
            self.unverified_deliveries += 1
            return
        if line.repeat:
            self.repeated_deliveries += 1
            return
        journey = self._by_id.get(line.id)
        if journey is None:
            journey = Journey(
                at_ms=line.at_ms,
                provider=line.provider,
                source=line.source,
                provider_type=line.provider_type or "",
                type=line.type,
                event_id=line.id,
            )
            self._by_id[line.id] = journey
        if line.provider_type and not journey.provider_type.startswith(line.provider_type):
            journey.provider_type = line.provider_type  # else the case says more: msg_status.delivered, not msg_status
        journey.tries.append((line.attempt, line.status))
        if 200 <= line.status < 300:
            self._arrived[line.id] = line.at_ms
            journey.taken_ms = line.at_ms - journey.at_ms
        else:
            self.refused_deliveries += 1
        self._end(line.id, journey)

    def _end(self, event_id: str, journey: Journey) -> None:
        if journey.settled:
            self._over.append(journey)
            del self._by_id[event_id]


SUMS = {
    "requests": ("received", ("accepted", "ignored", "quarantined", "rejected")),
    "events": ("produced", ("logged", "duplicate", "spooled")),
}
SUBSCRIBER_SUM = ("offered", ("delivered", "filtered", "dead", "discarded", "pending"))
"""The equation: a whole, and the parts it must be the sum of."""


def sums_that_fail(ledger: dict[str, Any]) -> list[str]:
    """Add the ledger up again, rather than believe its ``unaccounted``; and nothing may be dead or given up here."""
    found = []
    lines = [(name, ledger[name], *SUMS[name]) for name in SUMS]
    lines += [(name, counts, *SUBSCRIBER_SUM) for name, counts in ledger["subscribers"].items()]
    for name, counts, whole, parts in lines:
        total = sum(counts[part] for part in parts)
        if counts[whole] != total:
            found.append(f"{name}: {counts[whole]} {whole}, but the parts add up to {total}")
    for name, counts in ledger["subscribers"].items():
        found += [f"{name}: {counts[part]} {part}" for part in ("dead", "discarded", "pending") if counts[part]]
    if ledger["unaccounted"]:
        found.append(f"unaccounted {ledger['unaccounted']}")
    return found
