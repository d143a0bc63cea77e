"""What was ordered, checked and made into what a replay is about: pure. Every mistake is named at once."""

from collections.abc import Mapping

from gateway import problems
from gateway.config import SubscriberSettings
from gateway.config_file.subscribers import event_types
from gateway.config_file.values import Wrong, did_you_mean, rate
from gateway.delivery.condition import BadCondition, Condition
from gateway.operate.refusals import Refused
from gateway.operate.replay_views import ReplayOrder
from gateway.operate.times import HOW, read_time_ms
from gateway.problems import Mistake
from gateway.store.replays import ReplaySpec, ReplayTarget
from schemas.timestamps import format_ms

WHERE_TO = "say where to: a subscriber, or `to` with a URL"
WHICH = "say which events: ids, since, until, types, source, state, where, wanted_only; or all: the whole log"


def read_spec(
    order: ReplayOrder, target: ReplayTarget | None, subscribers: Mapping[str, SubscriberSettings], now_ms: int
) -> ReplaySpec:
    """The order as a specification; ``target`` is its ``to``, checked. Raises ``Refused`` with all mistakes."""
    mistakes: list[Mistake] = []
    _check_subscriber(order, subscribers, mistakes)
    since_ms, until_ms = _time("since", order.since, now_ms, mistakes), _time("until", order.until, now_ms, mistakes)
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        mistakes.append(Mistake("since", "lies not before until"))
    types = _types(order.types, mistakes)
    if order.where:
        try:
            Condition(order.where, types or ("*",))
        except BadCondition as error:
            mistakes.append(Mistake("where", str(error)))
    rate_per_s = 0.0
    try:
        rate_per_s = rate(order.rate)
    except Wrong as wrong:
        mistakes.append(Mistake("rate", _words(wrong)))
    narrows = (order.ids, order.types, order.since, order.until, order.source, order.where, order.wanted_only)
    if not (any(narrows) or order.state != "any" or order.all):
        mistakes.append(Mistake("", WHICH))
    spec = ReplaySpec(
        subscriber=order.subscriber,
        to=target,
        since_ms=since_ms,
        until_ms=until_ms,
        types=types,
        source=order.source,
        state=order.state,
        where=order.where or None,
        wanted_only=order.wanted_only,
        rate_per_s=rate_per_s,
    )
    if mistakes:
        raise invalid(mistakes)
    return spec


def _check_subscriber(
    order: ReplayOrder, subscribers: Mapping[str, SubscriberSettings], mistakes: list[Mistake]
) -> None:
    if order.subscriber is not None:
        if order.subscriber not in subscribers:
            hint = did_you_mean(order.subscriber, subscribers)
            mistakes.append(Mistake("subscriber", f"{order.subscriber} is none that is delivered to{hint}"))
        return
    if order.to is None:
        mistakes.append(Mistake("", WHERE_TO))
    if order.state != "any" or order.wanted_only:
        mistakes.append(Mistake("subscriber", "is missing: state and wanted_only are those of a subscriber"))


def _types(patterns: list[str], mistakes: list[Mistake]) -> tuple[str, ...]:
    """Those that some event can have."""
    found = []
    for index, pattern in enumerate(patterns):
        try:
            found.append(event_types(pattern))
        except Wrong as wrong:
            mistakes.append(Mistake(f"types[{index}]", _words(wrong)))
    return tuple(found)


def _time(name: str, text: str | None, now_ms: int, mistakes: list[Mistake]) -> int | None:
    if not text:
        return None
    found = read_time_ms(text, now_ms)
    if found is None:
        mistakes.append(Mistake(name, f"is no time; {HOW}"))
    return found


def _words(wrong: Wrong) -> str:
    return "; ".join(f"{fault.why}; write {fault.write}" for fault in wrong.faults)


def invalid(mistakes: list[Mistake]) -> Refused:
    """The refusal that names them all."""
    words = "; ".join(f"{each.at}: {each.why}" if each.at else each.why for each in mistakes)
    return Refused(problems.INVALID, words, tuple(mistakes))


def selection(spec: ReplaySpec, picked: int | None) -> dict[str, str]:
    """What restricts a replay, as text. ``picked``: how many events were named."""
    shown: dict[str, str] = {}
    if picked is not None:
        shown["ids"] = str(picked)
    if spec.since_ms is not None:
        shown["since"] = format_ms(spec.since_ms)
    if spec.until_ms is not None:
        shown["until"] = format_ms(spec.until_ms)
    if spec.types:
        shown["types"] = ", ".join(spec.types)
    if spec.source is not None:
        shown["source"] = spec.source
    if spec.state != "any":
        shown["state"] = spec.state
    if spec.where is not None:
        shown["where"] = spec.where
    if spec.wanted_only:
        shown["wanted_only"] = "true"
    return shown
