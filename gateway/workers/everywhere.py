"""What one worker tells all: read the file again. And what it asks of all: what only they know."""

from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from gateway.operate.changes import Actor
from gateway.operate.processes import Process
from gateway.operate.refusals import Refused
from gateway.reloading import Change, Reloaded, Reloader, WorkerReload
from gateway.workers.exchange import Answers, Exchange

log = structlog.get_logger("gateway.workers")

KNOWS_WITHIN_S = 1.0
RELOAD_WITHIN_S = 20.0
"""A lane that is replaced may take its time to end its attempts."""


class _Order(msgspec.Struct):
    dry_run: bool
    who: Actor
    told: list[Change]
    """What is in the audit log already."""


class Everywhere:
    """One worker's reloader, and through it everybody's."""

    def __init__(self, reloader: Reloader, exchange: Exchange, worker: int) -> None:
        self._reloader = reloader
        self._exchange = exchange
        self._worker = worker

    async def reload(self, *, dry_run: bool, who: Actor) -> Reloaded:
        """Reload here, and where that went well everywhere else. Raises what ``Reloader.reload`` raises, here.

        The answer has the changes of all: a worker that was started later than the file was changed has none.
        """
        here = await self._reloader.reload(dry_run=dry_run, who=who)
        others = await self._exchange.ask(
            "reload", Reloaded, _Order(dry_run, who, here.changes), within_s=RELOAD_WITHIN_S
        )
        workers = [WorkerReload(worker=self._worker, done=not dry_run, why=None)]
        changes: dict[str, Change] = {each.what: each for each in here.changes}
        restart, outdated = set(here.restart), set(here.outdated)
        for number, answer in others.items():
            if isinstance(answer, Exception):
                why = str(answer) or "it did not answer in time"
                log.error("operate.reload", who=who.name, worker=number, why=why)
                workers.append(WorkerReload(worker=number, done=False, why=why))
                continue
            workers.append(WorkerReload(worker=number, done=not dry_run, why=None))
            changes = {**{each.what: each for each in answer.changes}, **changes}
            restart.update(answer.restart)
            outdated.update(answer.outdated)
        return Reloaded(
            dry_run=dry_run,
            changes=[changes[what] for what in sorted(changes)],
            restart=sorted(restart),
            outdated=sorted(outdated),
            workers=sorted(workers, key=lambda each: each.worker),
        )


def answers(reloader: Reloader, knows: Callable[[], Process]) -> Answers:
    """What one worker answers the others: ``knows`` and ``reload``, the latter only for itself."""

    async def tell(_given: Any) -> Process:
        return knows()

    async def reload(given: Any) -> Reloaded:
        order = msgspec.convert(given, _Order)
        try:
            return await reloader.reload(dry_run=order.dry_run, who=order.who, told=order.told)
        except Refused as refusal:
            raise RuntimeError(refusal.detail) from None

    return {"knows": tell, "reload": reload}


async def ask_what_they_know(exchange: Exchange) -> tuple[list[Process], list[int]]:
    """What the other workers know, and which of them do not say."""
    found = await exchange.ask("knows", Process, within_s=KNOWS_WITHIN_S)
    return (
        [each for each in found.values() if isinstance(each, Process)],
        [number for number, each in found.items() if not isinstance(each, Process)],
    )
