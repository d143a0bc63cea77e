"""Runs the demo: raises the stage, lets the providers send, follows every event, gives the verdict."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from gateway.simulator import lines, stage
from gateway.simulator.book import Book
from gateway.simulator.children import Child, Failed, Stopwatch
from gateway.simulator.curtain import Curtain, interruptible
from gateway.simulator.screen import Screen
from gateway.simulator.story import Story

FAIL_EVERY = 7
ROUND_WITHIN_S = 120.0
"""How long ``--once`` may take from the first request to the last delivery."""
SETTLE_WITHIN_S = 12.0
"""How long, after Ctrl-C, events under way may take to arrive: the retry schedule's first steps, and some more."""
_TICK_S = 0.1


async def perform(screen: Screen, *, once: bool, rate_per_s: float) -> int:
    """Run the demo; the exit code: 0 if every event arrived and nothing is unaccounted for.

    Raises ``Failed`` if a process does not start or falls over.
    """
    with interruptible() as curtain:
        async with stage.raised(fail_every=FAIL_EVERY, started=screen.started) as on:
            curtain.performing = True
            screen.ready(dashboard=on.dashboard_url, config=on.config, endless=not once)
            provider = await on.start_provider(once=once, rate_per_s=rate_per_s, seed=secrets.randbits(48))
            try:
                async with _api(on) as api:
                    performance = _Performance(screen, on, provider, Book(api, screen.say))
                    return await performance.follow(curtain, ROUND_WITHIN_S if once else None)
            finally:
                screen.close()


class _Performance:
    """From the first request to the verdict."""

    def __init__(self, screen: Screen, on: stage.Stage, provider: Child, book: Book) -> None:
        self._screen = screen
        self._on = on
        self._provider = provider
        self._book = book
        self._story = Story()
        self._all_sent = asyncio.Event()

    async def follow(self, curtain: Curtain, within_s: float | None) -> int:
        """Follow every event until all is settled, ``within_s`` is over, or the curtain falls; the exit code."""
        watch, alone, stopping = Stopwatch(), within_s is not None, False
        async with self._reading() as readers:
            while True:
                if curtain.fallen and not stopping:
                    stopping = True
                    await self._stop_sending()
                    watch, within_s = Stopwatch(), SETTLE_WITHIN_S
                self._raise_if_fallen(readers)
                await self._book.read()
                self._show()
                if await self._settled() or (within_s is not None and watch() > within_s):
                    break
                await asyncio.sleep(_TICK_S)
        return await self._verdict(alone=alone)

    async def _settled(self) -> bool:
        if not self._all_sent.is_set() or self._story.missing:
            return False
        await self._book.read(now=True)
        return self._book.settled

    async def _stop_sending(self) -> None:
        self._screen.say("stopping: waiting for what is on its way", "dim")
        await self._provider.stop()
        self._all_sent.set()

    async def _verdict(self, *, alone: bool) -> int:
        await self._book.read(now=True)
        self._show()
        story, ledger = self._story, self._book.ledger
        if ledger is None:
            raise Failed("the gateway's ledger could not be read even once")
        if story.repeated_deliveries:
            again = f"{story.repeated_deliveries} deliveries came twice, each with the webhook-id it had before"
            self._screen.say(again, "yellow")
        problems = story.problems(ledger, alone=alone)
        self._screen.finish(ledger, problems)
        return 1 if problems else 0

    def _show(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        self._screen.show(self._story.settled(), self._story.travelling(now_ms), self._book.ledger)

    def _raise_if_fallen(self, readers: list["asyncio.Task[None]"]) -> None:
        fallen = self._on.fallen()
        if fallen is not None and fallen is not (self._provider if self._all_sent.is_set() else None):
            raise Failed(fallen.words(f"ended with exit code {fallen.process.returncode}"))
        for reader in readers:
            if reader.done():
                reader.result()  # a line nobody can read is a defect of ours, and must be seen

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[list["asyncio.Task[None]"]]:
        players = (self._provider, self._on.child("subscriber"))
        readers = [asyncio.create_task(self._read(player)) for player in players]
        try:
            yield readers
        finally:
            for reader in readers:
                reader.cancel()

    async def _read(self, player: Child) -> None:
        async for text in player.lines():
            line = lines.parse(text)
            if isinstance(line, lines.Finished):
                self._all_sent.set()
            else:
                self._story.add(line)
                self._screen.line(line)


def _api(on: stage.Stage) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=on.base_url,
        headers={"authorization": f"Bearer {on.drawn.admin_token}"},
        trust_env=False,
        timeout=10.0,
    )
