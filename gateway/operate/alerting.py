"""Which problems are alerts, when one is raised, repeated and over, and what is said of it. Pure.

An alert is a problem that somebody should be told of (``alarms``), by ``kind:subject``. ``compare`` lays what is known
of alerts beside the problems of this moment:

==========================================  ==========================================================================
a problem that was not there                raised
there, and was warn, and is bad             told again, once
there, and nothing was said for 4 h         told again; of what is counted (dead letters …) only if it is more by now
not there for 30 s                          resolved
back within an hour of that                 raised, and next time it must be gone four times as long, up to an hour,
                                            before it is over: one that comes and goes ends as one alert that stands
==========================================  ==========================================================================
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.config import AlertSettings
from gateway.operate.amounts import duration
from gateway.operate.views import Count, Trouble, When
from gateway.store.alerts import Severity, Standing
from schemas.timestamps import format_ms, parse_iso_ms

REPEAT_MS = 4 * 3_600_000
CALM_MS = 30_000
LONGEST_CALM_MS = 3_600_000
FORGET_MS = 3_600_000
"""After this an alert that comes back is a new one."""

KINDS = frozenset(
    {
        "unaccounted",
        "broken_adapter",
        "disabled",
        "waiting",
        "dead_letters",
        "lag",
        "discarded",
        "store_disk",
        "store_memory",
        "store_settings",
        "spool",
        "quarantined",
        "silence",
        "replay",
    }
)
"""Problems that are alerts. The others are somebody's decision (paused, memory_only, not_configured), told of otherwise
(log_bytes is a lag), or for anybody to bring about (rejected)."""

COUNTED = frozenset({"dead_letters", "discarded", "quarantined", "unaccounted"})

STORE_AWAY = "store_away"
"""The one kind that is not in ``status``: there is none without the store."""

STORE_SETTINGS = "store_settings"

WITHOUT_STORE = frozenset({STORE_AWAY, STORE_SETTINGS})
"""Kinds that are found where the store cannot be asked."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What is posted, as JSON. Names and numbers only: no payload, no secret."""

    type: Annotated[
        Literal["alert.raised", "alert.resolved", "alert.test"],
        Meta(description="``raised`` also where it is told again, because it lasts or is worse."),
    ]
    id: Annotated[str, Meta(description="Also in webhook-id; the same each time this is sent.", examples=["alt_0f3a"])]
    at: Annotated[When, Meta(description="When it was decided to say this.")]
    text: Annotated[str, Meta(description="One line for people: what, since when, what to do.")]
    kind: Annotated[str, Meta(examples=["waiting", "dead_letters"])]
    severity: Severity
    what: Annotated[str, Meta(description="One sentence.")]
    count: Annotated[Count, Meta(description="How many, where it is counted.")]
    since: Annotated[When, Meta(description="Since when it is so, as far as that is known.")]
    resolved_at: Annotated[When | None, Meta(description="Since when it is no longer so.")] = None
    subscriber: str | None = None
    source: str | None = None
    command: Annotated[str | None, Meta(description="The command that helps, or shows more.")] = None
    gateway: Annotated[str | None, Meta(description="The gateway's ``public_url``.")] = None


def alarms(troubles: Sequence[Trouble], settings: AlertSettings, now_ms: int) -> dict[str, Trouble]:
    """The problems somebody is to be told of now, by ``kind:subject``."""
    found: dict[str, Trouble] = {}
    for trouble in troubles:
        if trouble.kind not in KINDS:
            continue
        if trouble.kind == "waiting" and now_ms - _since_ms(trouble, now_ms) < settings.oldest_pending_s * 1000:
            continue
        if trouble.kind == "dead_letters" and trouble.count < settings.dead_letters:
            continue
        if trouble.kind == "silence" and not settings.silence:
            continue
        found.setdefault(f"{trouble.kind}:{trouble.replay or trouble.subscriber or trouble.source or ''}", trouble)
    return found


def of_store(kind: str, what: str, since_ms: int) -> Standing:
    """What there is to say when the store itself cannot be asked."""
    return Standing(
        kind=kind,
        severity="bad",
        what=what,
        count=1,
        command="gateway status",
        subscriber=None,
        source=None,
        since_ms=since_ms,
    )


def as_standing(trouble: Trouble, now_ms: int) -> Standing:
    """A problem as an alert that nobody was told of yet."""
    return Standing(
        kind=trouble.kind,
        severity=trouble.severity,
        what=trouble.what,
        count=trouble.count,
        command=trouble.command,
        subscriber=trouble.subscriber,
        source=trouble.source,
        since_ms=_since_ms(trouble, now_ms),
    )


def compare(before: Mapping[str, Standing], now: Mapping[str, Standing], now_ms: int) -> dict[str, Standing]:
    """What is known of alerts after a look. ``owed`` says of which somebody is to be told."""
    after: dict[str, Standing] = {}
    for key, seen in now.items():
        known = before.get(key)
        if known is None or not known.raised:
            returns = 0 if known is None else known.returns + 1
            after[key] = _tell(msgspec.structs.replace(seen, returns=returns), "raised", now_ms)
        else:
            after[key] = _lasting(known, seen, now_ms)
    for key, known in before.items():
        if key not in now and (gone := _gone(known, now_ms)) is not None:
            after[key] = gone
    return after


def words(key: str, standing: Standing, gateway: str | None) -> Alert:
    """What is said of an alert that is owed."""
    resolved = standing.owed == "resolved"
    at, since = format_ms(standing.told_ms), format_ms(standing.since_ms)
    if resolved:
        lasted = duration((standing.gone_ms - standing.since_ms) / 1000)
        text = f"[resolved] {standing.what}. That is over: it lasted {lasted}, since {since}."
    else:
        ago = duration((standing.told_ms - standing.since_ms) / 1000)
        text = f"[{standing.severity}] {standing.what}. Since {since} ({ago})."
        text += f" Do: {standing.command}" if standing.command else ""
    return Alert(
        type="alert.resolved" if resolved else "alert.raised",
        id=_id(key, standing.owed, standing.told_ms),
        at=at,
        text=text,
        kind=standing.kind,
        severity=standing.severity,
        what=standing.what,
        count=standing.count,
        since=since,
        resolved_at=format_ms(standing.gone_ms) if resolved else None,
        subscriber=standing.subscriber,
        source=standing.source,
        command=standing.command,
        gateway=gateway,
    )


def trial_words(nonce: str, gateway: str | None, now_ms: int) -> Alert:
    """A test alert. ``nonce``: something new each time."""
    at = format_ms(now_ms)
    return Alert(
        type="alert.test",
        id=_id("test", nonce, now_ms),
        at=at,
        text="[test] This is a test alert of the webhook gateway. Nothing is wrong.",
        kind="test",
        severity="warn",
        what="This is a test alert of the webhook gateway. Nothing is wrong.",
        count=0,
        since=at,
        gateway=gateway,
    )


def calm_ms(returns: int) -> int:
    """How long an alert must be gone before it is over."""
    return int(min(CALM_MS * 4 ** min(returns, 10), LONGEST_CALM_MS))


def _lasting(known: Standing, seen: Standing, now_ms: int) -> Standing:
    lasting = msgspec.structs.replace(
        known,
        severity=seen.severity,
        what=seen.what,
        count=seen.count,
        command=seen.command,
        since_ms=min(known.since_ms, seen.since_ms),
        gone_ms=0,
    )
    if known.owed:  # nothing was sent yet: what is sent will be the latest
        return lasting
    worse = seen.severity == "bad" and known.told_severity == "warn"
    more = seen.kind not in COUNTED or seen.count > known.told_count
    if worse or not known.told_ms or (more and _past(now_ms, known.told_ms, REPEAT_MS)):
        return _tell(lasting, "raised", now_ms)
    return lasting


def _gone(known: Standing, now_ms: int) -> Standing | None:
    gone_ms = known.gone_ms or now_ms
    if not known.raised:
        forgotten = not known.owed and _past(now_ms, known.told_ms, FORGET_MS)
        return None if forgotten else known
    going = msgspec.structs.replace(known, gone_ms=gone_ms)
    if not _past(now_ms, gone_ms, calm_ms(known.returns)):
        return going
    return _tell(msgspec.structs.replace(going, raised=False), "resolved", now_ms)


def _tell(standing: Standing, owed: Literal["raised", "resolved"], now_ms: int) -> Standing:
    told_severity: Severity = "bad" if "bad" in (standing.severity, standing.told_severity) else "warn"
    return msgspec.structs.replace(
        standing, owed=owed, told_ms=now_ms, told_count=standing.count, told_severity=told_severity
    )


def _past(now_ms: int, then_ms: int, span_ms: int) -> bool:
    """Whether so much time has gone by; also where ``then`` lies far ahead, since a clock was set back."""
    return now_ms - then_ms >= span_ms or then_ms > now_ms + span_ms


def _since_ms(trouble: Trouble, now_ms: int) -> int:
    known = None if trouble.since is None else parse_iso_ms(trouble.since)
    return now_ms if known is None else known


def _id(*parts: str | int) -> str:
    return "alt_" + hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]
