"""Signing: the known answers, an independent judge, and what is refused."""

import base64
import datetime as dt

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gateway.delivery.signing import Signer, header_problem, public_key

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
ID, TIMESTAMP_S, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="


def test_v1_known_answer() -> None:
    """HMAC-SHA256 gives the signature that Standard Webhooks publishes."""
    assert Signer([SECRET]).sign(ID, TIMESTAMP_S, BODY) == V1


def test_v1a_known_answer() -> None:
    """ed25519 gives the signature that Standard Webhooks publishes."""
    assert Signer([KEY]).sign(ID, TIMESTAMP_S, BODY) == V1A


def test_several_secrets_sign_at_once() -> None:
    """Each secret has its signature, in the order of the settings, separated by one space."""
    assert Signer([SECRET, KEY]).sign(ID, TIMESTAMP_S, BODY) == f"{V1} {V1A}"


@given(body=st.binary(max_size=200))
def test_the_reference_package_verifies(body: bytes) -> None:
    """The standardwebhooks package accepts what we sign, with either of two secrets, and refuses a third."""
    old, new, other = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))
    now_s = int(dt.datetime.now(dt.UTC).timestamp())
    text = base64.b64encode(body).decode()
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(now_s),
        "webhook-signature": Signer([new, old]).sign("evt_1", now_s, f'{{"a":"{text}"}}'.encode()),
    }
    for secret in (old, new):
        assert Webhook(secret).verify(f'{{"a":"{text}"}}', headers) == {"a": text}
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(f'{{"a":"{text}"}}', headers)


def test_v1a_verifies_with_the_public_key_alone() -> None:
    """Who has only the public half verifies a v1a signature."""
    public = Ed25519PrivateKey.from_private_bytes(base64.b64decode(KEY.removeprefix("whsk_"))[:32]).public_key()
    signature = Signer([KEY]).sign("evt_1", 7, b"{}")
    public.verify(base64.b64decode(signature.removeprefix("v1a,")), b"evt_1.7.{}")


def test_the_public_key_verifies_what_the_key_signs() -> None:
    """The whpk_ of a whsk_, from both its forms, verifies the signature that Standard Webhooks publishes."""
    shown = public_key(KEY)
    assert shown == public_key("whsk_" + base64.b64encode(base64.b64decode(KEY[5:])[:32]).decode())
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(shown.removeprefix("whpk_"), validate=True))
    signed = f"{ID}.{TIMESTAMP_S}.".encode() + BODY
    public.verify(base64.b64decode(V1A.removeprefix("v1a,")), signed)
    with pytest.raises(InvalidSignature):
        public.verify(base64.b64decode(V1A.removeprefix("v1a,")), signed + b" ")


@pytest.mark.parametrize("secret", [SECRET, "whsk_AAAA", "whsk_ä", "whsk_" + base64.b64encode(bytes(64)).decode(), "x"])
def test_what_has_no_public_key_is_refused_unseen(secret: str) -> None:
    """Only a whsk_ key that holds together has a public half; the refusal does not show the secret."""
    with pytest.raises(ValueError, match=r"whsk_|base64") as refused:
        public_key(secret)
    assert secret not in str(refused.value)


@pytest.mark.parametrize(
    ("secret", "word"),
    [
        ("my-secret", "whsec_"),
        ("whsec", "empty"),
        ("whsec_", "empty"),
        ("whsec_not base64!", "base64"),
        ("whsec_ä", "base64"),
        ("whsec_MfKQ9r8GKYqr!!!!TwjUPD8ILPZIo2LaLaSw", "base64"),
        ("whsk_AAAA", "64 bytes"),
        ("whsk_" + base64.b64encode(bytes(64)).decode(), "do not belong together"),
    ],
)
def test_what_is_no_secret_is_refused_unseen(secret: str, word: str) -> None:
    """A secret that cannot sign is refused with a reason that does not show it."""
    with pytest.raises(ValueError, match=word) as refused:
        Signer([SECRET, secret])
    tail = secret.partition("_")[2]
    assert not tail or tail not in str(refused.value)


def test_no_secret_is_refused() -> None:
    """A subscriber without a secret would receive unsigned deliveries: refused."""
    with pytest.raises(ValueError, match="no secret"):
        Signer([])


def test_a_signer_hides_its_secrets() -> None:
    """What a signer prints of itself holds no secret."""
    assert repr(Signer([SECRET])) == "Signer(1 secrets)"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-team", "crm\r\nwebhook-id: evt_2"),
        ("x-team", "a\x00b"),
        ("x-team", "a\nb"),
        ("x-team", "naïve"),
        ("x team", "crm"),
        ("x-team:", "crm"),
        ("x-team\r\n", "crm"),
        ("", "crm"),
        ("Webhook-Signature", "v1,AAAA"),
        ("gateway-attempt", "1"),
        ("ce-id", "1"),
        ("Host", "other.example"),
        ("content-length", "3"),
        ("Transfer-Encoding", "chunked"),
        ("connection", "close"),
        ("content-type", "text/plain"),
    ],
)
def test_a_header_that_would_split_or_override_is_refused(name: str, value: str) -> None:
    """Headers of a subscriber's own can neither smuggle a line nor replace what signs, frames or describes."""
    assert header_problem(name, value) is not None


@pytest.mark.parametrize(("name", "value"), [("x-team", "crm"), ("Authorization", "Bearer abc"), ("x-empty", "")])
def test_an_ordinary_header_is_allowed(name: str, value: str) -> None:
    """The refusals above refuse nothing ordinary."""
    assert header_problem(name, value) is None
