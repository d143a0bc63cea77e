"""Conditions: what they match, what is refused when they are loaded and where, and what a failing one does."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery import condition_check
from gateway.delivery.condition import MAX_CHARS, BadCondition, Condition, Subject
from gateway.delivery.fields import fields_of, find, sample
from schemas.event import EVENT_TYPES, Event

FIXTURES = Path(__file__).parent.parent / "fixtures"
MESSAGES = ("message.*",)


def event(event_type: str = "message.failed", **changes: Any) -> dict[str, Any]:
    """A small event; ``data`` is what the type's family must have."""
    found = sample(event_type, full=False) | {"channel": "whatsapp", "source": "enviaai-br"}
    found["data"] |= changes.pop("data", {})
    return found | changes


def mistakes_of(where: str, types: tuple[str, ...] = ("*",)) -> list[tuple[int, str]]:
    """Each mistake's column and words; empty if it loads."""
    try:
        Condition(where, types)
    except BadCondition as bad:
        return [(mistake.column, f"{mistake.why}; write {mistake.write}") for mistake in bad.mistakes]
    return []


# --- what matches ---------------------------------------------------------------------------------------------------

ERROR = {"error": {"code": "131047", "message": "Re-engagement"}}


@pytest.mark.parametrize(
    ("where", "wanted", "unwanted"),
    [
        ('event.channel == "whatsapp" && has(event.data.error)', event(data=ERROR), event()),
        ('event.channel == "whatsapp"', event(), event(channel="sms")),
        ("event.channel == null", event(channel=None), event()),
        ("event.account != null", event(account="inst_1"), event()),
        ("!has(event.data.error)", event(), event(data=ERROR)),
        ('event.data.error.code == "131047"', event(data=ERROR), event(data={"error": {"code": "1"}})),
        ('event.data.error.code in ["1", "131047"]', event(data=ERROR), event(data={"error": {"code": "2"}})),
        ("int(event.data.error.code) > 500", event(data=ERROR), event(data={"error": {"code": "500"}})),
        ('event["data"]["status"] == "x"', event(data={"status": "x"}), event(data={"status": "y"})),
        ('"error" in event.data', event(data=ERROR), event()),
        ("event.data.is_group", event(data={"is_group": True}), event(data={"is_group": False})),
        (
            'event.data.metadata.tags.exists(tag, tag == "vip")',
            event(data={"metadata": {"tags": ["new", "vip"]}}),
            event(data={"metadata": {"tags": []}}),
        ),
        (
            'timestamp(event.received_at) > timestamp("2026-01-01T00:00:00Z")',
            event(),
            event(received_at="2025-01-01T00:00:00.000Z"),
        ),
        ("event.size() > 13", sample("other", full=True), sample("other", full=False)),
    ],
)
def test_a_condition_chooses(where: str, wanted: dict[str, Any], unwanted: dict[str, Any]) -> None:
    """One event it wants and one it does not; neither is a failure."""
    condition = Condition(where)
    assert (condition.wants(wanted), condition.wants(unwanted), condition.failures) == (True, False, 0)
    assert (condition.judge(wanted), condition.judge(unwanted)) == (True, False)


@pytest.mark.parametrize(
    ("where", "given"),
    [
        ('event.data.error.code == "1"', event()),
        ("event.data.metadata.size > 3", event(data={"metadata": {"size": "large"}})),
        ("int(event.data.error.code) > 3", event(data={"error": {"code": "E4"}})),
        ("event.data.metadata.vip", event(data={"metadata": {"vip": "yes"}})),
        ("event.data.metadata.all(k, k.size() < 9)", event(data={"metadata": {str(n): n for n in range(10_001)}})),
        ("event.data.metadata.n > 3", event(data={"metadata": {"n": 10**30}})),
        ('event.data.status == "a"', event(data={"status": "\ud800"})),
    ],
    ids=["absent", "another type", "no number", "neither true nor false", "too long", "too large", "no text"],
)
def test_a_condition_that_fails_is_no_match_and_is_counted(where: str, given: dict[str, Any]) -> None:
    """An expression that cannot be worked out for an event says no, and that is counted each time."""
    condition = Condition(where)
    assert [condition.wants(given) for _ in range(3)] == [False] * 3
    assert condition.failures == 3
    why = condition.judge(given)
    assert isinstance(why, str)
    assert why
    assert condition.failures == 3


def test_what_a_condition_does_not_read_cannot_make_it_fail() -> None:
    """A number beyond 64 bits elsewhere in the event changes nothing: only what is read is looked at."""
    condition = Condition('event.channel == "whatsapp" && event.data.metadata.vip == true')
    huge = {"metadata": {"vip": True, "n": 10**400}, "content": {"text": "\ud800"}}
    assert condition.wants(event(data=huge))
    assert not Condition("event.data.metadata.size() == 2").wants(event(data=huge))


def test_raw_is_there_for_who_asks() -> None:
    """The provider's own fields can be asked for; raw is decoded only then, whoever else looks at the event."""
    body, raw = msgspec.json.encode(event()), b'{"instance":{"plan":"gold"}}'
    condition = Condition('event.raw.instance.plan == "gold"')
    plain = Condition("true")
    assert (condition.reads_raw, plain.reads_raw, Condition("event.size() > 1").reads_raw) == (True, False, True)
    subject = Subject(body, raw)
    assert "raw" not in subject.seen_by(plain)
    assert subject.suits(condition)
    assert subject.suits(plain)
    assert subject.suits(None)
    assert not Subject(body, b"").suits(condition)
    assert Subject(b"not JSON", b"").suits(None)  # nobody asks, nothing is decoded


def test_every_event_of_the_fixtures_can_be_asked() -> None:
    """On each recorded event the example of the documentation is answered, and agrees with a look by hand."""
    condition = Condition('event.channel == "whatsapp" && has(event.data.error)')
    asked = 0
    for path in FIXTURES.glob("*/*/expected.json"):
        for found in json.loads(path.read_bytes()):
            if isinstance(found, dict):
                assert condition.wants(found) == (found["channel"] == "whatsapp" and "error" in found["data"])
                asked += 1
    assert asked > 50
    assert condition.failures == 0


# --- what is refused ------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, int, str]] = {
    # not an expression
    "empty": ("", 1, "ends too early"),
    "unfinished": ("event.channel ==", 17, "ends too early"),
    "one equals sign": ('event.channel = "a"', 15, "write =="),
    "and in letters": ('event.channel == "a" and true', 22, "write &&"),
    "not in letters": ("true && not true", 9, "write !"),
    "open quote": ("event.channel == 'a", 18, "is not CEL"),
    "too deep": ("event" + ".raw" * 100, 0, "nests too deep"),
    "10 kB long": ("true || " * 1250 + "true", 0, f"at most {MAX_CHARS}"),
    # names
    "undeclared": ('evnt.channel == "a"', 1, "evnt is not known"),
    "undeclared behind letters that take two bytes": ("'é' == evnt.x", 8, "did you mean event?"),
    "field without event": ('channel == "a"', 1, "did you mean event.channel?"),
    "unknown function": ("event.channel.lower() == 'a'", 15, "lower is not a function"),
    "unknown field": ('event.chanel == "a"', 7, "did you mean event.channel?"),
    "unknown field in has()": ("has(event.data.eror)", 16, "did you mean event.data.error?"),
    "unknown field in brackets": ("event['data']['eror'] == 'a'", 15, "did you mean event.data.error?"),
    "unknown field as a key": ("'eror' in event.data", 1, "did you mean event.data.error?"),
    "field of another place": ('event.status == "a"', 7, "did you mean event.data.status?"),
    "field of a field of a text": ('event.channel.name == "a"', 15, "event.channel is a text"),
    "unknown field at the end of a chain": ('event.data.error.kod == "a"', 18, "one of code, message"),
    "unknown field behind spaces": ('event . chanel == "a"', 9, "did you mean event.channel?"),
    # comparisons that never hold
    "text and number": ("event.data.amount > 3", 21, "double(event.data.amount)"),
    "number in a list": ("event.channel in ['a', 1]", 24, "is compared with 1"),
    "flag and text": ("event.data.is_group == 'yes'", 24, 'is compared with "yes"; write true or false'),
    "two constants": ("1 == 'a'", 3, "'==' cannot be applied to int, string"),
    "null in data": ("event.data.error == null", 21, "!has(event.data.error)"),
    "null where there is none": ("event.type == null", 15, "never null"),
    "has() of what is always there": ("has(event.channel)", 11, "write event.channel != null"),
    "group and text": ("event.data.error == 'a'", 21, "has fields"),
    "type that there is not": ("event.type == 'mesage.read'", 15, "did you mean message.read?"),
    "word that there is not": ("event.origin in ['live', 'tset']", 26, "did you mean test?"),
    # values
    "bad regular expression": ("event.channel.matches('(')", 23, "missing )"),
    "bad regular expression behind a no": ("event.channel == 'a' && event.channel.matches('(')", 47, "missing )"),
    "bad time": ("timestamp(event.received_at) > timestamp('2026')", 42, "Timestamp"),
    "no yes or no": ("event.channel", 0, "not true or false"),
    "a constant text": ("'a'", 0, "not true or false"),
    "no yes or no inside": ("!event.data.is_group || event.data.status", 0, "fails on every event"),
    # loops
    "nested loops": ("event.raw.l.exists(x, x.exists(y, y == 1))", 31, "a loop within a loop"),
    "chained loops": ("event.raw.l.filter(x, x == 1).exists(y, y == 1)", 19, "a loop within a loop"),
    "loop over what an index gives": ("event.raw['a-b'].exists(x, x == 1)", 10, "write dyn(…) around it"),
    "loop over event": ("event.raw.l.exists(event, event == 1)", 19, "hides event"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_never_work_is_refused_where_it_stands(case: str) -> None:
    """Every mistake is found when the filter is loaded, with its column and what to write instead."""
    where, column, words = REFUSED[case]
    found = mistakes_of(where)
    assert [(at, words in text) for at, text in found] == [(column, True)], found


def test_nobody_is_told_that_they_meant_where_they_were() -> None:
    """Of event.data.foo the nearest path is event.data, which says nothing."""
    ((_, text),) = mistakes_of("event.data.foo == 'a'")
    assert "did you mean event.data?" not in text


def test_a_loop_over_what_an_index_gives_works_as_the_refusal_says() -> None:
    """Names that CEL cannot write behind a dot are reached in brackets; dyn() makes them a range."""
    condition = Condition("dyn(event.raw['a-b']).exists(x, x == 'vip')")
    assert condition.wants(event(raw={"a-b": ["new", "vip"]}))
    assert not condition.wants(event(raw={"a-b": ["new"]}))
    assert condition.failures == 0


def test_all_mistakes_are_told_at_once() -> None:
    """Two misspelt fields and an impossible comparison are three mistakes, in the order they stand."""
    found = mistakes_of('event.chanel == "a" || has(event.data.eror) || event.type == 3')
    assert [column for column, _ in found] == [7, 39, 62]


@pytest.mark.parametrize(
    ("where", "types", "words"),
    [
        ('event.data.amount == "3"', MESSAGES, "only payment.* have it"),
        ("has(event.data.error)", ("payment.*", "booking.created"), "only message.* have it"),
        ("event.type == 'payment.failed'", MESSAGES, "event.type is never"),
        ("event.data.kind == 'booking'", ("channel.*",), "event.data.kind is never"),
    ],
)
def test_a_field_must_be_known_to_a_type_that_comes(where: str, types: tuple[str, ...], words: str) -> None:
    """What only types have that the subscriber does not ask for can never match: refused; with all types it loads."""
    ((column, text),) = mistakes_of(where, types)
    assert words in text
    assert column > 0
    assert mistakes_of(where) == []


def test_a_family_is_enough() -> None:
    """A field that one of the matching types has may be asked for, though others lack it."""
    assert mistakes_of("has(event.data.error)", ("message.*", "payment.*")) == []
    assert mistakes_of("has(event.data.qr_code)", ("channel.qr_updated",)) == []


def test_without_the_look_at_the_tree_a_misspelt_field_would_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard is ours: to CEL alone the misspelt field is a key that may be missing, and the nested loop is fine."""
    wheres = ['event.channel == "a" && event.chanel == "a"', "event.raw.l.exists(x, x.exists(y, y == 1))"]
    assert all(mistakes_of(where) for where in wheres)
    monkeypatch.setattr(condition_check._Checker, "_wrong", lambda self, column, why, write: None)
    assert [mistakes_of(where) for where in wheres] == [[], []]


@given(st.text(max_size=60) | st.text(alphabet="event.data()[]'\"&|!=<>?: 0", max_size=40))
def test_nothing_but_a_bad_condition_is_raised(where: str) -> None:
    """Whatever is written, it loads or is refused in words; nothing else comes out."""
    for column, words in mistakes_of(where):
        assert 0 <= column <= len(where) + 1
        assert words


# --- what is known of events ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@pytest.mark.parametrize("full", [True, False])
def test_samples_are_events(event_type: str, full: bool) -> None:
    """The samples that filters are tried on are valid, with everything set or nothing that need not be."""
    converted = msgspec.convert(sample(event_type, full=full), Event)
    assert converted.type == event_type
    set_fields = msgspec.to_builtins(converted)
    assert set_fields.keys() - {"raw"} == fields_of(event_type).fields.keys() - {"raw"}
    assert (set_fields["data"].keys() == {"kind"}) is not full


def test_fields_follow_the_type() -> None:
    """Which fields data has depends on the family; inside of open fields everything is possible."""
    message, payment = fields_of("message.failed"), fields_of("payment.failed")
    assert find(message, ["data", "error", "code"]) is not None
    assert find(payment, ["data", "error"]) is None
    assert find(message, ["data", "metadata", "any", "thing"]) == find(message, ["raw"])
    assert find(message, ["channel", "name"]) is None
