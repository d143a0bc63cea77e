"""Trying a subscriber: one synthetic event, sent straight and not through the log, so it is in no account."""

from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from gateway import problems
from gateway.config import SubscriberSettings
from gateway.delivery.attempt import Sender, encode
from gateway.delivery.guard import Guard
from gateway.delivery.matching import type_matches
from gateway.operate.masking import mask_text
from gateway.operate.refusals import Refused
from gateway.operate.subscriber_views import TestAnswer
from schemas.event import CREDENTIAL_TYPE, EVENT_TYPES, FAMILY_OF, SCHEMA_VERSION, Event, Provenance, event_id
from schemas.timestamps import format_ms

log = structlog.get_logger("gateway.operate")

SOURCE = "test"
RAW = b'{"test":true}'


class Trial:
    """Sends test events from this process, past the guard like any delivery."""

    def __init__(
        self, guard: Guard, *, wall_ms: Callable[[], int], monotonic: Callable[[], float], nonce: Callable[[], str]
    ) -> None:
        """``nonce``: something new each time, so that no two test events have one id."""
        self._guard = guard
        self._wall_ms = wall_ms
        self._monotonic = monotonic
        self._nonce = nonce

    async def run(self, settings: SubscriberSettings, event_type: str | None, who: str) -> TestAnswer:
        """Send one event of ``event_type`` (``None``: the first type it asks for). Raises ``Refused`` for no type."""
        event = make_event(event_type or _first_type(settings), self._nonce(), self._wall_ms())
        body = encode(msgspec.json.encode(event), RAW if settings.raw else None)
        sender = Sender(settings, self._guard, wall_ms=self._wall_ms, monotonic=self._monotonic)
        try:
            outcome = await sender.send(event.id, body, attempt=1, attempts_left=0)
        finally:
            await sender.close()
        log.info(
            "operate.change",
            what="subscriber.test",
            who=who,
            subscriber=settings.name,
            event_id=event.id,
            cause=outcome.cause,
        )
        secrets = [part for secret in settings.secrets for part in (secret, secret.partition("_")[2])]
        return TestAnswer(
            event_id=event.id,
            event_type=event.type,
            delivered=outcome.delivered,
            status=outcome.status,
            cause=outcome.cause or None,
            detail=outcome.detail or None,
            duration_ms=round(outcome.duration_s * 1000),
            answer=None if outcome.delivered else mask_text(outcome.answer, secrets),
            at=format_ms(self._wall_ms()),
        )


def make_event(event_type: str, nonce: str, now_ms: int) -> Event:
    """A canonical event with ``origin: "test"`` and next to nothing in it. Raises ``Refused``."""
    family = FAMILY_OF.get(event_type)
    if family is None or event_type == CREDENTIAL_TYPE:
        raise Refused(problems.BAD_REQUEST, f"type: no test event can have the type {event_type}")
    data: Any = family()
    return Event(
        id=event_id([SOURCE, event_type, nonce]),
        type=event_type,  # type: ignore[arg-type]  # looked up in FAMILY_OF above
        schema=SCHEMA_VERSION,
        occurred_at=None,
        received_at=format_ms(now_ms),
        provider=SOURCE,
        source=SOURCE,
        account=None,
        channel=None,
        ordering_key=None,
        origin="test",
        data=data,
        provenance=Provenance(
            provider_type=event_type, provider_id=None, adapter="none/0", verified="none", raw_sha256="0" * 64
        ),
    )


def _first_type(settings: SubscriberSettings) -> str:
    for event_type in EVENT_TYPES:
        if event_type != CREDENTIAL_TYPE and any(type_matches(pattern, event_type) for pattern in settings.types):
            return event_type
    raise Refused(
        problems.BAD_REQUEST, f"{settings.name} asks for {CREDENTIAL_TYPE} alone, which is not made up; name a type"
    )
