"""401: always the same answer, whatever is wrong with the proof, and a count."""

import base64
import hashlib
import hmac
from collections.abc import Mapping

import pytest

from tests.intake.served import (
    PATH_TOKEN,
    SECRET,
    Served,
    eventually,
    fresh,
    receipt,
    signed,
)

GENUINE = "sha256=" + hmac.new(SECRET, b'{"event":"x"}', hashlib.sha256).hexdigest()
FORGERIES: dict[str, Mapping[str, str | bytes]] = {
    "missing": {},
    "empty": {"x-enviaai-signature": ""},
    "wrong": {"x-enviaai-signature": "sha256=" + "0" * 64},
    "another secret's": {
        "x-enviaai-signature": "sha256=" + hmac.new(b"x", b'{"event":"x"}', hashlib.sha256).hexdigest()
    },
    "another body's": signed(b'{"event":"y"}'),
    "truncated": {"x-enviaai-signature": GENUINE[:-2]},
    "cut to the marker": {"x-enviaai-signature": "sha256="},
    "too long": {"x-enviaai-signature": GENUINE + "00"},
    "without marker": {"x-enviaai-signature": GENUINE.removeprefix("sha256=")},
    "another algorithm": {"x-enviaai-signature": GENUINE.replace("sha256", "sha1")},
    "not hex": {"x-enviaai-signature": "sha256=" + "zz" * 32},
    "not ASCII": {"x-enviaai-signature": b"sha256=" + "é".encode() * 32},
    "Latin-1": {"x-enviaai-signature": b"sha256=" + b"\xe9" * 64},
    "doubled in one": {"x-enviaai-signature": f"{GENUINE},{GENUINE}"},
    "doubled": {"x-enviaai-signature": GENUINE, "X-EnviaAI-Signature": GENUINE},
    "doubled, one wrong": {"x-enviaai-signature": GENUINE, "X-EnviaAI-Signature": "sha256=" + "0" * 64},
    "in another header": {"x-signature": GENUINE},
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_signature(gateway: Served, forgery: Mapping[str, str | bytes]) -> None:
    """Whatever is wrong with the signature, the answer is that of a missing one, byte for byte."""
    assert gateway.post("/in/br", b'{"event":"x"}', {"x-enviaai-signature": GENUINE}).status == 200  # the control
    before = gateway.requests("br").rejected
    answer = gateway.post("/in/br", b'{"event":"x"}', forgery)
    assert (answer.status, answer.problem()) == (401, "not_proven")
    assert answer.body == gateway.post("/in/br", b"", {}).body
    eventually(lambda: gateway.requests("br").rejected == before + 2)


def test_another_brands_genuine_signature(gateway: Served) -> None:
    """flexEngage signed it, but for somebody else: its key alone lets nobody in."""
    body, headers = receipt()
    assert gateway.post("/in/receipts", body, headers).status == 200
    answer = gateway.post("/in/other-brand", body, headers)
    assert (answer.status, answer.problem()) == (401, "not_proven")
    forged = base64.b64encode(b"\0" * 256).decode()
    other = gateway.post("/in/other-brand", body, {**headers, "x-fr-wh-authorization": forged})
    assert other.body == answer.body


@pytest.mark.parametrize(
    "key_url",
    [
        None,
        "",
        "https://127.0.0.1/key.pem",
        "http://assets.webhooks.flexengage.com/key.pem",
        "https://assets.webhooks.flexengage.com.example.com/key.pem",
        "https://assets.webhooks.flexengage-test.com/key.pem",
    ],
)
def test_a_key_from_elsewhere(gateway: Served, key_url: str | None) -> None:
    """A sender that names his own key, or none, is answered as any other forger, and nothing is fetched for him."""
    body, headers = receipt()
    del headers["x-fr-wh-pk"]
    answer = gateway.post("/in/receipts-fetched", body, headers | ({} if key_url is None else {"x-fr-wh-pk": key_url}))
    assert (answer.status, answer.problem()) == (401, "not_proven")
    assert answer.body == gateway.post("/in/br", b"").body


@pytest.mark.parametrize("token", ["", "/x", f"/{PATH_TOKEN[:-1]}", f"/{PATH_TOKEN}x", f"/{PATH_TOKEN.upper()}"])
def test_a_wrong_path_token(gateway: Served, token: str) -> None:
    """No token and a wrong one are answered alike, and like a wrong signature: 401, never 404."""
    answer = gateway.post(f"/in/chat{token}", b'{"event":"x"}')
    assert (answer.status, answer.problem()) == (401, "not_proven")
    assert answer.body == gateway.post("/in/br", b"").body


@pytest.mark.parametrize("value", ["", "aivo-token-012345678", "aivo-token-01234567890", "AIVO-TOKEN-0123456789"])
def test_a_wrong_header_value(gateway: Served, value: str) -> None:
    """A header compared with a chosen value holds only for exactly that value."""
    answer = gateway.post("/in/aivo", b'{"message_id":"1"}', {"x-auth-token": value})
    assert (answer.status, answer.problem()) == (401, "not_proven")


def test_nothing_unproven_is_parsed_or_remembered(gateway: Served) -> None:
    """A forged copy of an event that comes first does not make the genuine one a duplicate."""
    body = fresh()
    assert gateway.post("/in/br", body, {"x-enviaai-signature": GENUINE}).status == 401
    assert gateway.post("/in/br", b"\xff{[", {}).status == 401  # not 400, not quarantine
    assert gateway.post("/in/br", body, signed(body)).json["status"] == "accepted"


def test_a_sample_is_kept_for_operators(gateway: Served) -> None:
    """With the exact body, the reason, and whether there was a path token, never which."""
    body = b"forged\x00\xff"

    def sampled() -> bool:
        gateway.post("/in/chat/a-wrong-token-that-somebody-guessed", body)
        return any(each.body == body for each in gateway.kept("rejected", "chat"))

    eventually(sampled)  # of many only one is kept in a time
    found = gateway.kept("rejected", "chat")[0]
    assert (found.meta.path_token, found.meta.verified, found.meta.client_ip) == (True, None, "127.0.0.1")
    assert "path token" in found.meta.reason
    assert "a-wrong-token" not in repr(found.meta)
