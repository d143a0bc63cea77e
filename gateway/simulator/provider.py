"""The providers: send rounds of correctly signed requests over real HTTP, and heed the answers as providers do.

They know the URLs their customer registered and the secrets they share with it; of the gateway they see its answers.
"""

import threading
import time
from pathlib import Path

import httpx
import msgspec

from adapters.contract import Adapter
from adapters.registry import BrokenAdapter, find
from gateway import lifeline
from gateway.simulator import lines, requests, rounds, sending


class Instructions(msgspec.Struct, frozen=True, kw_only=True):
    """The first line on standard input."""

    accounts: tuple[requests.Account, ...]
    once: bool
    """One round, then ``finished``; else round after round until standard input closes."""
    rate_per_s: float
    seed: int


class Providers:
    """All the accounts, each with its adapter."""

    def __init__(self, accounts: tuple[requests.Account, ...], client: httpx.Client, stop: threading.Event) -> None:
        self._accounts = {account.source: account for account in accounts}
        self._adapters = {account.source: load(account.adapter) for account in accounts}
        self._client = client
        self._stop = stop

    def plan(self, number: int, seed: int) -> list[rounds.Step]:
        """What to send in round ``number``."""
        cases = {source: adapter.cases for source, adapter in self._adapters.items()}
        spoilable = [
            source
            for source, account in self._accounts.items()
            # a compared header proves whoever sends it, whole body or not; the others sign what they send
            if account.secrets and account.header is None
        ]
        return rounds.plan(cases, spoilable, number, seed)

    def carry_out(self, step: rounds.Step) -> None:
        """Send one request, again if it is not taken, and write a line for every attempt."""
        account, adapter = self._accounts[step.source], self._adapters[step.source]
        source = account.as_source()
        sent_ms, started_s = 0, 0.0

        def send() -> requests.Answer:
            nonlocal sent_ms, started_s
            sent_ms, started_s = time.time_ns() // 1_000_000, time.monotonic()
            request = requests.prepare(adapter, source, step.case, seed=step.seed, now_ms=sent_ms, purpose=step.purpose)
            return sending.post(self._client, account.url, request, adapter.ack_deadline_s or 10.0)

        for attempt, answer, final in sending.attempts(send, self._stop.wait):
            lines.write(
                lines.Sent(
                    at_ms=sent_ms,
                    source=step.source,
                    provider=adapter.name,
                    case=step.case,
                    purpose=step.purpose,
                    attempt=attempt,
                    status=answer.status,
                    outcome=answer.outcome,
                    events=answer.events,
                    duration_ms=round((time.monotonic() - started_s) * 1000, 1),
                    detail=answer.detail,
                    final=final,
                )
            )


def load(reference: str) -> Adapter:
    """The adapter, or ``SystemExit`` with the reason: without it there is nothing to send."""
    adapter = find(reference, Path())
    if isinstance(adapter, BrokenAdapter):
        raise SystemExit(f"the adapter {reference} does not load: {adapter.reason}")
    return adapter


def run(told: Instructions, client: httpx.Client, stop: threading.Event) -> int:
    """Send rounds at ``told.rate_per_s`` until told enough; how many requests were sent, repetitions not counted."""
    providers = Providers(told.accounts, client, stop)
    count = number = 0
    next_s = time.monotonic()
    while not stop.is_set():
        for step in providers.plan(number, told.seed):
            # A slow answer delays what follows; it is not made up for by a burst.
            next_s = max(next_s + 1 / told.rate_per_s, time.monotonic())
            if stop.wait(max(0.0, next_s - time.monotonic())):
                break
            providers.carry_out(step)
            count += 1
        number += 1
        if told.once:
            break
    return count


def main() -> None:
    """Send until the round is over or standard input closes."""
    told = lifeline.instructions(Instructions)
    stop = lifeline.watch()
    with sending.make_client() as client:
        count = run(told, client, stop)
    lines.write(lines.Finished(requests=count))
    if told.once:
        stop.wait()  # whoever started us decides when we go


if __name__ == "__main__":
    main()
