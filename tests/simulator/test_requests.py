"""Requests as a provider makes them, and what it makes of the answers."""

import json
import re
from typing import Any

import pytest

from adapters import enviaai
from adapters.contract import NotProven, Request, prove
from gateway.simulator import requests, sending
from gateway.simulator.lines import Purpose
from gateway.simulator.requests import Account, Answer, choose_case, parse_change, prepare, read_answer, set_value

ACCOUNT = Account(source="enviaai-br", adapter="enviaai", url="http://127.0.0.1:1/in/enviaai-br", secrets=("s3cret",))
CASE = "message.read__documented"


def proven(prepared: requests.Prepared) -> bool:
    headers = tuple((name.encode(), value.encode()) for name, value in prepared.headers.items())
    try:
        prove(enviaai.ADAPTER, Request(headers, prepared.body), ACCOUNT.as_source(), {}, 0)
    except NotProven:
        return False
    return True


@pytest.mark.parametrize(
    ("purpose", "is_proven", "is_json"),
    [("sample", True, True), ("retry", True, True), ("wrong_signature", False, True), ("not_json", True, False)],
)
def test_each_purpose_spoils_what_it_says_and_nothing_else(purpose: Purpose, is_proven: bool, is_json: bool) -> None:
    """Ordinary requests prove and read; a wrong signature only fails to prove; half a body proves and does not read."""
    prepared = prepare(enviaai.ADAPTER, ACCOUNT.as_source(), CASE, seed=1, now_ms=0, purpose=purpose)
    assert proven(prepared) is is_proven
    try:
        json.loads(prepared.body)
    except ValueError:
        assert not is_json
    else:
        assert is_json


def test_the_same_seed_is_the_same_event_and_another_is_not() -> None:
    """A provider's retry has the same body; the next event has another."""
    first, again, other = (
        prepare(enviaai.ADAPTER, ACCOUNT.as_source(), CASE, seed=seed, now_ms=0).body for seed in (1, 1, 2)
    )
    assert first == again != other


def test_changes_are_made_before_signing() -> None:
    """A changed body still proves, and holds the change."""
    changes = [("data.messageId", "mine"), ("data.extra.deep", [1]), ("data.extra.deep.0", 2)]
    prepared = prepare(enviaai.ADAPTER, ACCOUNT.as_source(), CASE, seed=1, now_ms=0, changes=changes)
    assert proven(prepared)
    data = json.loads(prepared.body)["data"]
    assert (data["messageId"], data["extra"]) == ("mine", {"deep": [2]})


@pytest.mark.parametrize("path", ["event.name", "list.7", "list.x", "list.x.y", "event.a.b"])
def test_a_change_that_does_not_fit_says_where(path: str) -> None:
    """A path through a text, or past the end of a list, is refused by name."""
    with pytest.raises(ValueError, match=f"cannot set {path}"):
        set_value(b'{"event":"x","list":[1,2]}', path, 1)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a.b=1", ("a.b", 1)),
        ("a=true", ("a", True)),
        ("a=null", ("a", None)),
        ('a={"b":[]}', ("a", {"b": []})),
        ("a=Hello there", ("a", "Hello there")),
        ('a="1"', ("a", "1")),
        ("a=b=c", ("a", "b=c")),
        ("a=", ("a", "")),
    ],
)
def test_a_value_is_json_where_it_is_json_and_text_otherwise(written: str, read: tuple[str, Any]) -> None:
    """Numbers, true and objects need no quotes; words need none either."""
    assert parse_change(written) == read


CASES = ["message.read__documented", "message.received__documented", "message.received__image", "m.x__ab", "m.x__ac"]


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ("message.received__image", "message.received__image"),
        ("message.received__i", "message.received__image"),
        ("message.read", "message.read__documented"),
        ("message.received", "message.received__documented"),
        ("message.rea", "message.read__documented"),
        ("message.rec", "message.received__documented"),
        ("m.x", "m.x__ab"),
    ],
)
def test_a_case_may_be_written_short(given: str, chosen: str) -> None:
    """Its name, its unique beginning or its event's name are enough."""
    assert choose_case(CASES, given) == chosen


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("m.x__a", "'m.x__a' begins 2 cases: m.x__ab, m.x__ac"),
        ("message.re", "begins 3 cases"),
        ("mesage.read", "did you mean message.read?"),
        ("zzz", "there are message.read__documented"),
    ],
)
def test_a_case_is_never_guessed(given: str, answer: str) -> None:
    """What could mean several cases, or none, is answered with what there is."""
    with pytest.raises(ValueError, match=re.escape(answer)):
        choose_case(CASES, given)


@pytest.mark.parametrize("written", ["a", "=1", "a..b=1", ".a=1"])
def test_a_change_without_path_or_value_is_refused(written: str) -> None:
    """What is not path=value says what it should be."""
    with pytest.raises(ValueError, match="path=value"):
        parse_change(written)


def test_answers_are_read_as_the_gateway_writes_them_and_strangers_are_not_believed() -> None:
    """200 with the gateway's body counts, 200 with another's does not; 4xx is final, 429 and 5xx are not."""
    body = b'{"status":"accepted","request":"req_1","events":[{"id":"evt_1","type":"other","status":"logged"}]}'
    taken = read_answer(200, None, body)
    assert (taken.outcome, taken.events[0].id, taken.worth_retrying) == ("accepted", "evt_1", False)
    assert read_answer(200, None, b"<html>").outcome == "unanswered"
    refused = read_answer(401, None, b'{"code":"not_proven","detail":"no","status":401}')
    assert (refused.outcome, refused.detail, refused.worth_retrying) == ("rejected", "not_proven: no", False)
    busy = read_answer(503, "7", b"")
    assert (busy.outcome, busy.retry_after_s, busy.worth_retrying) == ("unanswered", 7.0, True)
    assert read_answer(429, "soon", b"").retry_after_s is None
    assert read_answer(429, None, b"").worth_retrying


def test_a_provider_tries_again_while_that_is_worth_it_and_waits_as_long_as_asked() -> None:
    """503 and silence are repeated, Retry-After is heeded, 200 ends it, and so does running out of attempts."""
    busy = Answer(status=503, outcome="unanswered", retry_after_s=3.0)
    silence, taken = Answer(status=None, outcome="unanswered"), Answer(status=200, outcome="accepted")
    answers, waits = iter([busy, silence, taken]), list[float]()

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return False

    assert list(sending.attempts(lambda: next(answers), wait)) == [
        (1, busy, False),
        (2, silence, False),
        (3, taken, True),
    ]
    assert waits == [3.0, 1.0]
    assert [final for _, _, final in sending.attempts(lambda: silence, lambda _: False)] == [False] * 4 + [True]
    assert len(list(sending.attempts(lambda: silence, lambda _: True))) == 1
