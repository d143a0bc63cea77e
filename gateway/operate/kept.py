"""Quarantine and the rejected: lists for operators, the newest first. Known secrets in them are masked."""

from gateway.operate.cursor import read_kept_cursor, write_kept_cursor
from gateway.operate.masking import mask_headers, mask_text, secrets_of
from gateway.operate.sight import Sight
from gateway.operate.views import KeptItem, KeptPage
from gateway.store.quarantine import KeptAt, KeptRequests, Shelf


async def list_kept(sight: Sight, shelf: Shelf, after: str | None, limit: int) -> KeptPage:
    """Part of a shelf. Raises ``Refused``, ``StoreUnavailable``."""
    boundary = None if after is None else read_kept_cursor(after)
    found: list[tuple[tuple[int, int], int, KeptAt]] = []
    for number, keys in enumerate(sight.keys):
        before = None
        if boundary is not None:
            ms, n, partition = boundary
            # Of the same id, the lower partitions stood first in the list; a stream's `before` leaves its id out.
            before = f"{ms}-{n}" if number <= partition else f"{ms}-{n + 1}"
        for kept in await KeptRequests(sight.store, keys, shelf).list(before, limit + 1):
            ms_text, _, n_text = kept.id.partition("-")
            found.append(((int(ms_text), int(n_text)), number, kept))
    found.sort(key=lambda each: ((-each[0][0], -each[0][1]), each[1]))
    shown = found[:limit]
    secrets = secrets_of(sight.config)
    following = write_kept_cursor(shown[-1][2].id, shown[-1][1]) if len(found) > limit else None
    return KeptPage(items=[_item(kept, secrets) for _, _, kept in shown], next=following)


def _item(kept: KeptAt, secrets: tuple[str, ...]) -> KeptItem:
    meta = kept.meta
    return KeptItem(
        place=kept.id,
        request=meta.request,
        source=meta.source,
        adapter=meta.adapter,
        received_at=meta.received_at,
        reason=meta.reason,
        verified=meta.verified,
        client_ip=meta.client_ip,
        path_token=meta.path_token,
        headers=mask_headers(meta.headers),
        body_bytes=len(kept.body),
        body=mask_text(kept.body, secrets),
    )
