"""The shared proofs by themselves: which forms of a signature are read, which secret proves, and when none is asked."""

import hashlib
import hmac
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from adapters import aivo_engage, engium, enviaai, flexengage, generic_chat
from adapters.contract import Adapter, NotProven, Source, no_key_wanted
from adapters.proving import check_hex_hmac, check_hmac, is_open, sign_hmac
from tests.adapters.support import method, refusal, request

BODY = b'{"a":1}'
SOURCE = Source(name="s", secrets=(b"new", b"old"))
HEX = hmac.new(b"new", BODY, hashlib.sha256).hexdigest()
OLD = hmac.new(b"old", BODY, hashlib.sha256).hexdigest()


def why(value: str | bytes | None, source: Source = SOURCE, *, bare: bool = False, body: bytes = BODY) -> str:
    """Why a header does not prove the body; empty if it does."""
    asked = request(body, {} if value is None else {"x-signature": value})
    try:
        check_hmac(asked, source, b"x-signature", "sha256", bare=bare)
    except NotProven as refused:
        return refused.reason
    return ""


@pytest.mark.parametrize("given", [f"sha256={HEX}", f"SHA256={HEX.upper()}", f"Sha256={OLD}"])
def test_a_marked_signature_proves_under_each_secret(given: str) -> None:
    """In either case of letters, where bare digits are allowed and where they are not."""
    assert why(given) == why(given, bare=True) == ""


def test_bare_digits_prove_only_where_they_may() -> None:
    """Elsewhere the mark is missed, by name."""
    assert why(HEX, bare=True) == ""
    assert why(HEX) == "the header x-signature does not begin with sha256="


@pytest.mark.parametrize(
    "given",
    [
        *(f"sha256={HEX[:-2]}", f"sha256={HEX}00", "sha256=", f"sha256={HEX[:-1]}", f"sha256= {HEX}", f"sha256={HEX} "),
        *(f"sha256=sha256={HEX}", f"sha512={HEX}", f"sha256:{HEX}", f"sha25={HEX}", f"xsha256={HEX}", "", "="),
        *(b"sha256=\xff\xfe", f"sha256={'0' * 64}", f"sha256={HEX[::-1]}"),
    ],
)
def test_nothing_else_proves(given: str | bytes) -> None:
    """Shortened, lengthened, marked twice, marked otherwise, spaced, or simply another."""
    assert why(given)
    assert why(given, bare=True)


def test_each_failure_has_its_reason() -> None:
    """For operators; the header is named, no secret and no signature is."""
    assert why(None) == "the header x-signature is missing"
    assert why("sha256=zz") == "the header x-signature is not hex"
    assert why(f"sha256={'0' * 64}").startswith("the header x-signature fits none of the source's secrets")
    assert why(f"sha256={HEX}", body=BODY + b" ").startswith("the header x-signature fits none")


def test_an_empty_secret_proves_nothing() -> None:
    """Though anybody could sign with it; one beside it still proves."""
    empty = hmac.new(b"", BODY, hashlib.sha256).hexdigest()
    assert why(f"sha256={empty}", Source(name="s", secrets=(b"",)))
    assert why(f"sha256={empty}", Source(name="s", secrets=(b"", b"new")))
    assert why(f"sha256={HEX}", Source(name="s", secrets=(b"", b"new"))) == ""
    assert why(f"sha256={HEX}", Source(name="s"))


def test_what_is_signed_need_not_be_the_body() -> None:
    """Some providers sign a time in front of it."""
    digits = hmac.new(b"old", b"7." + BODY, hashlib.sha256).hexdigest().encode()
    check_hex_hmac(digits, b"7." + BODY, SOURCE, "sha256", b"x")
    with pytest.raises(NotProven):
        check_hex_hmac(digits, BODY, SOURCE, "sha256", b"x")


def test_a_provider_signs_with_the_newest_secret() -> None:
    """The first of them."""
    assert sign_hmac(BODY, SOURCE, "sha256") == HEX
    assert sign_hmac(BODY, SOURCE, "sha512") == hmac.new(b"new", BODY, hashlib.sha512).hexdigest()


@pytest.mark.parametrize(
    "proof",
    [
        {"secrets": (b"x",)},
        {"path_token_sha256": b"x" * 32},
        {"allow_ips": (ip_network("192.0.2.0/24"),)},
        {"public_key": b"pem"},
        {"accounts": ("a",)},
    ],
    ids=lambda proof: next(iter(proof)),
)
def test_a_source_is_open_only_if_somebody_typed_it_and_nothing_else(proof: dict[str, Any]) -> None:
    """Any proof that is configured beside ``unauthenticated`` is asked for all the same."""
    typed = Source(name="s", unauthenticated=True)
    assert is_open(typed)
    assert not is_open(Source(name="s"))
    assert not is_open(msgspec.structs.replace(typed, **proof))
    assert not is_open(Source(name="s", **proof))


def test_most_adapters_want_no_key() -> None:
    """The default asks for none."""
    assert no_key_wanted(request(BODY), SOURCE) is None


ADAPTERS = tuple(each.ADAPTER for each in (aivo_engage, engium, enviaai, flexengage, generic_chat))


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_an_open_source_says_so_of_every_event(adapter: Adapter) -> None:
    """What nobody proved goes on as unauthenticated, and no key is fetched for it."""
    typed = Source(name="s", unauthenticated=True)
    assert method(adapter, request(BODY), typed) == "unauthenticated"
    assert adapter.key_wanted(request(BODY), typed) is None


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_a_source_without_a_proof_says_which_setting_is_missing(adapter: Adapter) -> None:
    """That, and not that the signature is wrong, is what an operator has to know."""
    why_not = refusal(adapter, request(BODY, {"x-enviaai-signature": f"sha256={HEX}"}), Source(name="s"))
    assert " configured; check the setting" in why_not
