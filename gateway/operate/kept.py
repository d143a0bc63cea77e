"""Quarantine and the rejected: lists for operators, the newest first. Known secrets in them are masked."""

from collections import deque

from gateway.operate.cursor import read_kept_cursor, write_kept_cursor
from gateway.operate.masking import mask_headers, mask_text, secrets_of
from gateway.operate.paging import ANSWER_BYTES, PageSize
from gateway.operate.sight import Sight
from gateway.operate.views import KeptItem, KeptPage
from gateway.store.quarantine import KeptAt, KeptRequests, Shelf


class _Reader:
    """One partition's shelf, read from a place back."""

    def __init__(self, number: int, kept: KeptRequests, before: str | None) -> None:
        self.number = number
        self._kept = kept
        self._before = before
        self._page = PageSize()
        self._done = False
        self._waiting: deque[KeptAt] = deque()

    async def first(self) -> KeptAt | None:
        """The newest that is left."""
        if not self._waiting and not self._done:
            page = await self._kept.list(self._before, self._page.limit)
            self._done = len(page) < self._page.limit
            self._page.saw([len(each.body) for each in page])
            self._waiting.extend(page)
            if page:
                self._before = page[-1].id
        return self._waiting[0] if self._waiting else None

    def take(self) -> KeptAt:
        """Take it."""
        return self._waiting.popleft()


async def list_kept(sight: Sight, shelf: Shelf, after: str | None, limit: int) -> KeptPage:
    """Part of a shelf. Raises ``Refused``, ``StoreUnavailable``."""
    boundary = None if after is None else read_kept_cursor(after)
    readers = []
    for number, keys in enumerate(sight.keys):
        before = None
        if boundary is not None:
            ms, n, partition = boundary
            # Of the same id, the lower partitions stood first in the list; a stream's `before` leaves its id out.
            before = f"{ms}-{n}" if number <= partition else f"{ms}-{n + 1}"
            if before == "0-0":
                continue  # nothing lies before the first place there can be
        readers.append(_Reader(number, KeptRequests(sight.store, keys, shelf), before))
    secrets = secrets_of(sight.config)
    items: list[KeptItem] = []
    taken_bytes = 0
    last: str | None = None
    while True:
        ready = [(reader, kept) for reader in readers if (kept := await reader.first()) is not None]
        if not ready:
            return KeptPage(items=items, next=None)
        if len(items) == limit or taken_bytes > ANSWER_BYTES:
            return KeptPage(items=items, next=last)
        reader, kept = max(ready, key=lambda each: (_order(each[1].id), -each[0].number))
        reader.take()
        items.append(_item(kept, secrets))
        taken_bytes += len(kept.body)
        last = write_kept_cursor(kept.id, reader.number)


def _order(place: str) -> tuple[int, int]:
    ms, _, n = place.partition("-")
    return int(ms), int(n)


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
