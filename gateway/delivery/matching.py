"""Which subscribers want an event: pure.

A subscriber lists types: ``*`` (all), ``message.*`` (a family) or ``message.read`` (one). The answer depends on nothing
but the type and is worked out once; a subscriber's condition on the event itself (``where``) comes after it, for the
few whose types match.

``channel.qr_updated`` carries a login credential, so no glob covers it: only who names it receives it.
"""

from collections.abc import Sequence

from gateway.config import SubscriberSettings
from schemas.event import CREDENTIAL_TYPE, EVENT_TYPES


def type_matches(pattern: str, event_type: str) -> bool:
    """Whether one entry of a subscriber's ``types`` covers ``event_type``."""
    if pattern == event_type:
        return True
    if event_type == CREDENTIAL_TYPE:
        return False
    if pattern == "*":
        return True
    return pattern.endswith(".*") and event_type.startswith(pattern[:-1])


def pattern_problem(pattern: str) -> str | None:
    """Why a type pattern can never match anything, in words; ``None`` if it can."""
    if any(pattern == known or type_matches(pattern, known) for known in EVENT_TYPES):
        return None
    return f"{pattern!r} matches no event type; write a type, a family such as 'message.*', or '*'"


class Matcher:
    """The subscribers of one configuration, by event type."""

    def __init__(self, subscribers: Sequence[SubscriberSettings]) -> None:
        self._subscribers = tuple((subscriber.name, subscriber.types) for subscriber in subscribers)
        self._wanted = {known: self._match(known) for known in EVENT_TYPES}

    def wanted(self, event_type: str) -> tuple[str, ...]:
        """The names of the subscribers whose types cover ``event_type``, in the order they were given."""
        found = self._wanted.get(event_type)
        # A log may hold a type of a later version; such are matched each time, so that nobody's log fills the table.
        return self._match(event_type) if found is None else found

    def _match(self, event_type: str) -> tuple[str, ...]:
        return tuple(
            name
            for name, patterns in self._subscribers
            if any(type_matches(pattern, event_type) for pattern in patterns)
        )
