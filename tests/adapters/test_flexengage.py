"""flexengage, beyond what its recorded requests and the conformance suite say: whose key, whose account."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from adapters.contract import NotProven, Request, Source
from adapters.flexengage import ADAPTER
from tests.adapters.support import data, draft, method, refusal, request, signed

KEYS = Path(__file__).parent.parent / "fixtures" / "flexengage" / "_keys"
PUBLIC = (KEYS / "test_only_public.pem").read_bytes()
PRODUCTION, TEST = "https://assets.webhooks.flexengage.com", "https://assets.webhooks.flexengage-test.com"
URL = f"{PRODUCTION}/keys/one.pem"
SOURCE = Source(
    name="receipts",
    accounts=("yourBrandId", "secondBrand"),
    options={"signing_key": (KEYS / "test_only_private.pem").read_bytes(), "key_url": URL},
)
BODY = ADAPTER.sample("NOTIFICATION.SMS.RECEIPT__documented", 1)


def _asking_for(url: str | bytes) -> Request:
    return request(BODY, {"x-fr-wh-authorization": "c2lnbmF0dXJl", "x-fr-wh-pk": url})


@pytest.mark.parametrize("url", [URL, f"{PRODUCTION}/a/b%20c.pem?version=3&x=a@b"])
def test_keys_come_from_the_providers_host(url: str) -> None:
    """Also with a query."""
    assert ADAPTER.key_wanted(_asking_for(url), SOURCE) == url


def test_the_default_port_may_be_written_out() -> None:
    """It is asked for without, as the fetcher takes one spelling only.

    Story: asked for as it stood, the fetcher found it odd, so there was no key, and a genuine request got 401."""
    asked = _asking_for(f"{PRODUCTION}:443/k.pem")
    assert ADAPTER.key_wanted(asked, SOURCE) == f"{PRODUCTION}/k.pem"
    signature = ADAPTER.sign(BODY, SOURCE, 0)["x-fr-wh-authorization"]
    genuine = request(BODY, {"x-fr-wh-authorization": signature, "x-fr-wh-pk": f"{PRODUCTION}:443/k.pem"})
    assert method(ADAPTER, genuine, SOURCE, {f"{PRODUCTION}/k.pem": PUBLIC}) == "rsa-sha256"


@pytest.mark.parametrize(
    "url",
    [
        "http://assets.webhooks.flexengage.com/k.pem",
        "HTTPS://assets.webhooks.flexengage.com/k.pem",
        "https://ASSETS.webhooks.flexengage.com/k.pem",
        "https://assets.webhooks.flexengage.com",
        "https://assets.webhooks.flexengage.com?/k.pem",
        "https://assets.webhooks.flexengage.com#/k.pem",
        "https://assets.webhooks.flexengage.com./k.pem",
        "https://assets.webhooks.flexengage.com:8443/k.pem",
        "https://assets.webhooks.flexengage.com:443@evil.example/k.pem",
        "https://assets.webhooks.flexengage.com@evil.example/k.pem",
        "https://user@assets.webhooks.flexengage.com/k.pem",
        "https://user:pass@assets.webhooks.flexengage.com/k.pem",
        "https://assets.webhooks.flexengage.com.evil.example/k.pem",
        "https://evil.example/assets.webhooks.flexengage.com/k.pem",
        "https://evil-assets.webhooks.flexengage.com/k.pem",
        "https://webhooks.flexengage.com/k.pem",
        "https://assets.webhooks.flexengage-test.com/k.pem",
        "https:/assets.webhooks.flexengage.com/k.pem",
        "https:\\\\assets.webhooks.flexengage.com/k.pem",
        "https://assets.webhooks.flexengage.com\\@evil.example/k.pem",
        "https://assets.webhooks.flexengage.com/\\evil.example/k.pem",
        "https://assets.webhooks.flexengage.com/k.pem#fragment",
        "https://assets.webhooks.flexengage.com/k pem",
        "https://assets.webhooks.flexengage.com/k\r\nhost: evil.example",
        " https://assets.webhooks.flexengage.com/k.pem",
        "https://assets.webhooks.flexengagе.com/k.pem",
        "https://169.254.169.254/latest",
        "file:///etc/passwd",
        "//assets.webhooks.flexengage.com/k.pem",
        "",
        "https://assets.webhooks.flexengage.com/" + "k" * 3_000,
    ],
)
def test_keys_come_from_nowhere_else(url: str) -> None:
    """The header is the sender's to write: whatever is not exactly the provider's host is refused, unfetched."""
    with pytest.raises(NotProven, match="key host"):
        ADAPTER.key_wanted(_asking_for(url), SOURCE)
    assert "key host" in refusal(ADAPTER, _asking_for(url), SOURCE, {url: PUBLIC})


def test_a_key_url_has_a_length() -> None:
    """2,048 bytes are enough for any; one more is refused before it is fetched."""
    longest = f"{PRODUCTION}/".ljust(2_048, "k")
    assert ADAPTER.key_wanted(_asking_for(longest), SOURCE) == longest
    with pytest.raises(NotProven, match="key host"):
        ADAPTER.key_wanted(_asking_for(f"{longest}k"), SOURCE)


def test_the_test_host_counts_in_the_test_environment_only() -> None:
    """A test key must not prove production's events."""
    asked = _asking_for(f"{TEST}/k.pem")
    with pytest.raises(NotProven, match="environment"):
        ADAPTER.key_wanted(asked, SOURCE)
    testing = msgspec.structs.replace(SOURCE, environment="test")
    assert ADAPTER.key_wanted(asked, testing) == f"{TEST}/k.pem"


def test_nothing_is_fetched_for_a_request_that_cannot_be_proven() -> None:
    """Without a signature, or with one that is no base64, no key is asked for."""
    for headers in ({"x-fr-wh-pk": URL}, {"x-fr-wh-pk": URL, "x-fr-wh-authorization": "%%%"}):
        with pytest.raises(NotProven, match="x-fr-wh-authorization"):
            ADAPTER.key_wanted(request(BODY, headers), SOURCE)


def test_a_pinned_key_is_not_fetched_and_no_header_can_change_it() -> None:
    """Whatever the header names, the pinned key decides."""
    pinned = msgspec.structs.replace(SOURCE, public_key=PUBLIC)
    asked = signed(ADAPTER, BODY, pinned)
    assert ADAPTER.key_wanted(asked, pinned) is None
    assert method(ADAPTER, asked, pinned) == "rsa-sha256"
    other = msgspec.structs.replace(pinned, public_key=(KEYS / "known_answer_public.pem").read_bytes())
    assert "does not fit" in refusal(ADAPTER, asked, other, {URL: PUBLIC})


def test_another_customers_genuine_request_is_refused() -> None:
    """The key proves the provider; the signed brandId must be one of ours."""
    document = json.loads(BODY)
    for brand, is_ours in (
        ("yourBrandId", True),
        ("secondBrand", True),
        ("strangers", False),
        (["yourBrandId"], False),
    ):
        asked = signed(ADAPTER, msgspec.json.encode({**document, "brandId": brand}), SOURCE)
        if is_ours:
            assert method(ADAPTER, asked, SOURCE, {URL: PUBLIC}) == "rsa-sha256"
        else:
            assert "brandId" in refusal(ADAPTER, asked, SOURCE, {URL: PUBLIC})


def test_a_doubled_brand_counts_once_and_as_it_is_forwarded() -> None:
    """Of two keys the last one wins, for the proof as for the event."""
    twice = BODY.replace(b'"brandId":"yourBrandId"', b'"brandId":"yourBrandId","brandId":"strangers"')
    assert "brandId" in refusal(ADAPTER, signed(ADAPTER, twice, SOURCE), SOURCE, {URL: PUBLIC})


@pytest.mark.parametrize("body", [b"", b"null", b"[1,2]", b'{"brandId":', b"\xff"])
def test_a_signed_body_without_a_brand_is_nobodys(body: bytes) -> None:
    """It cannot be told whose it is, so it is not proven for us, however genuine."""
    assert "brandId" in refusal(ADAPTER, signed(ADAPTER, body, SOURCE), SOURCE, {URL: PUBLIC})


def test_a_source_without_accounts_proves_nothing() -> None:
    """The provider's key is shared by all its customers."""
    bare = msgspec.structs.replace(SOURCE, accounts=())
    assert "no account is configured" in refusal(ADAPTER, signed(ADAPTER, BODY, SOURCE), bare, {URL: PUBLIC})


@cache
def _pem(kind: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    if kind == "private":
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("kind", ["ec", "private", "another", "garbage", "half", "empty"])
def test_what_is_not_the_key_proves_nothing(kind: str) -> None:
    """Another kind of key, another key, no key."""
    made = {"garbage": b"<html>not found</html>", "half": PUBLIC[:200], "empty": b""}
    pem = made[kind] if kind in made else _pem(kind)
    assert refusal(ADAPTER, signed(ADAPTER, BODY, SOURCE), SOURCE, {URL: pem})


def test_no_key_at_the_url_is_not_proven() -> None:
    """A sender can invent paths: 404 there is 401 here."""
    assert "no key at the URL" in refusal(ADAPTER, signed(ADAPTER, BODY, SOURCE), SOURCE)


def test_one_signature_has_one_spelling() -> None:
    """Line breaks, white space, missing padding and stray bits are not what was sent."""
    value = ADAPTER.sign(BODY, SOURCE, 0)["x-fr-wh-authorization"]
    assert value.endswith("==")
    loose = value[:-3] + chr(ord(value[-3]) + 1) + "=="
    urlsafe = value.replace("+", "-").replace("/", "_")
    for changed in (value.rstrip("="), value + "\n", value[:64] + "\n" + value[64:], loose, urlsafe, value + "===="):
        asked = request(BODY, {"x-fr-wh-authorization": changed, "x-fr-wh-pk": URL})
        assert "base64" in refusal(ADAPTER, asked, SOURCE, {URL: PUBLIC})


def test_an_empty_signature_is_none() -> None:
    """Nothing is fetched for it, and it is not said to be wrong for the body."""
    asked = request(BODY, {"x-fr-wh-authorization": "", "x-fr-wh-pk": URL})
    assert "base64" in refusal(ADAPTER, asked, SOURCE, {URL: PUBLIC})
    with pytest.raises(NotProven, match="base64"):
        ADAPTER.key_wanted(asked, SOURCE)


def test_without_a_signing_key_nothing_is_signed() -> None:
    """Only the simulator has one; the provider's own is not ours."""
    assert ADAPTER.sign(BODY, Source(name="receipts", accounts=("yourBrandId",)), 0) == {
        "content-type": "application/json"
    }


@pytest.mark.parametrize(("environment", "origin"), [("production", "live"), ("test", "test")])
def test_events_of_the_test_environment_are_marked(environment: str, origin: str) -> None:
    """So that no receipt of a test is taken for one."""
    source: Any = Source(name="receipts", environment=environment)
    assert draft(ADAPTER, BODY, source).origin == origin


def test_a_number_that_is_none_is_no_phone() -> None:
    """The id stays as it is written."""
    body = {**json.loads(BODY), "data": {"phoneNumber": "123-456"}}
    assert data(draft(ADAPTER, body))["recipient"] == {"id": "123-456", "role": "customer"}
