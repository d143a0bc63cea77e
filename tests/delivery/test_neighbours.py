"""Ninety-nine dead subscribers beside one that lives: what they cost the store, and what they cost the one.

They refuse connections for an hour of the clock's time. What the store holds for them may depend on how many they are
and how long they are dead (a few parked events each, from tripping and probing), and not on how many events there were.
"""

import asyncio
from pathlib import Path

import msgspec
import pytest

from gateway.delivery import lane
from gateway.delivery.breaker import BreakerState, Rules
from tests.support.clock import Clock
from tests.support.delivering import Rig, rig, subscriber
from tests.support.servers import answering, refusing, response, serving

OK = response("204 No Content")
DEAD = 99
KEYS = ("a", "b", "c", "d", "e", None)
FEW, MANY = 240, 2_400
RETRY_S = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""The default schedule."""


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes look around often enough for a clock on which a minute takes a tenth of a second."""
    monkeypatch.setattr(lane, "TICK_S", 0.1)


async def held_bytes(r: Rig, names: list[str]) -> int:
    """What the store's memory holds under the names of these subscribers."""
    total = 0
    for name in names:
        for key in await r.store.call("KEYS", f"{r.keys.prefix}:sub:{name}*"):
            total += await r.store.call("MEMORY", "USAGE", key, "SAMPLES", 0)
    return total


async def arrive(r: Rig, count: int, first: int) -> None:
    """Log events of several keys and of none."""
    for at, key in enumerate(KEYS):
        await r.append(count // len(KEYS), key=key, first=first + at)


async def minutes(clock: Clock, count: int) -> None:
    """Let time pass, a minute at a time."""
    for _ in range(count):
        clock.advance(60)
        await asyncio.sleep(0.11)  # a tick of every lane


async def dead_for(directory: Path, dead: int, rules: Rules, *, long: int, many: int = MANY) -> tuple[int, int, int]:
    """Bytes held for ``dead`` subscribers after few events, after many, and how many events they had parked at most.

    ``long``: minutes before the first count. ``many``: how many events; nine equal parts and ``FEW``.
    """
    async with rig(directory) as r, refusing() as port, serving(answering(OK)) as server:
        clock = Clock()
        r.wall_ms, r.monotonic, r.breaker_rules = clock.wall_ms, clock.monotonic, rules
        lanes = [
            subscriber(port, f"dead{number}-", order="key" if number % 3 == 0 else "none", retry_s=RETRY_S)
            for number in range(dead)
        ]
        names = [each.name for each in lanes]
        async with r.delivering(*lanes, subscriber(server.port, "alive", order="key")):
            await arrive(r, FEW, 0)
            await r.settled("alive", offered=FEW)
            await minutes(clock, long)
            held_first = await held_bytes(r, names)
            for part in range(9):
                await arrive(r, (many - FEW) // 9, 1_000 * (part + 1))
                # while the others' clock stands still: the living one waits for none of them
                await r.settled("alive", offered=FEW + (part + 1) * (many - FEW) // 9)
                await minutes(clock, 2)
            held_then = await held_bytes(r, names)
            parked = [int(await r.store.call("HLEN", r.keys.subscriber(name).parked)) for name in names]
            held = [int(await r.store.call("HLEN", r.keys.subscriber(name).held)) for name in names]
            states = [await r.store.call("HGET", r.keys.subscriber(name).sub, "breaker") for name in names]
            if rules.trip_failures < 100:
                assert all(msgspec.json.decode(state, type=BreakerState).open for state in states)
            ledger = await r.ledger()
            assert ledger.unaccounted == 0
            assert {ledger.subscribers[name].pending for name in names} == {many}
        assert len(server.requests) == many
        assert await r.audited() == (0, [])
        return held_first, held_then, max(parked) + max(held)


@pytest.mark.alone
def test_dead_subscribers_cost_the_store_nothing_that_grows_with_events(tmp_path: Path) -> None:
    """With 99 of 100 dead for an hour and more: not a byte per event beyond the log; the 100th gets all, promptly."""
    few, many, waiting = asyncio.run(dead_for(tmp_path, DEAD, Rules(), long=60))
    print(f"{few} bytes after {FEW} events, {many} after {MANY}; at most {waiting} parked and held each")
    # what remains is a handful of parked events each; their histories grow by an attempt with every probe
    assert (many - few) / (MANY - FEW) / DEAD < 1.0
    assert waiting < FEW + 256, "no more than one read brings, however many come"


def test_without_the_breaker_they_would_cost_bytes_for_every_event(tmp_path: Path) -> None:
    """The positive control: the same measurement sees what each event costs when nothing holds them back."""
    rules, count = Rules(trip_failures=1_000_000, rate_over=1_000_000), 780
    few, many, _ = asyncio.run(dead_for(tmp_path, 3, rules, long=5, many=count))
    assert (many - few) / (count - FEW) / 3 > 50
