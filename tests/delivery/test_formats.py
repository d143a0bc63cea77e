"""The forms of a delivery, judged by the CloudEvents SDK and by two verifiers that know nothing of each other."""

import asyncio
import json
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as StandardWebhook
from svix.webhooks import Webhook as SvixWebhook

from gateway.config import SubscriberSettings
from gateway.delivery.attempt import Sender, encode
from gateway.delivery.formats import SUBJECT_BYTES, Format, binary, dress_for, structured
from gateway.delivery.guard import Guard
from schemas.event import SCHEMA_ID
from tests.support.servers import Received, answering, response, serving

FIXTURES = Path(__file__).parent.parent / "fixtures"
OLD, NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk"
KEY = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
FORMATS: tuple[Format, ...] = get_args(Format)
RAW = '{"quê":"日本 😀","n":[1,2,{"a":null}]}'.encode()


def events() -> Iterator[Any]:
    """Every event of every fixture, with its raw part."""
    for path in sorted(FIXTURES.glob("*/*/expected.json")):
        expected = json.loads(path.read_bytes())
        for number, event in enumerate(expected if isinstance(expected, list) else []):
            yield pytest.param(event, id=f"{path.parent.name}-{number}")


def event(**changes: Any) -> bytes:
    """A canonical body with what matters here."""
    found = {
        "id": "evt_hdvgbpm7wgvb2yt2wqsgnew4cu",
        "type": "message.received",
        "occurred_at": "2026-02-03T12:00:05.000Z",
        "received_at": "2026-02-03T12:00:05.412Z",
        "source": "enviaai-br",
        "ordering_key": "chat_def456",
        "data": {"kind": "message"},
    }
    return msgspec.json.encode(found | changes)


def deliver(canonical: bytes, form: Format, *secrets: str) -> Received:
    """Send one event through a real sender to a real server; returns what arrived."""

    async def run() -> Received:
        async with serving(answering(response("204 No Content"))) as server:
            settings = SubscriberSettings(
                name="crm",
                url=f"http://127.0.0.1:{server.port}/hooks",
                secrets=secrets or (OLD,),
                allow_networks=(ip_network("127.0.0.0/8"),),
                format=form,
            )
            sender = Sender(
                settings, Guard(own=()), wall_ms=lambda: time.time_ns() // 1_000_000, monotonic=time.monotonic
            )
            try:
                event_id = msgspec.json.decode(canonical)["id"]
                outcome = await sender.send(event_id, canonical, attempt=1, attempts_left=9)
                assert outcome.delivered, outcome
            finally:
                await sender.close()
            return server.requests[0]

    return asyncio.run(run())


def parse(received: Received) -> Any:
    """What the official SDK makes of it."""
    return from_http_event(HTTPMessage(headers=received.headers, body=received.body))


@pytest.mark.parametrize("form", ["cloudevents-structured", "cloudevents-binary"])
def test_the_sdk_parses_what_arrives(form: Format) -> None:
    """The official SDK reads id, source, type, time, subject, schema and the whole event, raw part included."""
    canonical = encode(event(), RAW)
    found = parse(deliver(canonical, form))
    attributes = found.get_attributes()
    assert attributes | {"time": attributes["time"].isoformat(timespec="milliseconds")} == {
        "specversion": "1.0",
        "id": "evt_hdvgbpm7wgvb2yt2wqsgnew4cu",
        "source": "/sources/enviaai-br",
        "type": "message.received",
        "time": "2026-02-03T12:00:05.000+00:00",
        "subject": "chat_def456",
        "datacontenttype": "application/json",
        "dataschema": SCHEMA_ID,
    }
    data = found.get_data()
    assert (json.loads(data) if isinstance(data, bytes | str) else data) == json.loads(canonical)


def test_each_form_says_what_it_is() -> None:
    """The content type tells the forms apart; the canonical one has no attribute of CloudEvents."""
    canonical, whole, split = (deliver(event(), form) for form in FORMATS)
    assert canonical.headers["content-type"] == split.headers["content-type"] == "application/json"
    assert whole.headers["content-type"] == "application/cloudevents+json"
    assert not [name for received in (canonical, whole) for name in received.headers if name.startswith("ce-")]
    assert canonical.body == split.body == event()
    assert dress_for("canonical") is None


@pytest.mark.parametrize("form", FORMATS)
def test_two_libraries_verify_each_form(form: Format) -> None:
    """standardwebhooks and svix accept the body as it arrived with either secret; one changed byte and they do not."""
    received = deliver(encode(event(), RAW), form, NEW, OLD, KEY)
    for verifier in (StandardWebhook, SvixWebhook):
        for secret in (OLD, NEW):
            assert verifier(secret).verify(received.body, received.headers) == json.loads(received.body)
        with pytest.raises(Exception, match="No matching signature found"):
            verifier(OLD).verify(received.body.replace(b"chat_def456", b"chat_def457"), received.headers)


@pytest.mark.parametrize("canonical", list(events()))
def test_every_fixture_is_a_cloud_event(canonical: dict[str, Any]) -> None:
    """Each event that the fixtures produce survives both forms, as the SDK reads them."""
    body = msgspec.json.encode(canonical)
    for dress, content_type in ((structured, "application/cloudevents+json"), (binary, "application/json")):
        sent, headers = dress(body)
        found = from_http_event(HTTPMessage(headers={**dict(headers), "content-type": content_type}, body=sent))
        data = found.get_data()
        assert (json.loads(data) if isinstance(data, bytes | str) else data) == canonical
        assert found.get_attributes()["id"] == canonical["id"]
        assert found.get_attributes().get("subject") == canonical["ordering_key"]


def test_the_time_is_the_providers_else_ours() -> None:
    """time is occurred_at; where the provider states none, received_at."""
    for occurred, expected in (("2026-01-01T00:00:00.000Z",) * 2, (None, "2026-02-03T12:00:05.412Z")):
        body = event(occurred_at=occurred)
        assert dict(binary(body)[1])["ce-time"] == json.loads(structured(body)[0])["time"] == expected


@given(key=st.text(min_size=1, max_size=60))
def test_any_ordering_key_goes_through_a_header(key: str) -> None:
    """Whatever a provider writes, the header is printable ASCII, and the SDK reads the key back from both forms."""
    body = event(ordering_key=key)
    sent, headers = binary(body)
    assert all(value.isascii() and value.isprintable() and " " not in value for _, value in headers)
    found = from_http_event(HTTPMessage(headers={**dict(headers), "content-type": "application/json"}, body=sent))
    whole = from_http_event(
        HTTPMessage(headers={"content-type": "application/cloudevents+json"}, body=structured(body)[0])
    )
    subjects = {each.get_attributes().get("subject") for each in (found, whole)}
    assert subjects in ({key}, {None})
    assert (subjects == {key}) or not key.isprintable()


@pytest.mark.parametrize(
    "key", [None, "", "a\x00b", "line\nbreak", "\x85", "\uffff", "\U0001ffff", "k" * (SUBJECT_BYTES + 1)]
)
def test_a_key_that_is_no_subject_is_left_out(key: str | None) -> None:
    """CloudEvents has no empty subject and no control characters in one; a huge one would cost the delivery."""
    body = event(ordering_key=key)
    assert "ce-subject" not in dict(binary(body)[1])
    assert "subject" not in json.loads(structured(body)[0])
    assert json.loads(structured(body)[0])["data"]["ordering_key"] == key


def test_a_key_of_the_longest_length_is_a_subject() -> None:
    """The bound refuses only what is beyond it, counted as the header has it."""
    assert dict(binary(event(ordering_key="k" * SUBJECT_BYTES))[1])["ce-subject"] == "k" * SUBJECT_BYTES
    assert dict(binary(event(ordering_key='50 % "é"'))[1])["ce-subject"] == "50%20%25%20%22%C3%A9%22"
