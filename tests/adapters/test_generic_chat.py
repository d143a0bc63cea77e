"""generic_chat, beyond what its recorded requests and the conformance suite say: its proofs, and what it masks."""

import hashlib
from ipaddress import ip_network
from itertools import product
from typing import Any

import msgspec
import pytest

from adapters.contract import Source, Unmappable
from adapters.generic_chat import ADAPTER
from adapters.proving import sign_hmac
from tests.adapters.support import data, draft, method, refusal, request, signed, verified

TOKEN = b"test-path-token-of-at-least-128-bits"
ADDRESS = "174.138.104.128"
BODY = ADAPTER.sample("newMessage__documented", 1)


def _source(*, signature: bool, token: bool, address: bool, unauthenticated: bool = False) -> Source:
    return Source(
        name="chat",
        secrets=(b"oneroute_test",) if signature else (),
        path_token_sha256=hashlib.sha256(TOKEN).digest() if token else None,
        allow_ips=(ip_network(ADDRESS),) if address else (),
        unauthenticated=unauthenticated,
    )


@pytest.mark.parametrize(("signature", "token", "address"), [c for c in product((True, False), repeat=3) if any(c)])
def test_all_configured_proofs_must_hold(signature: bool, token: bool, address: bool) -> None:
    """Every combination: all hold, and each one missing in turn."""
    source = _source(signature=signature, token=token, address=address)
    right = signed(ADAPTER, BODY, source, path_token=TOKEN, client_ip=ADDRESS)
    names = [
        name for name, wanted in (("hmac-sha512", signature), ("path-token", token), ("address", address)) if wanted
    ]
    assert method(ADAPTER, right, source) == "+".join(names)
    if signature:
        assert "x-oneroute-signature" in refusal(ADAPTER, msgspec.structs.replace(right, headers=()), source)
    if token:
        assert "path_token" in refusal(ADAPTER, msgspec.structs.replace(right, path_token=None), source)
    if address:
        assert "allow_ips" in refusal(ADAPTER, msgspec.structs.replace(right, client_ip="192.0.2.7"), source)


def test_opening_a_source_weakens_no_proof_beside_it() -> None:
    """unauthenticated = true with a token: the token must hold."""
    source = _source(signature=False, token=True, address=False, unauthenticated=True)
    assert method(ADAPTER, request(BODY, path_token=TOKEN), source) == "path-token"
    assert "path_token" in refusal(ADAPTER, request(BODY), source)
    assert method(ADAPTER, request(BODY), Source(name="chat", unauthenticated=True)) == "unauthenticated"


@pytest.mark.parametrize("token", [None, b""])
def test_no_token_is_never_the_right_one(token: bytes | None) -> None:
    """Not even where the configured hash is that of nothing."""
    source = Source(name="chat", path_token_sha256=hashlib.sha256(b"").digest())
    assert "path_token" in refusal(ADAPTER, request(BODY, path_token=token), source)


@pytest.mark.parametrize(
    ("client_ip", "is_allowed"),
    [
        (ADDRESS, True),
        (f"::ffff:{ADDRESS}", True),
        ("::ffff:ae8a:6880", True),
        ("174.138.104.129", False),
        ("2001:db8::1", False),
        ("2919917696", False),
        ("0xae.138.104.128", False),
        (f"{ADDRESS}\n", False),
        ("", False),
        (None, False),
    ],
)
def test_an_address_counts_in_its_one_spelling(client_ip: str | None, is_allowed: bool) -> None:
    """An IPv4 address may come mapped into IPv6, as sockets write it; other spellings are none."""
    source = _source(signature=False, token=False, address=True)
    asked = request(BODY, client_ip=client_ip)
    if is_allowed:
        assert method(ADAPTER, asked, source) == "address"
    else:
        assert "allow_ips" in refusal(ADAPTER, asked, source)


def test_the_signature_may_name_its_algorithm_but_not_choose_it() -> None:
    """sha512= in front is accepted; a correct HMAC-SHA256 is not."""
    source = _source(signature=True, token=False, address=False)
    digits = ADAPTER.sign(BODY, source, 0)["x-oneroute-signature"]
    assert method(ADAPTER, request(BODY, {"x-oneroute-signature": f"sha512={digits}"}), source) == "hmac-sha512"
    for spelling in ("sha256=", ""):
        given = spelling + sign_hmac(BODY, source, "sha256")
        assert "x-oneroute-signature" in refusal(ADAPTER, request(BODY, {"x-oneroute-signature": given}), source)


@pytest.mark.parametrize("event", ["newMessage", "conversationClosed", "smsDeliveryReport", None])
@pytest.mark.parametrize("secret", ["canary", {"token": "canary"}, ["canary"], {"credentials": {"deep": "canary"}}])
def test_credentials_are_masked_wherever_they_stand(event: str | None, secret: Any) -> None:
    """In every event, known or not, at every depth, whatever they hold."""
    channel = {"id": "c", "credentials": secret, "webhookUrl": "https://hooks.example.com/in/chat/canary"}
    conversation = {"id": "1", "status": "delivered", "Channel": channel, "channels": [channel, [channel]]}
    only = draft(ADAPTER, {"event": event, "conversation": conversation, "Channel": channel, "credentials": secret})
    assert "canary" not in repr(only)
    assert "[redacted]" in repr(only.raw)


def test_absent_credentials_are_not_made_up() -> None:
    """null stays null: a mask would say that there was something."""
    raw = draft(ADAPTER, {"event": "x", "conversation": {"Channel": {"credentials": None}}}).raw
    assert raw["conversation"]["Channel"]["credentials"] is None


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": "Hi", "contentType": "TEXT"}, {"type": "text", "text": "Hi"}),
        ({"content": "Hi"}, {"type": "text", "text": "Hi"}),
        ({"content": "Hi", "contentType": "text"}, {"type": "text", "text": "Hi"}),
        ({"contentType": "STICKER"}, {"type": "unknown"}),
        ({"videoUrl": "https://m/v"}, {"type": "video", "media_url": "https://m/v"}),
        ({"audioUrl": "https://m/a", "contentType": "AUDIO"}, {"type": "audio", "media_url": "https://m/a"}),
        (
            {"documentUrl": "https://m/d", "contentType": "DOCUMENT", "content": "bill"},
            {"type": "document", "media_url": "https://m/d", "caption": "bill"},
        ),
        ({"content": 7, "contentType": []}, None),
    ],
)
def test_content_is_what_is_set(message: dict[str, Any], content: dict[str, Any] | None) -> None:
    """The form by contentType, else by the URL that is there."""
    assert data(draft(ADAPTER, {"event": "newMessage", "message": message})).get("content") == content


def test_two_messages_with_one_text_stay_two() -> None:
    """No id is documented as unique: the body's hash is part of what makes the event."""
    one, two = (draft(ADAPTER, {"event": "newMessage", "message": {"id": "m", "content": text}}) for text in "ab")
    assert one.dedupe[:2] == two.dedupe[:2] == ("newMessage", "m")
    assert one.dedupe != two.dedupe


def test_a_report_tells_its_own_time_only() -> None:
    """createdAt is when the SMS was made; of a failure nothing says when it happened."""
    made, delivered = "2023-08-29T08:18:28.576Z", "2023-08-29T08:18:31.732Z"
    times = {"createdAt": made, "delivered_time": delivered}
    for status, wanted in (("delivered", delivered), ("pending", made), ("failed", delivered)):
        body = {"event": "smsDeliveryReport", "conversation": {"id": "1", "status": status, **times}}
        assert draft(ADAPTER, body).occurred_at == wanted
    body = {"event": "smsDeliveryReport", "conversation": {"id": "1", "status": "failed", "createdAt": made}}
    assert draft(ADAPTER, body).occurred_at is None


@pytest.mark.parametrize(
    "document",
    [
        {"event": "newMessage"},
        {"event": "newMessage", "message": None, "conversation": "x"},
        {"event": "newMessage", "message": [], "conversation": {}},
        {"event": "smsDeliveryReport", "conversation": None},
    ],
)
def test_a_mapped_event_without_its_object_is_kept_for_later(document: dict[str, Any]) -> None:
    """Quarantine, not an empty event."""
    with pytest.raises(Unmappable, match="object"):
        ADAPTER.normalise(verified(ADAPTER, document))
