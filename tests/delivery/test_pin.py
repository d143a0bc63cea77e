"""The pin's times to the second, its end, and what the guard makes of literals, ports and names at the edge."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from gateway.delivery.addresses import Address
from gateway.delivery.guard import KEEP_WITHOUT_NAME_SERVER_S, Guard, Pin, parse_url, system_resolve
from gateway.errors import TargetRefused
from tests.support.clock import Clock

HOOKS = "https://hooks.example/"


class Name:
    """A resolver with one name, whose addresses change, fail or wait when told."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: list[Address] = [ip_address(each) for each in addresses]
        self.asked = 0
        self.gate: asyncio.Event | None = None

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if not self.addresses:
            raise OSError("no such name")
        return self.addresses


def pin_of(name: Name, clock: Clock) -> Pin:
    """A pin that looks again after 30 s and waits for it after 60."""
    return Pin(Guard(resolve=name, monotonic=clock.monotonic, keep_s=30), HOOKS)


async def until(true: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0)


def test_a_pin_knows_nothing_before_the_first_look_up() -> None:
    """Also on a machine that has just started, whose clock is near zero: nothing is taken for fresh."""

    async def check() -> None:
        for start_s in (0.0, 0.5, 1_000.0):
            clock, name = Clock(), Name("1.1.1.1")
            clock.advance(start_s - clock.monotonic())
            pin = pin_of(name, clock)
            pin.doubt()  # of what is not known yet
            assert pin.fresh() is None
            assert name.asked == 0
            assert (await pin.target()).host == "hooks.example"

    asyncio.run(check())


def test_the_look_up_beside_the_traffic_begins_at_its_second() -> None:
    """Not before 30 s are over; one look-up however many ask meanwhile; from 60 s on everybody waits for it."""

    async def check() -> None:
        clock, name = Clock(), Name("1.1.1.1")
        pin = pin_of(name, clock)
        first = await pin.target()
        clock.advance(29.875)
        assert pin.fresh() is first
        await asyncio.sleep(0)
        assert name.asked == 1
        name.gate = asyncio.Event()
        clock.advance(0.125)
        for _ in range(3):
            assert pin.fresh() is first
            await asyncio.sleep(0)
        assert name.asked == 2
        clock.advance(29.875)
        assert pin.fresh() is first
        clock.advance(0.125)
        assert pin.fresh() is None
        assert name.asked == 2
        name.gate.set()
        assert await pin.target() is first
        assert name.asked == 2
        assert pin.fresh() is first, "the same addresses are good for another 30 s"

    asyncio.run(check())


def test_without_a_name_server_the_last_addresses_serve_ten_minutes_and_no_longer() -> None:
    """Counted from when they were last seen to be the name's; a name that was never seen has none."""

    async def check() -> None:
        clock, name = Clock(), Name("1.1.1.1")
        pin = pin_of(name, clock)
        first = await pin.target()
        name.addresses = []
        clock.advance(KEEP_WITHOUT_NAME_SERVER_S)
        assert await pin.target() is first
        clock.advance(60.125)
        with pytest.raises(OSError, match="no such name"):
            await pin.target()
        with pytest.raises(OSError, match="no such name"):
            await pin_of(name, clock).target()

    asyncio.run(check())


def test_on_a_machine_that_has_just_started_an_unknown_name_is_an_error_too() -> None:
    """There is nothing that could serve on, whatever the clock says."""

    async def check() -> None:
        clock = Clock()
        clock.advance(-clock.monotonic())
        with pytest.raises(OSError, match="no such name"):
            await pin_of(Name(), clock).target()

    asyncio.run(check())


def test_a_doubt_counts_from_one_second_on() -> None:
    """Since the last look-up; sooner it changes nothing."""

    async def check() -> None:
        clock, name = Clock(), Name("1.1.1.1")
        pin = pin_of(name, clock)
        first = await pin.target()
        clock.advance(0.875)
        pin.doubt()
        assert pin.fresh() is first
        clock.advance(0.125)
        pin.doubt()
        assert pin.fresh() is None
        assert await pin.target() is first

    asyncio.run(check())


def test_closing_ends_a_look_up_and_tells_who_waits() -> None:
    """Whoever waits for it learns that as the failure of a look-up, not as its own cancellation."""

    async def check() -> None:
        name = Name("1.1.1.1")
        name.gate = asyncio.Event()
        pin = pin_of(name, Clock())
        pin.close()  # nothing runs yet
        waiting = asyncio.create_task(pin.target())
        await until(lambda: name.asked == 1)
        pin.close()
        with pytest.raises(OSError, match="the look-up was ended"):
            await waiting
        name.gate = None
        assert (await pin.target()).host == "hooks.example", "a later one is made anew"

    asyncio.run(check())


def test_who_is_cancelled_while_the_look_up_ends_is_cancelled() -> None:
    """Its own cancellation is not turned into a failure of the look-up."""

    async def check() -> None:
        name = Name("1.1.1.1")
        name.gate = asyncio.Event()
        pin = pin_of(name, Clock())
        waiting = asyncio.create_task(pin.target())
        await until(lambda: name.asked == 1)
        pin.close()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        other = asyncio.create_task(pin.target())
        await until(lambda: name.asked == 2)
        other.cancel()  # the look-up itself goes on
        with pytest.raises(asyncio.CancelledError):
            await other
        name.gate.set()
        assert (await pin.target()).host == "hooks.example"
        assert name.asked == 2

    asyncio.run(check())


@pytest.mark.parametrize(
    ("url", "is_literal"), [("https://1.1.1.1/", True), ("https://[2606:4700::1111]/", True), (HOOKS, False)]
)
def test_a_target_says_whether_it_was_looked_up(url: str, is_literal: bool) -> None:
    """The client pins names and not literals: it reads those by itself."""
    name = Name("1.1.1.1")
    found = asyncio.run(Guard(resolve=name).target(url))
    assert (found.is_literal, name.asked) == (is_literal, 0 if is_literal else 1)


@pytest.mark.parametrize(
    ("public_url", "url", "refused"),
    [
        ("http://hooks.example", "https://hooks.example/in/chat", True),
        ("https://hooks.example", "http://hooks.example/in/chat", True),
        ("https://hooks.example:8443", "https://hooks.example:8443/in/chat", True),
        ("https://hooks.example:442", "https://hooks.example/in/chat", False),
        ("https://hooks.example:444", "https://hooks.example/in/chat", False),
        ("https://hooks.example", "https://hooks.example:442/in/chat", False),
        ("https://hooks.example", "https://hooks.example:444/in/chat", False),
        ("https://hooks.example:442", "https://hooks.example:442/in/chat", True),
        ("https://hooks.example:79", "https://hooks.example:81/in/chat", False),
    ],
)
def test_the_two_ports_of_the_web_are_one_place_and_others_are_not(public_url: str, url: str, refused: bool) -> None:
    """A proxy answers on 80 and 443 alike; any other port is another server."""
    guard = Guard(resolve=Name("1.1.1.1"), public_url=public_url)
    allow = (ip_network("1.1.1.1/32"),)
    if refused:
        with pytest.raises(TargetRefused, match="public_url"):
            asyncio.run(guard.target(url, allow))
    else:
        assert asyncio.run(guard.target(url, allow)).addresses


def test_a_look_up_that_nobody_waits_for_any_more_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The name server answers after who asked has gone, and after the whole loop has: nothing is raised or logged."""
    answer, entered = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []
    failures: list[object] = []

    def slow(*_: object, **__: object) -> list[tuple[object, ...]]:
        threads.append(threading.current_thread())
        entered.set()
        answer.wait(5)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(threading, "excepthook", failures.append)

    async def ask(*, until_it_answers: bool) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        asked = asyncio.create_task(system_resolve("slow.example", 443))
        await until(entered.is_set)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        if until_it_answers:
            answer.set()
            await until(lambda: not threads[-1].is_alive())
            await asyncio.sleep(0)

    for until_it_answers in (True, False):
        answer.clear()
        entered.clear()
        asyncio.run(ask(until_it_answers=until_it_answers))
        answer.set()
        threads[-1].join(5)
        assert threads[-1].daemon, "the process may end while a name server hangs"
    assert failures == []
    assert caplog.text == ""


def test_the_guard_needs_no_rights_to_know_its_own_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks by binding, as a user who may not have the ports below 1,024."""

    class UsersSocket(socket.socket):
        def bind(self, address: Any) -> None:
            if 0 < address[1] < 1_024:
                raise PermissionError
            super().bind(address)

    monkeypatch.setattr(socket, "socket", UsersSocket)
    guard = Guard(resolve=Name("127.0.0.1"), own=((None, 443),))
    with pytest.raises(TargetRefused, match="gateway itself"):
        asyncio.run(guard.target(HOOKS, (ip_network("127.0.0.0/8"),)))


@pytest.mark.parametrize("url", ["https:///", "https://?x=1", "http://#f"])
def test_a_url_needs_a_host(url: str) -> None:
    """Whatever else it has."""
    with pytest.raises(TargetRefused):
        parse_url(url)
