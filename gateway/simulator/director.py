"""Runs the demo: raises the stage, lets the providers send, follows every event, gives the verdict."""

import asyncio
import secrets
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import httpx
import msgspec

from gateway.simulator import lines, stage
from gateway.simulator.children import Child, Failed, Stopwatch
from gateway.simulator.screen import Screen
from gateway.simulator.story import Story

FAIL_EVERY = 7
ROUND_WITHIN_S = 120.0
"""How long ``--once`` may take from the first request to the last delivery."""
SETTLE_WITHIN_S = 12.0
"""How long, after Ctrl-C, events under way may take to arrive: the retry schedule's first steps, and some more."""
_TICK_S = 0.1
_LEDGER_EVERY_S = 0.5


async def perform(screen: Screen, *, once: bool, rate_per_s: float) -> int:
    """Run the demo; the exit code: 0 if every event arrived and nothing is unaccounted for.

    Raises ``Failed`` if a process does not start or falls over.
    """
    with _interruptible() as curtain:
        async with stage.raised(fail_every=FAIL_EVERY, started=screen.started) as on:
            curtain.performing = True
            where = {"dashboard": on.dashboard_url, "config": str(on.config)}
            screen.ready(where if once else {**where, "stop": "Ctrl-C"})
            try:
                return await _follow(screen, on, curtain, once=once, rate_per_s=rate_per_s)
            finally:
                screen.close()


async def _follow(screen: Screen, on: stage.Stage, curtain: "_Curtain", *, once: bool, rate_per_s: float) -> int:
    story, ledger, deadline = Story(), None, _Deadline(ROUND_WITHIN_S if once else None)
    players = [
        await on.start_provider(once=once, rate_per_s=rate_per_s, seed=secrets.randbits(48)),
        on.child("subscriber"),
    ]
    finished = asyncio.Event()
    async with _api(on) as api, _reading(players, story, screen, finished) as readers:
        read_s = Stopwatch()
        stopping = False
        while True:
            if curtain.fallen and not stopping:
                stopping = True
                screen.say("stopping: waiting for what is on its way", "dim")
                await players[0].stop()
                finished.set()
                deadline = _Deadline(SETTLE_WITHIN_S)
            elif not stopping and (fallen := on.fallen()) is not None:
                raise Failed(fallen.words(f"ended with exit code {fallen.process.returncode}"))
            for reader in readers:
                if reader.done():
                    reader.result()  # a line nobody can read is a defect of ours, and must be seen
            if ledger is None or read_s() >= _LEDGER_EVERY_S:
                ledger, read_s = await _read_ledger(api), Stopwatch()
            screen.show(story.settled(), story.travelling(_now_ms()), ledger)
            if finished.is_set() and not story.missing:
                ledger = await _read_ledger(api)
                if not any(counts["pending"] for counts in ledger["subscribers"].values()):
                    break
            if deadline.over:
                ledger = await _read_ledger(api)
                break
            await asyncio.sleep(_TICK_S)
    screen.show(story.settled(), story.travelling(_now_ms()), ledger)
    if story.repeated_deliveries:
        screen.say(
            f"{story.repeated_deliveries} deliveries came twice, each with the webhook-id it had before", "yellow"
        )
    problems = story.problems(ledger, alone=once)
    screen.finish(ledger, problems)
    return 1 if problems else 0


@asynccontextmanager
async def _reading(
    players: Sequence[Child], story: Story, screen: Screen, finished: asyncio.Event
) -> AsyncIterator[list["asyncio.Task[None]"]]:
    readers = [asyncio.create_task(_read(player, story, screen, finished)) for player in players]
    try:
        yield readers
    finally:
        for reader in readers:
            reader.cancel()


async def _read(player: Child, story: Story, screen: Screen, finished: asyncio.Event) -> None:
    async for text in player.lines():
        line = lines.parse(text)
        if isinstance(line, lines.Finished):
            finished.set()
        else:
            story.add(line)
            screen.line(line)


def _api(on: stage.Stage) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=on.base_url,
        headers={"authorization": f"Bearer {on.drawn.admin_token}"},
        trust_env=False,
        timeout=10.0,
    )


async def _read_ledger(api: httpx.AsyncClient) -> dict[str, Any]:
    try:
        response = await api.get("/api/ledger")
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise Failed(f"the gateway's ledger cannot be read: {type(error).__name__}: {error}") from None
    ledger: dict[str, Any] = msgspec.json.decode(response.content)
    return ledger


class _Deadline:
    def __init__(self, seconds: float | None) -> None:
        self._seconds, self._watch = seconds, Stopwatch()

    @property
    def over(self) -> bool:
        return self._seconds is not None and self._watch() > self._seconds


class _Curtain:
    """Falls on Ctrl-C: before the performance at once, during it after what is on its way has arrived."""

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        self.performing = False
        self.fallen = False
        self._task = task

    def fall(self) -> None:
        """Ask for the end; a second time, insist."""
        if self.fallen or not self.performing:
            self._task.cancel()
        self.fallen = True


@contextmanager
def _interruptible() -> Iterator[_Curtain]:
    task = asyncio.current_task()
    assert task is not None
    curtain, loop = _Curtain(task), asyncio.get_running_loop()
    heard = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for one in heard:
        loop.add_signal_handler(one, curtain.fall)
    try:
        yield curtain
    finally:
        for one in heard:
            with suppress(ValueError):
                loop.remove_signal_handler(one)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
