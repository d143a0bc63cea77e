"""When an alert is raised, told again, over, and what is said: the pure part, on a clock of numbers."""

import msgspec
import pytest

from gateway.config import AlertSettings
from gateway.operate.alerting import CALM_MS, FORGET_MS, REPEAT_MS, alarms, as_standing, calm_ms, compare, words
from gateway.operate.alerts import listen
from gateway.operate.views import Trouble
from gateway.store.alerts import Heard, Standing, Watch
from gateway.store.ledger import Account, SourceAccount
from schemas.timestamps import format_ms

NOW_MS = 1_770_120_000_000
LOOK_MS = 5_000


def trouble(kind: str = "lag", severity: str = "warn", count: int = 1, since_ms: int | None = None) -> Trouble:
    """A problem of ``crm``."""
    return msgspec.convert(
        {
            "severity": severity,
            "what": f"crm: {kind}",
            "count": count,
            "kind": kind,
            "cause": kind,
            "subscriber": "crm",
            "command": "gateway status",
            "since": None if since_ms is None else format_ms(since_ms),
        },
        Trouble,
    )


class Told:
    """Looks one after another, and what is told at each as if it could be sent at once."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.known: dict[str, Standing] = {}
        self.said: list[tuple[int, str]] = []
        """Seconds since the beginning, and what was owed."""

    def look(self, *troubles: Trouble, settings: AlertSettings | None = None) -> None:
        """One look, five seconds after the last."""
        found = alarms(troubles, settings or AlertSettings(), self.now_ms)
        now = {key: as_standing(each, self.now_ms) for key, each in found.items()}
        self.known = compare(self.known, now, self.now_ms)
        for key, each in self.known.items():
            if each.owed:
                self.said.append(((self.now_ms - NOW_MS) // 1000, each.owed))
                self.known[key] = msgspec.structs.replace(each, owed="")
        self.now_ms += LOOK_MS

    def looks(self, seconds: int, *troubles: Trouble) -> None:
        """Looks for so long, each with the same problems."""
        for _ in range(seconds * 1000 // LOOK_MS):
            self.look(*troubles)


def test_each_is_told_once_when_it_begins_and_once_when_it_is_over() -> None:
    """However many looks see it; and after an hour nothing is remembered of it."""
    told = Told()
    told.looks(60, trouble())
    told.looks(120)
    assert told.said == [(0, "raised"), (90, "resolved")]
    told.looks(FORGET_MS // 1000)
    assert told.known == {}


def test_what_lasts_is_told_again_after_four_hours() -> None:
    """Not before; of what is counted only if there is more."""
    told = Told()
    told.looks(REPEAT_MS // 1000 + 10, trouble(), trouble("dead_letters", "bad", 3))
    assert told.said == [(0, "raised"), (0, "raised"), (REPEAT_MS // 1000, "raised")]
    told.look(trouble(), trouble("dead_letters", "bad", 4))
    assert told.said[3:] == [(REPEAT_MS // 1000 + 10, "raised")]


def test_what_gets_worse_is_told_at_once_and_once() -> None:
    """Going to and fro between warn and bad is no news."""
    told = Told()
    for severity in ("warn", "bad", "warn", "bad", "bad"):
        told.look(trouble("store_memory", severity))
    assert told.said == [(0, "raised"), (5, "raised")]


def test_one_that_comes_and_goes_is_rate_limited_and_ends_as_what_it_is() -> None:
    """A minute there, a minute gone, for a day: few words, and the last is true."""
    told = Told()
    for _ in range(12 * 60):
        told.looks(60, trouble())
        told.looks(60)
    told.looks(2 * calm_ms(99) // 1000)
    assert len(told.said) <= 2 * 3 + 24 // 4
    assert [word for _, word in told.said[:4]] == ["raised", "resolved", "raised", "raised"]
    assert told.said[-1][1] == "resolved"
    assert [calm_ms(returns) for returns in (0, 1, 4, 1_000)] == [CALM_MS, 4 * CALM_MS, 3_600_000, 3_600_000]


def test_only_what_the_settings_ask_for_is_an_alert() -> None:
    """Late by ``oldest_pending``, as many dead letters as ``dead_letters``, silence; never what somebody decided."""
    settings = AlertSettings(oldest_pending_s=300, dead_letters=2, silence=False)
    late = trouble("waiting", since_ms=NOW_MS - 300_000)
    assert set(alarms([late, trouble("dead_letters", count=2)], settings, NOW_MS)) == {
        "waiting:crm",
        "dead_letters:crm",
    }
    soon = trouble("waiting", since_ms=NOW_MS - 299_000)
    assert alarms([soon, trouble("dead_letters"), trouble("silence")], settings, NOW_MS) == {}
    assert alarms([trouble(kind) for kind in ("paused", "rejected", "memory_only", "alerts")], settings, NOW_MS) == {}
    assert set(alarms([trouble("silence")], AlertSettings(), NOW_MS)) == {"silence:crm"}


def test_a_clock_that_is_set_back_does_not_silence_an_alert_for_ever() -> None:
    """Its end is told within the usual time by the new clock."""
    told = Told()
    told.look(trouble())
    told.look()  # gone, at a time that the clock will not see again for a year
    told.now_ms -= 365 * 86_400_000
    told.looks(60)
    assert [word for _, word in told.said] == ["raised", "resolved"]


def test_an_alert_over_before_it_was_sent_is_sent_as_over() -> None:
    """The latest word counts, and it says from when to when."""
    known = compare({}, {"lag:crm": as_standing(trouble(since_ms=NOW_MS - 60_000), NOW_MS)}, NOW_MS)
    first = words("lag:crm", known["lag:crm"], "https://hooks.example.com")
    assert (first.type, first.gateway) == ("alert.raised", "https://hooks.example.com")
    assert first.text == "[warn] crm: lag. Since 2026-02-03T11:59:00.000Z (60 s). Do: gateway status"
    known = compare(known, {}, NOW_MS + 5_000)
    assert words("lag:crm", known["lag:crm"], None) == msgspec.structs.replace(first, gateway=None), "the same id"
    known = compare(known, {}, NOW_MS + 5_000 + CALM_MS)
    over = words("lag:crm", known["lag:crm"], None)
    assert (over.type, over.resolved_at) == ("alert.resolved", format_ms(NOW_MS + 5_000))
    assert over.text == "[resolved] crm: lag. That is over: it lasted 65 s, since 2026-02-03T11:59:00.000Z."
    assert over.id != first.id


def account(**requests: int) -> Account:
    """A partition's numbers with so many requests of the source ``chat``."""
    part = SourceAccount()
    for name, number in requests.items():
        setattr(part.requests, name, number)
    return Account(seq=0, entries=0, trimmed=0, log_bytes=0, quarantined_now=0, sources={"chat": part}, subscribers={})


@pytest.mark.parametrize("outcome", ["accepted", "ignored", "quarantined"])
def test_a_proven_request_is_a_sign_of_life(outcome: str) -> None:
    """Whatever became of it; a rejected one is none, and a source never heard counts from the first look."""
    watch = listen(Watch(), [account()], ["chat", "quiet"], NOW_MS)
    assert watch.heard == {"chat": Heard(0, NOW_MS), "quiet": Heard(0, NOW_MS)}
    watch = listen(watch, [account(rejected=5)], ["chat", "quiet"], NOW_MS + 10_000)
    assert watch.heard["chat"].at_ms == NOW_MS
    watch = listen(watch, [account(**{outcome: 1}), account()], ["chat", "quiet"], NOW_MS + 20_000)
    assert (watch.heard["chat"].at_ms, watch.heard["quiet"].at_ms) == (NOW_MS + 20_000, NOW_MS)


def test_time_in_which_nobody_listened_is_no_silence() -> None:
    """A gateway that was down for a day does not call its sources silent for it; ordinary time counts."""
    watch = listen(Watch(), [account(accepted=1)], ["chat"], NOW_MS)
    watch = listen(watch, [account(accepted=1)], ["chat"], NOW_MS + 50_000)
    assert watch.heard["chat"].at_ms == NOW_MS
    watch = listen(watch, [account(accepted=1)], ["chat"], NOW_MS + 50_000 + 86_400_000)
    assert watch.heard["chat"].at_ms == NOW_MS + 86_400_000
