"""``gateway audit``: does the account agree with what is really there?"""

from collections.abc import Sequence

import msgspec

from gateway.store.ledger import Account, Ledger, make_ledger
from gateway.store.recount import Recount


class Audit(msgspec.Struct, kw_only=True):
    """The ledger, recounted."""

    ledger: Ledger
    findings: list[str]
    """Every difference, in words; empty when all is well."""


def audit(accounts: Sequence[Account], recounts: Sequence[Recount], now_ms: int) -> Audit:
    """Compare the account of each partition with its recount. Pure.

    ``unaccounted`` of the result counts events: each hole in the log once, however many subscribers it touches.
    """
    findings: list[str] = []
    ledger = make_ledger(accounts, now_ms)
    total = 0
    for number, (account, found) in enumerate(zip(accounts, recounts, strict=True)):
        holes = account.seq - account.trimmed - found.entries
        total += abs(holes)
        if holes:
            where = f", for one {found.missing[0]}" if found.missing else ""
            findings.append(f"partition {number}: {holes} of {account.seq} log entries are gone{where}")
        for name, numbers in account.subscribers.items():
            recounted = found.subscribers[name]
            line = msgspec.structs.replace(
                numbers, parked=recounted.parked, held=recounted.held, dead=recounted.dead
            ).lines(account.seq)
            explained = sum(1 for seq in found.missing if numbers.start < seq <= numbers.cursor)
            rest = max(0, abs(line.unaccounted) - explained)
            total += rest
            if line.unaccounted:
                findings.append(f"partition {number}: {name}: {line.unaccounted} offered events are in no place")
            findings += recounted.broken
            findings += [
                f"partition {number}: {name}: event {seq} is waited for, but not in the log"
                for seq in recounted.lost_references
            ]
    events = ledger.events
    rest = abs(events.produced - events.logged - events.duplicate - events.spooled)
    rest += abs(events.logged - sum(account.seq for account in accounts))
    if rest:
        findings.append(f"the counts of events differ by {rest}")
    ledger.unaccounted = total + rest
    return Audit(ledger=ledger, findings=findings)
