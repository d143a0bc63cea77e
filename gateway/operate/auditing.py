"""``audit``: count everything again while the gateway goes on working.

The log is counted up to the sequence number the account had, so what comes in between is not missing. What retention
removes in between explains that many entries. A subscriber's structures are read one after the other, so while it is
being delivered to they may contradict each other for a moment: such a finding counts only if it is there again at every
look, or if nothing moved.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from gateway.intake.spool_folder import FolderView
from gateway.operate.audit import Audit, audit
from gateway.operate.sight import Sight
from gateway.store.ledger import Account, SubscriberAccount
from gateway.store.recount import Recount, SubscriberRecount, recount

LOOKS = 3
BETWEEN_S = 0.1


class Look(msgspec.Struct, frozen=True):
    """One partition, looked at once."""

    before: Account
    found: Recount
    after: Account


async def run_audit(sight: Sight) -> Audit:
    """Recount all partitions. Raises ``StoreUnavailable``."""
    looks, folder = await _look(sight)
    shaky = shaky_in(looks)
    for _ in range(LOOKS - 1):
        if not shaky:
            break
        await asyncio.sleep(BETWEEN_S)
        looks, folder = await _look(sight)
        shaky &= shaky_in(looks)
    accounts, recounts = zip(*[reconcile(number, look, shaky) for number, look in enumerate(looks)], strict=True)
    result = audit(accounts, recounts, sight.wall_ms())
    result.findings += folder.findings
    result.findings += [f"spool: {name} cannot be read: {why}" for name, why in sorted(folder.unreadable.items())]
    result.ledger.unaccounted += folder.unaccounted
    return result


async def _look(sight: Sight) -> tuple[list[Look], FolderView]:
    folder = await sight.spooled(recount=True)
    before = await sight.accounts(folder.lines)
    found = [
        await recount(sight.store, keys, set(account.subscribers), account.seq)
        for keys, account in zip(sight.keys, before, strict=True)
    ]
    after = await sight.accounts()
    return [Look(*each) for each in zip(before, found, after, strict=True)], folder


def shaky_in(looks: Sequence[Look]) -> set[tuple[int, str]]:
    """Partition and name of each subscriber that shows a difference although it was moving."""
    return {
        (number, name)
        for number, look in enumerate(looks)
        for name, numbers in look.before.subscribers.items()
        if _differs(numbers, look.found.subscribers[name], look.before.seq) and not _still(look, name)
    }


def _differs(numbers: SubscriberAccount, found: SubscriberRecount, seq: int) -> bool:
    same = (numbers.parked, numbers.held, numbers.dead) == (found.parked, found.held, found.dead)
    return not same or bool(found.broken) or any(lost <= seq for lost in found.lost_references)


def _still(look: Look, name: str) -> bool:
    return look.before.subscribers[name] == look.after.subscribers.get(name)


def reconcile(number: int, look: Look, shaky: set[tuple[int, str]]) -> tuple[Account, Recount]:
    """The account and the recount of a partition, without what the movement between the two explains. Pure.

    ``shaky``: the subscribers that showed a difference at every look although they moved (``shaky_in``).
    """
    holes = look.before.seq - look.before.trimmed - look.found.entries
    trimmed = look.after.trimmed - look.before.trimmed
    # A recount that came before the trimming has no holes, one that came after it has as many as were trimmed.
    explained = min(max(holes, 0), trimmed)
    subscribers = {}
    for name, found in look.found.subscribers.items():
        numbers = look.before.subscribers[name]
        lost = tuple(seq for seq in found.lost_references if seq <= look.before.seq)
        still = _still(look, name)
        if still or (number, name) in shaky:
            kept = msgspec.structs.replace(found, lost_references=lost)
        else:
            # It moved, and what seemed wrong was not there at every look. The account's own numbers were read in one
            # step from the structures themselves.
            kept = msgspec.structs.replace(found, lost_references=(), broken=())
        if not still:
            kept = msgspec.structs.replace(kept, parked=numbers.parked, held=numbers.held, dead=numbers.dead)
        subscribers[name] = kept
    found_log = msgspec.structs.replace(look.found, entries=look.found.entries + explained, subscribers=subscribers)
    return look.before, found_log
