"""The contract's own parts: headers, comparison, what a repr shows, and who makes a verified request."""

import ast
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adapters
from adapters.contract import NotProven, Proof, Request, Source, prove, secrets_equal
from adapters.enviaai import ADAPTER

ROOT = Path(adapters.__file__).parent.parent


def test_a_header_is_found_once() -> None:
    """Missing is None; twice is refused, even if both say the same."""
    asked = Request(headers=((b"a", b"1"), (b"b", b"2"), (b"a", b"1")), body=b"")
    assert (asked.header(b"b"), asked.header(b"c")) == (b"2", None)
    with pytest.raises(NotProven, match="more than once"):
        asked.header(b"a")


@settings(max_examples=50, database=None, deadline=None)
@given(st.binary(max_size=8), st.binary(max_size=8))
def test_secrets_are_equal_only_if_they_are(given_: bytes, wanted: bytes) -> None:
    """All of both, and an empty one equals nothing, not even another."""
    assert secrets_equal(given_, wanted) is (given_ == wanted and wanted != b"")
    assert not secrets_equal(b"", b"")


def test_no_repr_shows_a_secret() -> None:
    """Of a source, of a request with a secret header or path token, of the two together."""
    source = Source(name="s", secrets=(b"canary",), path_token_sha256=b"canary", options={"signing_key": "canary"})
    asked = Request(
        headers=((b"x-auth-token", b"canary"),), body=b"canary", path_token=b"canary", client_ip="192.0.2.1"
    )
    trusting = msgspec.structs.replace(ADAPTER, verify=lambda *_: Proof("test"))
    verified = prove(trusting, asked, source, {}, 0)
    for shown in (repr(source), repr(asked), repr(verified), f"{asked}"):
        assert "canary" not in shown
    assert "x-auth-token" in repr(asked)


def test_an_adapter_reads_the_body_as_it_came() -> None:
    """Of a verified request as of the request in it."""
    trusting = msgspec.structs.replace(ADAPTER, verify=lambda *_: Proof("test"))
    assert prove(trusting, Request((), b"\xff\x00"), Source(name="s"), {}, 0).body == b"\xff\x00"


def test_a_verified_request_is_made_in_one_place() -> None:
    """prove is the only caller of VerifiedRequest in the product: nothing unproven can be normalised."""
    made = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("schemas", "adapters", "gateway")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and "VerifiedRequest" in ast.unparse(node.func)
    ]
    assert len(made) == 1
    assert made[0].startswith("adapters/contract.py:")
