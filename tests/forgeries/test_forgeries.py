"""The forgeries, short; and that each weakened check is noticed.

The long run, with its result: ``tests/forgeries/__init__.py``.
"""

import hashlib
import hmac
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from adapters import engium, enviaai, flexengage, generic_chat, proving
from adapters.contract import NotProven, Request, Source
from tests.forgeries.endpoint import judge_served
from tests.forgeries.forging import WAYS
from tests.forgeries.genuine import ADDRESS, BRAND
from tests.forgeries.judging import judge


def test_no_forged_request_gets_in() -> None:
    """Six thousand of them, every provider and every way; the genuine ones among them do get in."""
    verdict = judge(6_000, 7)
    assert not verdict.wrong, verdict.examples
    assert {way for _, way in verdict.forged} == set(WAYS)
    assert len({provider for provider, _ in verdict.forged}) >= 15
    assert verdict.genuine >= 60


@pytest.mark.timeout(60)
def test_no_forged_request_gets_through_the_socket() -> None:
    """Some hundreds sent to a running gateway: none is answered 200 or 5xx, and the account knows the genuine alone."""
    verdict = judge_served(300, 7)
    assert not verdict.wrong, verdict.examples
    assert verdict.genuine == 3


def _prefix(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(proving, "secrets_equal", lambda given, wanted: given == wanted[: len(given)])


def _length(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(proving, "secrets_equal", lambda given, wanted: len(given) == len(wanted))


def _last_of_two(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Request, "header", lambda self, name: dict(self.headers).get(name))


def _any_algorithm(patch: pytest.MonkeyPatch) -> None:
    def named_by_the_request(request: Request, source: Source, header: bytes, algorithm: str, *, bare: bool) -> None:
        named, _, digits = (request.header(header) or b"").decode("latin-1").partition("=")
        for secret in source.secrets:
            if named in hashlib.algorithms_available and hmac.new(secret, request.body, named).hexdigest() == digits:
                return
        raise NotProven("no")

    patch.setattr(enviaai, "check_hmac", named_by_the_request)


def _any_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(engium, "_SIGNED_TIME_TOLERANCE_S", 10**12)


def _any_account(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(flexengage, "_brand", lambda body: BRAND)


def _any_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(flexengage, "_key_url", lambda request, source: (request.header(b"x-fr-wh-pk") or b"").decode())


def _any_token(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(generic_chat, "secrets_equal", lambda given, wanted: True)


def _any_address(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(generic_chat, "_address", lambda written: ip_address(ADDRESS))


@pytest.mark.parametrize(
    ("weaken", "way"),
    [
        (_prefix, "changed proof"),
        (_length, "changed body"),
        (_length, "swapped body"),
        (_length, "other secret"),
        (_length, "other source"),
        (_last_of_two, "doubled proof"),
        (_any_algorithm, "other algorithm"),
        (_any_time, "wrong time"),
        (_any_account, "other account"),
        (_any_key, "other key"),
        (_any_token, "other token"),
        (_any_address, "other address"),
    ],
)
def test_a_weaker_check_lets_somebody_in(
    weaken: Callable[[pytest.MonkeyPatch], None], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way to forge gets in where one check is weaker than it is, and the verdict says so."""
    weaken(monkeypatch)
    verdict = judge(4_000, 3)
    assert verdict.wrong
    assert way in {way for _, way in verdict.accepted}


def test_genuine_requests_that_are_refused_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that lets nobody in passes no run."""
    monkeypatch.setattr(proving, "secrets_equal", lambda given, wanted: False)
    verdict = judge(200, 3)
    assert verdict.wrong
    assert verdict.genuine_refused > 0
    assert not verdict.accepted
