"""The demo's subscriber, judged by an independent implementation of Standard Webhooks."""

import base64
import datetime as dt
import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from gateway.simulator import subscriber
from tests.simulator.players import Player, playing

SECRET = "whsec_" + base64.b64encode(b"demo subscriber secret, 32 bytes").decode()
OTHER = "whsec_" + base64.b64encode(b"another subscriber's secret here").decode()


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Player, httpx.Client]]:
    with (
        playing("subscriber", subscriber.Instructions(secrets=(OTHER, SECRET), fail_every=3)) as player,
        httpx.Client(base_url=f"http://127.0.0.1:{player.line()['port']}", trust_env=False) as client,
    ):
        yield player, client


def delivery(event_id: str, *, secret: str = SECRET, attempt: int = 1) -> tuple[bytes, dict[str, str]]:
    event = {
        "id": event_id,
        "type": "message.read",
        "source": "enviaai-br",
        "provider": "enviaai",
        "provenance": {"provider_type": "message.read", "provider_id": None},
        "data": {"kind": "message"},
    }
    body, now = json.dumps(event), dt.datetime.now(dt.UTC)
    headers = {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(event_id, now, body),
        "gateway-attempt": str(attempt),
    }
    return body.encode(), headers


def test_takes_what_the_standard_library_signed_and_fails_each_nth_new_event_once(
    running: tuple[Player, httpx.Client],
) -> None:
    """Signed deliveries are taken; the second of three new ones gets 500 at first, 204 when it comes again."""
    player, client = running
    told = []
    for event_id, attempt in (("evt_a", 1), ("evt_b", 1), ("evt_c", 1), ("evt_b", 2), ("evt_b", 3)):
        body, headers = delivery(event_id, attempt=attempt)
        status = client.post("/hooks", content=body, headers=headers).status_code
        line = player.line()
        assert line["status"] == status
        told.append((line["id"], line["attempt"], line["status"], line["repeat"]))
        assert line["verified"]
    assert told == [
        ("evt_a", 1, 500, False),
        ("evt_b", 1, 204, False),
        ("evt_c", 1, 204, False),
        ("evt_b", 2, 204, True),
        ("evt_b", 3, 204, True),
    ]


@pytest.mark.parametrize("spoil", ["secret", "body", "id", "time", "signature", "word"])
def test_refuses_what_does_not_verify(running: tuple[Player, httpx.Client], spoil: str) -> None:
    """Another secret, another body, id or time, no signature, or one outside ASCII: 401, and said so."""
    player, client = running
    body, headers = delivery("evt_x", secret="whsec_" + "A" * 32 if spoil == "secret" else SECRET)
    if spoil == "body":
        body += b" "
    elif spoil == "id":
        headers["webhook-id"] = "evt_y"
    elif spoil == "time":
        headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) - 301)
    elif spoil == "signature":
        del headers["webhook-signature"]
    raw_headers = {name.encode(): value.encode() for name, value in headers.items()}
    if spoil == "word":
        raw_headers[b"webhook-signature"] = "v1,é".encode()
    assert client.post("/hooks", content=body, headers=raw_headers).status_code == 401
    assert player.line()["verified"] is False


def test_an_old_delivery_does_not_verify_and_a_fresh_one_does() -> None:
    """The time is signed and may be five minutes off, not more."""
    body, headers = delivery("evt_x")
    now_s = float(headers["webhook-timestamp"])
    assert subscriber.verify(headers, body, [SECRET], now_s + 299)
    assert not subscriber.verify(headers, body, [SECRET], now_s + 302)
    assert not subscriber.verify(headers, body, [], now_s)


def test_known_answer_of_the_specification_verifies() -> None:
    """The published example of Standard Webhooks verifies, and not with one character changed."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1a,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secrets, body = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], b'{"test": 2432232314}'
    assert subscriber.verify(headers, body, secrets, 1614265330)
    assert not subscriber.verify(headers, body.replace(b"2", b"3", 1), secrets, 1614265330)


def test_unreadable_or_unbounded_bodies_end_in_an_answer(running: tuple[Player, httpx.Client]) -> None:
    """What is not JSON gets 400, a body without a length 411, one too long 413."""
    player, client = running
    assert client.post("/hooks", content=b"not json").status_code == 400
    assert player.line()["status"] == 400
    assert client.post("/hooks", content=iter([b"{}"])).status_code == 411
    announced = HTTPConnection("127.0.0.1", client.base_url.port, timeout=5.0)
    with closing(announced):
        announced.request("POST", "/hooks", headers={"content-length": str(10**9)})
        assert announced.getresponse().status == 413


def test_leaves_when_its_standard_input_closes() -> None:
    """No signal and no process id is needed to end it."""
    with playing("subscriber", subscriber.Instructions(secrets=(SECRET,))) as player:
        assert player.line()["event"] == "ready"
        assert player.cut() == 0
