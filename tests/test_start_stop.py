"""What starts and stops with one process, in which order, and that what was started is stopped whatever goes wrong."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from gateway import start_stop
from gateway.config import StoreSettings
from gateway.errors import StoreUnavailable
from gateway.start_stop import StartStop
from gateway.store.backup import STAGE

STARTED = [
    "exchange.start",
    "spool.open",
    "drainer.start",
    "embedded.start",
    "store.open",
    "housekeeping.start",
    "roster.start",
    "sharing.start",
    "dispatcher.start",
    "replayer.start",
    "spool.opened",
    "alerts.start",
    "committer.start",
]
STOPPED = [
    "roster.stop",
    "exchange.stop",
    "committer.close",
    "drainer.stop",
    "spool.close",
    "alerts.stop",
    "sharing.stop",
    "replayer.stop",
    "dispatcher.stop",
    "housekeeping.stop",
    "key_fetcher.close",
    "intake_store.close",
    "store.close",
    "embedded.stop",
]
OF_DELIVERY = {"sharing", "dispatcher", "replayer", "alerts"}
AT_ONCE = {"dispatcher.start", "replayer.start", "alerts.start", "committer.start", "spool.opened", "spool.lost"}

SLOW = {"dispatcher.stop"}
"""What takes longer than those that stop beside it."""


class Parts:
    """Stands for every part of a process: writes down what is asked of whom."""

    def __init__(self, *fails: str) -> None:
        self.told: list[str] = []
        self.fails = fails

    def tell(self, what: str) -> None:
        """Write it down, and fail where that is wanted."""
        self.told.append(what)
        if what in self.fails:
            raise StoreUnavailable(what)

    async def tell_later(self, what: str) -> None:
        """The same, of what is awaited: the others come to their turn before."""
        for _ in range(10 if what in SLOW else 1):
            await asyncio.sleep(0)
        self.tell(what)

    def __getattr__(self, name: str) -> Any:
        return Part(self, name)


class Part:
    """One of them."""

    def __init__(self, parts: Parts, name: str) -> None:
        self._parts, self._name = parts, name

    def __getattr__(self, method: str) -> Any:
        what = f"{self._name}.{method}"

        def at_once(*_: Any) -> None:
            self._parts.tell(what)

        def later(*_: Any) -> Awaitable[None]:
            return self._parts.tell_later(what)

        return at_once if what in AT_ONCE else later


def made(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, role: str = "all", *, spool: bool = True, url: str = "redis://store"
) -> StartStop:
    """What is tested, of these parts."""
    monkeypatch.setattr(start_stop, "open_store", lambda *_, **__: parts.tell_later("store.open"))
    return StartStop(
        StoreSettings(url=url, spool=Path("spool") if spool else None),
        takes_requests=role != "delivery",
        delivers=role != "intake",
        embedded=parts.embedded,
        store=parts.store,
        intake_store=parts.intake_store,
        keys=[],
        housekeeping=parts.housekeeping,
        exchange=parts.exchange,
        roster=parts.roster,
        spool=parts.spool if spool else None,
        drainer=parts.drainer if spool else None,
        committers=[parts.committer],
        key_fetcher=parts.key_fetcher,
        sharing=parts.sharing,
        dispatchers=[parts.dispatcher],
        replayer=parts.replayer,
        alerts=parts.alerts,
    )


@pytest.mark.parametrize(
    ("role", "spool", "without"),
    [
        ("all", True, set()),
        ("all", False, {"spool", "drainer"}),
        ("intake", True, OF_DELIVERY),
        ("delivery", False, {"committer", "spool", "drainer"}),
    ],
)
def test_each_part_starts_and_stops_in_its_turn(
    role: str, spool: bool, without: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store opens before what uses it and closes behind it; a part that the role has no use for is left alone."""
    parts = Parts()

    def of(wanted: list[str]) -> list[str]:
        return [each for each in wanted if each.partition(".")[0] not in without]

    async def run() -> None:
        process = made(parts, monkeypatch, role, spool=spool)
        await process.start()
        assert parts.told == of(STARTED)
        parts.told.clear()
        await process.stop()
        assert parts.told == of(STOPPED)

    asyncio.run(run())


@pytest.mark.parametrize("at", [each for each in STARTED if not each.startswith("spool.opened")])
def test_a_start_that_fails_half_way_leaves_nothing_running(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing starts behind it; then everything is told to stop, which those that did not start take as well.

    With a spool the store may come later, so its steps are tested without one.
    """
    spool = at in ("spool.open", "drainer.start")
    parts = Parts(at)
    wanted = [each for each in STARTED if spool or each.partition(".")[0] not in ("spool", "drainer")]

    async def run() -> None:
        process = made(parts, monkeypatch, spool=spool)
        with pytest.raises(StoreUnavailable, match=at):
            await process.start()
        assert parts.told == wanted[: wanted.index(at) + 1]
        parts.told.clear()
        await process.stop()
        assert parts.told == [each for each in STOPPED if spool or each not in ("drainer.stop", "spool.close")]

    asyncio.run(run())


def test_nothing_begins_beside_what_is_half_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the spool, part of which may be restored already. Control: without the mark of a restore all starts."""
    parts = Parts()

    async def run() -> None:
        process = made(parts, monkeypatch, url=f"embedded:{tmp_path}")
        (tmp_path / STAGE).mkdir()
        with pytest.raises(StoreUnavailable, match="a restore into"):
            await process.start()
        assert parts.told == []
        (tmp_path / STAGE).rmdir()
        await process.start()
        assert parts.told == STARTED
        await process.stop()

    asyncio.run(run())


@pytest.mark.parametrize("at", ["store.open", "roster.start", "sharing.start"])
def test_a_store_that_is_still_to_come_is_opened_no_more(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are taken meanwhile; after the stop nobody tries any longer."""
    parts = Parts(at)

    async def run() -> None:
        before = asyncio.all_tasks()
        process = made(parts, monkeypatch)
        await process.start()
        assert parts.told[-2:] == ["alerts.start", "committer.start"]
        assert "spool.lost" in parts.told
        assert asyncio.all_tasks() != before
        parts.told.clear()
        await process.stop()
        assert parts.told == STOPPED
        assert asyncio.all_tasks() == before

    asyncio.run(run())


@pytest.mark.parametrize("at", STOPPED)
def test_who_cannot_stop_keeps_nobody_else_from_it(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All others stop, in their order, before the error is raised."""
    parts = Parts(at)

    async def run() -> None:
        process = made(parts, monkeypatch)
        await process.start()
        parts.told.clear()
        with pytest.raises(StoreUnavailable, match=at):
            await process.stop()
        assert parts.told == STOPPED

    asyncio.run(run())


def test_of_several_that_cannot_stop_the_first_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are in the log."""
    parts = Parts("spool.close", "embedded.stop")

    async def run() -> None:
        process = made(parts, monkeypatch)
        await process.start()
        with pytest.raises(StoreUnavailable, match=r"spool\.close"):
            await process.stop()

    asyncio.run(run())


def test_what_was_handed_over_before_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delivering ends while requests are still answered; the stop asks again, for what began meanwhile, and waits."""
    parts = Parts()

    async def run() -> None:
        process = made(parts, monkeypatch)
        await process.start()
        parts.told.clear()
        process.hand_over()
        assert parts.told == []
        await process.stop()
        assert sorted(parts.told) == sorted([*STOPPED, "sharing.stop", "replayer.stop", "dispatcher.stop"])

    asyncio.run(run())
