"""Committing rows of the spool: the first ones of a list, as many as go in one step."""

import itertools
from collections.abc import Mapping, Sequence

from gateway.intake.parting import parts_of
from gateway.intake.spool_file import Row
from gateway.store.log import Batch, PartitionLog


def parts_of_rows(rows: Sequence[Row], made_for: int, partitions: int) -> dict[int, dict[int, Batch]]:
    """Id of a row → its parts, for those that were made for another number of partitions and do not stay whole."""
    if made_for == partitions:
        return {}
    return {row.id: parts for row in rows if (parts := parts_of(row.partition, row.batch, partitions))}


async def repeat_first(
    logs: Sequence[PartitionLog], rows: Sequence[Row], parts: Mapping[int, dict[int, Batch]]
) -> tuple[int, Exception | None]:
    """Commit the first of ``rows``, which are of one partition: how many are in, and why the next one is not.

    Those of one committer go in one step; one that has ``parts`` goes alone. Raises ``StoreError``.
    """
    first = rows[0]
    if first.id in parts:
        return await _repeat_parts(logs, first, parts[first.id])
    same = itertools.takewhile(lambda row: row.committer == first.committer and row.id not in parts, rows)
    return await logs[first.partition].repeat(first.committer, [(row.number, row.batch) for row in same])


async def _repeat_parts(
    logs: Sequence[PartitionLog], row: Row, parts: Mapping[int, Batch]
) -> tuple[int, Exception | None]:
    """Commit the parts of a row in their order: its committer numbers batches of no other partition."""
    for number, part in parts.items():
        number_in, why_not = await logs[number].repeat(row.committer, [(row.number, part)])
        if not number_in:
            return 0, why_not
    return 1, None
