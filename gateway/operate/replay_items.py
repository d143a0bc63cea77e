"""Replays as they are shown: one, and all of them at a glance."""

from collections import Counter

import msgspec

from gateway.config_file.tables import masked
from gateway.operate.replay_orders import selection
from gateway.operate.replay_views import ReplayFailed, ReplayItem
from gateway.operate.sight import Sight
from gateway.operate.views import ReplayLine, ReplaysStatus
from gateway.store.replays import Replay, Replays
from schemas.timestamps import format_ms

OPEN_SHOWN = 20
ENDED_SHOWN = 3


async def read_replays(sight: Sight) -> ReplaysStatus:
    """All at a glance. Raises ``StoreUnavailable``."""
    replays = Replays(sight.store, sight.keys[0])
    known, totals = [each.replay for each in await replays.all()], await replays.totals()
    ended = sorted((each for each in known if each.state in ("done", "cancelled")), key=lambda each: -each.ended_ms)
    others = [each for each in known if each.state not in ("done", "cancelled")]
    return ReplaysStatus(
        states=dict(Counter(each.state for each in known)),
        waiting=sum(each.state == "running" and bool(each.waiting) for each in known),
        delivered=totals.delivered,
        requeued=totals.requeued,
        failed=totals.failed,
        attempts=totals.attempts,
        items=[_line(each) for each in [*others[:OPEN_SHOWN], *ended[:ENDED_SHOWN]]],
    )


def _line(replay: Replay) -> ReplayLine:
    return ReplayLine(
        id=replay.id,
        state=replay.state,
        words=_words(replay),
        target=masked(replay.spec.to.url) if replay.spec.to else replay.spec.subscriber or "",
        progress=_progress(replay),
        created_at=format_ms(replay.created_ms),
        ended_at=format_ms(replay.ended_ms) if replay.ended_ms else None,
    )


def selection_of(replay: Replay) -> dict[str, str]:
    """What restricts it, as text."""
    return selection(replay.spec, None if replay.picked is None else sum(len(seqs) for seqs in replay.picked))


def item(replay: Replay, *, failures: bool) -> ReplayItem:
    """All that is shown of one; ``failures``: also which events failed."""
    return ReplayItem(
        id=replay.id,
        state=replay.state,
        words=_words(replay),
        created_at=format_ms(replay.created_ms),
        created_by=replay.created_by,
        started_at=format_ms(replay.started_ms) if replay.started_ms else None,
        ended_at=format_ms(replay.ended_ms) if replay.ended_ms else None,
        subscriber=replay.spec.subscriber,
        to=masked(replay.spec.to.url) if replay.spec.to else None,
        selection=selection_of(replay),
        rate_per_s=replay.spec.rate_per_s,
        progress=_progress(replay),
        matched=replay.matched,
        delivered=replay.delivered,
        requeued=replay.requeued,
        failed=replay.failed,
        attempts=replay.attempts,
        expired=replay.expired,
        waiting=replay.waiting or None,
        last_error=replay.last_error or None,
        failures=[msgspec.convert(msgspec.to_builtins(each), ReplayFailed) for each in replay.failures]
        if failures
        else [],
    )


def _progress(replay: Replay) -> float:
    if replay.state == "done":
        return 1.0
    whole = sum(replay.ends) - sum(replay.starts)
    return round((sum(replay.positions) - sum(replay.starts)) / whole, 4) if whole else 0.0


def _words(replay: Replay) -> str:
    spec = replay.spec
    what = f"{replay.requeued} dead letters put back" if spec.requeues else f"{replay.delivered} delivered"
    counts = f"{what}, {replay.failed} failed"
    match replay.state:
        case "planned":
            return "waits for its turn" if not replay.matched else f"goes on soon: {counts} so far"
        case "running":
            return f"runs: {counts} so far" if not replay.waiting else f"waits, because {replay.waiting}"
        case "paused":
            return f"stopped by itself: {replay.last_error}; {counts}"
        case "failed":
            return f"cannot run: {replay.last_error}"
        case "cancelled":
            return f"was cancelled: {counts}"
        case _:
            return f"is done: {counts}"
