"""Nasty words in every text field of every provider's sample: kept as they are, and shown so that they do no harm."""

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from unicodedata import category
from urllib.parse import quote

import httpx
import jsonschema
import msgspec
import pytest

from adapters.contract import Request
from gateway.conformance.subject import is_strictly_an_event, paths, put
from gateway.intake.pipeline import Events, receive
from tests.cli.running import run
from tests.forgeries.genuine import as_pairs, sources
from tests.hostile.driver import serving
from tests.hostile.words import WORDS
from tests.operate.test_pages import Page
from tests.support.gateways import GatewayProcess

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "schemas" / "event.schema.json").read_bytes())
)
SOURCES = ("enviaai", "engium", "aivo", "flexengage", "chat")
KEPT = {
    "enviaai": ("event",),
    "engium": ("event", "type"),
    "aivo": ("event_name", "message_status", "msg_status"),
    "flexengage": ("type", "brandId"),
    "chat": ("event",),
}
"""What decides the type, or proves: left as it is in most samples, so that the event is a mapped one."""


def with_word(source: str, word: str, seed: int, *, name: bool) -> bytes:
    """A sample with the word as every text in it; ``name``: also as the name of the event."""
    adapter = sources()[source][0]
    document: Any = json.loads(adapter.sample(adapter.cases[0], seed))
    for path in list(paths(document)):
        at = document
        for key in path[:-1]:
            at = at[key]
        kept = len(path) == 1 and path[0] in KEPT[source] and (not name or path[0] == "brandId")
        if isinstance(at[path[-1]], str) and not kept:
            put(document, path, word)
    document[word or "empty"] = {word: [word]}
    return json.dumps(document, ensure_ascii=seed % 2 == 0).encode()


def signed(source: str, body: bytes) -> dict[str, str]:
    """The headers that prove a body."""
    adapter, _, signer = sources()[source]
    return adapter.sign(body, signer, time.time_ns() // 1_000_000)


@pytest.mark.parametrize("source", SOURCES)
def test_an_event_of_nasty_words_is_a_valid_event(source: str) -> None:
    """Mapped or not, it fits the schema and the types, and the word comes out as it went in."""
    adapter, known, signer = sources()[source]
    for (what, word), name in itertools.product(WORDS.items(), (False, True)):
        body = with_word(source, word, len(what), name=name)
        request = Request(as_pairs(adapter.sign(body, signer, 0)), body)
        outcome = receive(request, known, adapter, {}, 0)
        assert isinstance(outcome, Events)
        for item in outcome.events:
            event = {**json.loads(item.event_json), "raw": json.loads(item.raw_json)}
            SCHEMA.validate(event)
            assert is_strictly_an_event(event) is None
            assert (event["type"] == "other") == name
            assert event["raw"][word] == {word: [word]}, what
            assert b"\n" not in item.event_json + item.raw_json


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[GatewayProcess, dict[str, list[str]]]]:
    """A gateway with an event of every word from some provider, and the ids of the events by word."""
    ids: dict[str, list[str]] = {}
    chance = Random(1)
    with serving(log_level="debug") as started, httpx.Client(timeout=30, trust_env=False) as client:

        def send(source: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
            return client.post(f"{started.url}/in/{source}", content=body, headers=headers)

        for number, (what, word) in enumerate(WORDS.items()):
            for source in chance.sample(SOURCES, 2):
                body = with_word(source, word, number, name=chance.random() < 0.3)
                answer = send(source, body, signed(source, body))
                assert answer.status_code == 200, (what, answer.text)
                ids.setdefault(what, []).extend(event["id"] for event in answer.json()["events"])
            not_json = word.encode()
            assert send("enviaai", not_json, signed("enviaai", not_json)).json()["status"] == "quarantined"
            line = "".join(letter for letter in word if letter.isprintable())[:500].encode()
            client.post(f"{started.url}/in/enviaai", content=not_json, headers={b"x-word": line.strip() or b"x"})
        yield started, ids


def token(running: GatewayProcess) -> str:
    """The operator's."""
    return (running.folder / "data" / "admin_token").read_text("utf-8").strip()


def raw_controls(text: str, allowed: str) -> set[str]:
    """What a terminal or an editor would obey."""
    return {letter for letter in text if category(letter) == "Cc" and letter not in allowed}


def test_pages_show_nasty_words_as_text(running: tuple[GatewayProcess, dict[str, list[str]]]) -> None:
    """Every page that shows them has the tags and attributes of a page that shows plain words, and no raw controls."""
    started, ids = running
    headers = {"authorization": f"Bearer {token(started)}"}
    body = sources()["enviaai"][0].sample("message.received__documented", 999_999)
    plain = post_plain(started, body)
    with httpx.Client(timeout=30, trust_env=False, headers=headers, base_url=started.url) as client:

        def tags(path: str) -> tuple[set[tuple[str, str]], str]:
            answer = client.get(path)
            assert answer.status_code == 200, path
            page = Page(answer.text)
            assert page.inline == []
            return {(tag, name) for tag, attrs in page.tags for name in ("", *attrs)}, answer.text

        known = set().union(
            *(tags(path)[0] for path in ("/", "/events", f"/events/{plain}", "/quarantine", "/rejected"))
        )
        assert ("main", "") in known
        for path in (
            "/events",
            "/quarantine",
            "/rejected",
            *(f"/events/{each}" for found in ids.values() for each in found),
        ):
            found, text = tags(path)
            assert found - known <= {("a", "title"), ("span", "title"), ("td", "title")}, path
            assert not raw_controls(text, "\n\t\r"), path
            for trap in ("<script>alert", "<img src=x", "<svg/onload", 'href="javascript:', 'href="data:text'):
                assert trap not in text.lower(), path


def test_words_that_nobody_escapes_are_noticed() -> None:
    """The control: in a page that shows words as they are there are tags of theirs, and controls."""
    inside = {tag for word in WORDS.values() for tag, _ in Page(f"<p>{word}</p>").tags}
    assert {"script", "img", "svg"} <= inside
    assert raw_controls("\x1b[31m\x00", "\n\t\r") == {"\x1b", "\x00"}


def post_plain(started: GatewayProcess, body: bytes) -> str:
    """The id of an event with plain words."""
    answer = started.post("enviaai", body, signed("enviaai", body))
    identity: str = answer.json()["events"][0]["id"]
    return identity


def test_the_api_says_nasty_words_as_they_came(running: tuple[GatewayProcess, dict[str, list[str]]]) -> None:
    """Every event comes out of the API as JSON that fits the schema and holds the word."""
    started, ids = running
    headers = {"authorization": f"Bearer {token(started)}"}
    with httpx.Client(timeout=30, trust_env=False, headers=headers, base_url=started.url) as client:
        for what, found in ids.items():
            for identity in found:
                shown = client.get(f"/api/events/{identity}").json()
                assert WORDS[what] in shown["raw"], what
                SCHEMA.validate(shown["event"])


def test_the_log_stays_one_line_an_entry(running: tuple[GatewayProcess, dict[str, list[str]]]) -> None:
    """Every line is one JSON object, and none holds a word."""
    started, _ = running
    lines = started.words().splitlines()
    assert len(lines) > len(WORDS)
    for line in lines:
        assert "event" in msgspec.json.decode(line.encode())
        assert not raw_controls(line, "")
    assert not any(word in "\n".join(lines) for what, word in WORDS.items() if len(word) > 20)


def test_the_command_obeys_no_word(running: tuple[GatewayProcess, dict[str, list[str]]]) -> None:
    """What the command prints has no control character but the line's end, as text and as JSON."""
    started, ids = running
    env = {"GATEWAY_URL": started.url, "GATEWAY_TOKEN": token(started)}
    shown = [identity for found in ids.values() for identity in found[:1]]
    for words in (
        ("events", "--limit", "200"),
        ("events", "--limit", "200", "--json"),
        *(("show", each) for each in shown),
    ):
        done = run(*words, cwd=started.folder, env=env)
        assert done.code == 0, (words, done.err)
        assert not raw_controls(done.out, "\n"), words
        assert done.out


ASKED = (
    *("/events", "/dead", "/quarantine", "/rejected", "/replays", "/changes", "/", "/metrics", "/api/events"),
    *("/api/dead", "/api/deliveries", "/api/quarantine", "/api/rejected", "/api/replays", "/api/subscribers"),
)
NAMES = (
    "type",
    "since",
    "until",
    "source",
    "subscriber",
    "cause",
    "after",
    "limit",
    "order",
    "where",
    "raw",
    "id",
    "state",
)


def test_pages_and_api_take_any_question(running: tuple[GatewayProcess, dict[str, list[str]]]) -> None:
    """Nasty words as questions, as names of things, as cookies and in forms: an answer or a refusal, never an error."""
    started, _ = running
    chance = Random(4)
    with httpx.Client(timeout=30, trust_env=False, base_url=started.url) as client:
        for what, word in WORDS.items():
            short = word[:400]
            path, questions = chance.choice(ASKED), dict.fromkeys(chance.sample(NAMES, 3), short)
            sent = {"authorization": f"Bearer {token(started)}"}
            seen = [
                client.get(path, params=questions, headers=sent).status_code,
                client.get(f"{chance.choice(ASKED[:9])}/{quote(short, safe='')}", headers=sent).status_code,
                client.post("/dead/retry", data=questions, headers=sent).status_code,
                client.post("/api/replays", content=short.encode(), headers=sent).status_code,
            ]
            assert all(status < 500 for status in seen), (what, path, seen)
            assert not {401, 403, 429} & set(seen[:2]), (what, path, seen)
        for word in WORDS.values():  # last: who is wrong so often is made to wait
            wrong = [
                client.get("/events", headers={"cookie": f"gateway_session={quote(word[:400])}"}).status_code,
                client.get(f"/login/{quote(word[:400], safe='')}").status_code,
                client.post("/login", data={"token": word}).status_code,
            ]
            assert all(400 <= status < 500 for status in wrong), wrong
    assert not any(name in started.words() for name in ("Traceback", '"level":"error"'))
