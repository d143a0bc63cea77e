"""Whoever is wrong about tokens all the time is made to wait; nobody else is, and memory is bounded."""

import asyncio

import pytest

from gateway.config import StoreSettings
from gateway.operate.tries import ADDRESSES, BURST, EVERY_S, Tries
from tests.operate.office import OPERATE_TOKEN, office
from tests.operate.test_gate import log_in


class Clock:
    """A clock that tests move."""

    now_s = 5_000.0

    def __call__(self) -> float:
        return self.now_s


def test_twenty_in_a_row_and_then_one_in_three_seconds() -> None:
    """An hour of trying as fast as it goes is twenty and 1 200 tries."""
    clock = Clock()
    tries = Tries(monotonic=clock)
    made = 0
    for _ in range(36_000):
        if tries.wait_s("192.0.2.1") == 0:
            tries.wrong("192.0.2.1")
            made += 1
        clock.now_s += 0.1
    assert made == pytest.approx(BURST + 3_600 / EVERY_S, abs=2)
    clock.now_s += BURST * EVERY_S
    assert tries.wait_s("192.0.2.1") == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2", True),
        (None, "not an address", True),
    ],
)
def test_who_shares_a_bucket(one: str | None, other: str, same: bool) -> None:
    """An address of IPv4, a /64 of IPv6, and all of whom nothing is known."""
    tries = Tries(monotonic=Clock())
    for _ in range(BURST):
        tries.wrong(one)
    assert tries.wait_s(one) > 0
    assert (tries.wait_s(other) > 0) is same


def test_memory_is_bounded_and_who_tries_on_is_not_forgotten() -> None:
    """More addresses than fit push out those that were wrong longest ago."""
    tries = Tries(monotonic=Clock())
    for number in range(3 * ADDRESSES):
        for _ in range(BURST if number == 0 else 1):
            tries.wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        tries.wrong("192.0.2.9")
    assert len(tries._free_at_s) == ADDRESSES
    assert tries.wait_s("10.0.0.0") == 0
    assert tries.wait_s("192.0.2.9") > 0


def test_wrong_tokens_of_every_kind_are_slowed_down_and_sessions_are_not(store_settings: StoreSettings) -> None:
    """Header, form and link count together; then every further wrong try waits, and the login page. The right token in
    a header does not, nor does a browser that is in: a scraper with an old token locks nobody out."""

    async def run() -> None:
        async with office(store_settings) as at:
            browser, _ = await log_in(at)
            for number in range(BURST):
                kind = number % 4
                if kind == 0:
                    answer = await at.nobody.get("/api/ledger", headers={"authorization": f"Bearer wrong-{number}"})
                elif kind == 1:
                    answer = await at.nobody.post("/login/", data={"token": f"wrong-{number}"})
                else:
                    answer = await at.nobody.request("GET" if kind == 2 else "POST", f"/login/wrong-{number}")
                assert answer.status_code in (401, 410), number
            slow = await at.nobody.get("/api/ledger", headers={"authorization": "Bearer wrong-again"})
            assert (slow.status_code, slow.json()["code"]) == (429, "too_many_tries")
            assert slow.json()["detail"].startswith("wait 3 s")
            assert slow.headers["retry-after"] == "30"
            for answer in (
                await at.nobody.post("/login/", data={"token": OPERATE_TOKEN}),
                await at.nobody.get("/login/wrong"),
                await at.nobody.get("/metrics", headers={"authorization": "Bearer wrong"}),
            ):
                assert answer.status_code == 429
            assert (await at.nobody.get("/api/ledger")).status_code == 401, "who sends nothing is not wrong"
            async with browser:
                assert (await browser.get("/api/ledger")).status_code == 200
            for _ in range(100):
                assert (await at.operator.get("/api/ledger")).status_code == 200, "who is right is never slowed down"

    asyncio.run(run())


def test_refusals_say_what_was_wrong_and_refused_changes_are_counted(store_settings: StoreSettings) -> None:
    """No token, a wrong one, another scheme, too small a role, a form of another login: five different sentences."""

    async def run() -> None:
        async with office(store_settings) as at:
            browser, _ = await log_in(at)
            order = {"all": True}
            async with browser:
                answers = [
                    await at.nobody.post("/api/dead/drop", json=order),
                    await at.nobody.post("/api/dead/drop", json=order, headers={"authorization": "Bearer no"}),
                    await at.nobody.post("/api/dead/drop", json=order, headers={"authorization": "Basic no"}),
                    await at.reader.post("/api/dead/drop", json=order),
                    await browser.post("/api/dead/drop", json=order),
                    await at.operator.post("/api/dead/drop", json={}),
                    await at.operator.post("/api/nowhere", json={}),
                ]
            said = [(each.status_code, each.json()["code"]) for each in answers]
            assert said == [
                (401, "no_token"),
                (401, "wrong_token"),
                (401, "no_token"),
                (403, "forbidden"),
                (403, "not_from_a_page"),
                (400, "bad_request"),
                (404, "not_found"),
            ]
            assert len({each.json()["title"] for each in answers[:5]}) == 4
            assert len({each.json()["detail"] for each in answers}) == 7
            text = (await at.operator.get("/metrics")).text
            for code, number in (("no_token", 2), ("wrong_token", 1), ("forbidden", 1), ("not_from_a_page", 1)):
                assert any(
                    line.startswith("gateway_refused_changes_total{")
                    and f'"{code}"' in line
                    and line.endswith(f" {number}.0")
                    for line in text.splitlines()
                ), code
            assert (await at.operator.get("/api/changes")).json()["items"] == [], "nothing refused is in the audit log"

    asyncio.run(run())
