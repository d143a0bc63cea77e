"""Telling somebody: a look at the problems every few seconds, and a POST for each alert that is raised or over.

Of several processes the one that delivers from the first partition does it. What it knows lies in the store
(``store/alerts.py``); while the store is away it goes on from memory, and that the store is away is itself an alert.
Where nobody can know who delivers, because the store went before it was asked, the first worker of a gateway tells of
that alone.
Looking and sending are two tasks, so that a receiver that hangs keeps nobody from looking, and nothing of this is in
the way of a webhook.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated

import msgspec
import structlog
from msgspec import Meta

from gateway import problems
from gateway.config import AlertSettings, SubscriberSettings
from gateway.delivery.attempt import Sender
from gateway.delivery.guard import Guard
from gateway.delivery.outcome import Outcome
from gateway.errors import LeaseLost, NotDurable, StoreError
from gateway.operate.alerting import (
    STORE_AWAY,
    STORE_SETTINGS,
    WITHOUT_STORE,
    alarms,
    as_standing,
    compare,
    of_store,
    trial_words,
    words,
)
from gateway.operate.masking import mask_text, secrets_of
from gateway.operate.refusals import Refused, why_away
from gateway.operate.sight import Sight
from gateway.operate.status import read_status
from gateway.operate.troubles import does
from gateway.operate.views import Count
from gateway.store.alerts import AlertBook, Heard, Standing, Watch
from gateway.store.lease import provably_gone
from gateway.store.ledger import Account

log = structlog.get_logger("gateway.operate")

LOOK_S = 5.0
TIMEOUT_S = 10.0
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 300.0
"""Between two rounds of sending, while it fails; twice as long each time."""
AWAY_MS = 15_000
"""How long the store must be away before somebody is told: a restart of it is no news."""
UNWATCHED_MS = 60_000
"""A longer gap between two looks is time in which nobody listened; no source is called silent for it."""

_UNNAMED = "?"
"""Another process, of which only that is known."""

_TELLING = frozenset({"refused_target", "connect", "tls", "timeout", "reset", "protocol"})
"""Causes whose detail says more than the cause, and nothing but host and port."""


class AlertTrial(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a test alert."""

    alert_id: str
    sent: Annotated[bool, Meta(description="The receiver answered 2xx.")]
    status: int | None
    why: Annotated[str | None, Meta(description="Why not, in words; null if it was sent.")]
    duration_ms: Count
    answer: Annotated[str | None, Meta(description="The answer's body, cut at 4 KiB; null if it was sent.")]


class Alerts:
    """One process's share: nothing, until it delivers from the first partition."""

    def __init__(
        self,
        sight: Sight,
        guard: Guard,
        *,
        owner: str,
        is_first: bool,
        monotonic: Callable[[], float],
        nonce: Callable[[], str],
    ) -> None:
        """``owner``: this process's name in leases. ``is_first``: it tells that the store is away, where nobody knows
        whose part that is. ``nonce``: something new each time, for test alerts.
        """
        self._sight = sight
        self._guard = guard
        self._owner = owner
        self._is_first = is_first
        self._teller = ""
        """Another process that was seen to hold the first partition's lease; empty where nobody was."""
        self._monotonic = monotonic
        self._nonce = nonce
        self._book = AlertBook(sight.store, sight.keys[0])
        self._epoch: int | None = None
        """Of the lease under which the fields below were read; ``None`` where another process tells."""
        self._watch = self._saved_watch = Watch()
        self._standing: dict[str, Standing] = {}
        self._saved: dict[str, Standing] = {}
        self._away_ms = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._owing = asyncio.Event()
        self._saving = asyncio.Lock()

    def start(self) -> None:
        """Look and send in the background."""
        self._tasks = [
            asyncio.create_task(self._look_forever(), name="alerts"),
            asyncio.create_task(self._send_forever(), name="alerts out"),
        ]

    async def stop(self) -> None:
        """End both. What is not sent is in the store, and sent by whoever looks next."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def test(self, who: str) -> AlertTrial:
        """Send a test alert now, once. Raises ``Refused`` where there is nowhere to send it."""
        settings = self._sight.config.alerts
        if settings.url is None:
            raise Refused(problems.BAD_REQUEST, "[alerts] has no url, so there is nowhere to send one; write it there")
        alert = trial_words(self._nonce(), self._sight.config.gateway.public_url, self._sight.wall_ms())
        sender = self._sender(settings, settings.url)
        try:
            outcome = await sender.send(alert.id, msgspec.json.encode(alert), attempt=1, attempts_left=0)
        finally:
            await sender.close()
        log.info("operate.change", what="alerts.test", who=who, alert=alert.id, cause=outcome.cause)
        return AlertTrial(
            alert_id=alert.id,
            sent=outcome.delivered,
            status=outcome.status,
            why=None if outcome.delivered else _why(outcome),
            duration_ms=round(outcome.duration_s * 1000),
            answer=None if outcome.delivered else mask_text(outcome.answer, secrets_of(self._sight.config)),
        )

    # Looking

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except LeaseLost:
                self._resign({}, teller=_UNNAMED)
            except StoreError as error:
                self._look_without_store(error, await self._sight.plight())
            except Exception:  # a defect in one look must not end them all
                log.exception("alert.defect")

    async def look(self) -> None:
        """Look at the problems, and remember what is to be told. Raises ``StoreError``."""
        sight = self._sight
        remembered = await self._book.read()
        if remembered.owner != self._owner:
            self._resign(remembered.standing, teller=remembered.owner if remembered.is_held else "")
            return
        if remembered.epoch != self._epoch:
            # Where nobody has looked since we did, what we know is newer: the store was away, and we went on.
            if remembered.watch.looked_ms != self._saved_watch.looked_ms:
                own = self._of_store_alone(remembered.standing)
                self._watch, self._standing = remembered.watch, {**remembered.standing, **own}
            self._epoch, self._saved_watch, self._saved = remembered.epoch, remembered.watch, remembered.standing
        spool = await sight.spooled()  # once: a full one is long to read
        accounts = await sight.accounts(spool.lines)  # first, since the other task writes to what is remembered
        self._watch = listen(self._watch, accounts, sight.config.sources, sight.wall_ms())
        await self._save()  # before the look, which reads in the store when sources were heard
        status = await read_status(sight, summed=True, spool=spool)
        self._away_ms = 0
        now_ms = sight.wall_ms()
        found = alarms(status.problems, sight.config.alerts, now_ms)
        self._go_on({key: as_standing(trouble, now_ms) for key, trouble in found.items()})
        await self._save()

    def _resign(self, known: Mapping[str, Standing], *, teller: str) -> None:
        """Leave it to whoever tells now; but of what the store never heard only we can say that it is over."""
        self._away_ms, self._epoch, self._teller = 0, None, teller
        self._standing = self._of_store_alone(known)
        self._saved, self._saved_watch = {}, Watch()
        if self._standing:
            self._go_on({})

    def _of_store_alone(self, known: Mapping[str, Standing]) -> dict[str, Standing]:
        """Of what stands, what was found without the store and not written there.

        What the store remembers of an earlier outage, which is over, says nothing of this one; only where it knows the
        alert as raised will whoever looks there end it.
        """

        def is_raised_in(book: Mapping[str, Standing], key: str) -> bool:
            return key in book and book[key].raised

        return {
            key: each
            for key, each in self._standing.items()
            if each.kind in WITHOUT_STORE
            and each != self._saved.get(key)
            and not is_raised_in(self._saved, key)
            and not is_raised_in(known, key)
        }

    def _look_without_store(self, error: StoreError, plight: str = "") -> None:
        """What was wrong before counts as wrong still; and the store is away, with ``plight`` as the machine's word."""
        others_tell = bool(self._teller) and not provably_gone(self._teller)
        if self._epoch is None and (others_tell or not self._is_first):
            return
        now_ms = self._sight.wall_ms()
        self._away_ms = self._away_ms or now_ms
        now = {key: each for key, each in self._standing.items() if each.raised and not each.gone_ms}
        is_taken = self._sight.config.store.spool is not None and self._sight.takes() is not False
        webhooks = "webhooks go into the spool" if is_taken else "webhooks are answered 503"
        if isinstance(error, NotDurable):
            what = f"the settings of the store would lose what it acknowledges; {webhooks}"
            now[f"{STORE_SETTINGS}:"] = of_store(STORE_SETTINGS, what, self._away_ms)
        elif now_ms - self._away_ms >= AWAY_MS:
            what = f"the store is away: {why_away(error)}; {plight}{'; ' if plight else ''}{webhooks}"
            now[f"{STORE_AWAY}:"] = of_store(STORE_AWAY, what, self._away_ms)
        self._go_on(now)

    def _go_on(self, now: dict[str, Standing]) -> None:
        config = self._sight.config
        secrets = secrets_of(config)
        before = self._standing
        masked = {
            key: msgspec.structs.replace(each, what=mask_text(each.what.encode(), secrets)) for key, each in now.items()
        }
        self._standing = compare(before, masked, self._sight.wall_ms())
        for key, each in self._standing.items():
            known = before.get(key)
            if each.owed and (known is None or (known.owed, known.told_ms) != (each.owed, each.told_ms)):
                write = log.warning if each.owed == "raised" else log.info
                write(f"alert.{each.owed}", alert=key, what=each.what, count=each.count)
        if config.alerts.url is None:  # what stands is told when there is one; what is over is not worth it then
            self._standing = {
                key: msgspec.structs.replace(each, owed="") if each.owed == "resolved" else each
                for key, each in self._standing.items()
            }
        elif any(each.owed for each in self._standing.values()):
            self._owing.set()

    async def _save(self) -> None:
        async with self._saving:  # both tasks do it, and the older must not be written last
            if self._epoch is None:
                return
            watch, standing = self._watch, self._standing
            changed: dict[str, Standing | None] = {
                key: each for key, each in standing.items() if self._saved.get(key) != each
            }
            changed.update(dict.fromkeys(self._saved.keys() - standing.keys()))
            if changed or watch != self._saved_watch:
                await self._book.save(self._epoch, watch if watch != self._saved_watch else None, changed)
                self._saved, self._saved_watch = standing, watch

    # Sending

    async def _send_forever(self) -> None:
        failures = 0
        while True:
            await self._owing.wait()
            self._owing.clear()
            asked_s = 0.0
            try:
                failed = await self._send_round()
                asked_s = 0.0 if failed is None else failed.retry_after_s or 0.0
            except Exception:  # a defect of ours must not silence what comes after it
                log.exception("alert.defect")
            if not self._owed():
                failures = 0
                continue
            wait_s = min(FIRST_WAIT_S * 2 ** min(failures, 10), LONGEST_WAIT_S)
            failures += 1
            await asyncio.sleep(max(wait_s, asked_s))
            self._owing.set()

    def _owed(self) -> list[tuple[str, Standing]]:
        owed = [(key, each) for key, each in self._standing.items() if each.owed]
        return sorted(owed, key=lambda each: each[1].told_ms)

    async def _send_round(self) -> Outcome | None:
        """Send what is owed, the oldest first. Returns a failure that concerns them all, if there was one."""
        settings = self._sight.config.alerts
        owed = self._owed()
        if settings.url is None or not owed:
            return None
        sender = self._sender(settings, settings.url)
        refused: Outcome | None = None
        try:
            for key, standing in owed:
                alert = words(key, standing, self._sight.config.gateway.public_url)
                outcome = await sender.send(alert.id, msgspec.json.encode(alert), attempt=1, attempts_left=0)
                if outcome.delivered:
                    await self._sent(key, standing)
                    continue
                refused = outcome
                # An answer of the 4xx may be about this one alert: the others are tried all the same.
                if outcome.status is None or not 400 <= outcome.status < 500:
                    break
        finally:
            await sender.close()
        await self._note_failure(refused)
        return refused

    async def _sent(self, key: str, standing: Standing) -> None:
        now = self._standing.get(key)
        if now is not None and (now.owed, now.told_ms) == (standing.owed, standing.told_ms):
            self._standing = {**self._standing, key: msgspec.structs.replace(now, owed="")}
        with contextlib.suppress(StoreError):  # the next look writes it; at worst it is sent again with the same id
            await self._save()

    async def _note_failure(self, failed: Outcome | None) -> None:
        known = self._watch
        if failed is None:
            if known.failing_ms:
                log.info("alert.sending_again")
            self._watch = msgspec.structs.replace(known, failing_ms=0, why="")
        else:
            why = _why(failed)
            if not known.failing_ms:
                log.error("alert.unsent", why=why, owed=len(self._owed()))
            failing_ms = known.failing_ms or self._sight.wall_ms()
            self._watch = msgspec.structs.replace(known, failing_ms=failing_ms, why=why)
        with contextlib.suppress(StoreError):  # the next look writes it
            await self._save()

    def _sender(self, settings: AlertSettings, url: str) -> Sender:
        """Past the guard, with no redirect, no proxy and a bounded answer, as a delivery goes."""
        receiver = SubscriberSettings(
            name="alerts",
            url=url,
            secrets=settings.secrets,
            allow_networks=settings.allow_networks,
            timeout_s=TIMEOUT_S,
        )
        return Sender(receiver, self._guard, wall_ms=self._sight.wall_ms, monotonic=self._monotonic, must_sign=False)


def listen(watch: Watch, accounts: Sequence[Account], configured: Iterable[str], now_ms: int) -> Watch:
    """When each source was last heard, after a look at how many proven requests it ever brought. Pure.

    One that is seen for the first time counts as heard now. Time in which nobody looked is left out.
    """
    gap_ms = now_ms - watch.looked_ms
    missed_ms = gap_ms if watch.looked_ms and gap_ms > UNWATCHED_MS else 0
    numbers = dict.fromkeys(configured, 0)
    for account in accounts:
        for name, part in account.sources.items():
            requests = part.requests
            numbers[name] = numbers.get(name, 0) + requests.accepted + requests.ignored + requests.quarantined
    heard = {}
    for name, number in numbers.items():
        known = watch.heard.get(name)
        if known is not None and known.requests == number:
            heard[name] = Heard(number, min(known.at_ms + missed_ms, now_ms))
        else:
            heard[name] = Heard(number, now_ms)
    return msgspec.structs.replace(watch, looked_ms=now_ms, heard=heard)


def _why(outcome: Outcome) -> str:
    if outcome.cause in _TELLING:
        return f"{does(outcome.cause)}: {outcome.detail}"
    return does(outcome.cause)
