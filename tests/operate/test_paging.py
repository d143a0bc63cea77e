"""Large entries: an answer ends early rather than growing, and nothing is missed by it."""

import asyncio

from gateway.config import StoreSettings
from gateway.operate.paging import FIRST, LEAST, MOST, PAGE_BYTES, PageSize
from tests.operate.office import make_event, office
from tests.operate.test_events_api import walk


def test_the_page_grows_for_small_entries_and_shrinks_for_large_ones() -> None:
    """It starts small, grows at most fourfold at a time, and stays within its bounds."""
    page = PageSize()
    assert page.limit == FIRST
    page.saw([200] * FIRST)
    assert page.limit == 4 * FIRST
    for _ in range(5):
        page.saw([200] * page.limit)
    assert page.limit == MOST
    page.saw([PAGE_BYTES // 10] * 3)
    assert page.limit == 10
    page.saw([PAGE_BYTES])
    assert page.limit == LEAST
    page.saw([])
    assert page.limit == LEAST


def test_a_list_of_megabytes_comes_in_parts_and_whole(store_settings: StoreSettings) -> None:
    """Asked for 1 000, an answer holds as many as fit in 8 MiB or so; following ``next`` gives all, once."""

    async def run() -> None:
        async with office(store_settings) as at:
            logged = []
            for number in range(14):
                event = await at.log_made(make_event(number), {"blob": "x" * 1_000_000})
                logged.append(event.id)
                await at.keep("quarantined", number, b"x" * 1_000_000)
            for order, wanted in (("oldest", logged), ("newest", logged[::-1])):
                pages = await walk(at.reader, "/api/events", limit=1_000, raw="true", order=order)
                assert [each for page in pages for each in page] == wanted
                assert len(pages[0]) < 12
            first = (await at.operator.get("/api/quarantine?limit=1000")).json()
            assert len(first["items"]) < 12
            rest = (await at.operator.get("/api/quarantine", params={"after": first["next"]})).json()
            assert len(first["items"]) + len(rest["items"]) == 14
            assert rest["next"] is None

    asyncio.run(run())


def test_a_search_that_finds_little_still_ends(store_settings: StoreSettings) -> None:
    """Among many events of other types the few wanted are found, over as many pages as it takes."""

    async def run() -> None:
        async with office(store_settings) as at:
            for number in range(150):
                await at.log_event(number, "booking.created" if number % 70 == 0 else "message.read")
            for order in ("oldest", "newest"):
                pages = await walk(at.reader, "/api/events", type="booking.*", limit=2, order=order)
                assert sum(len(page) for page in pages) == 3

    asyncio.run(run())


def test_a_status_is_read_again_only_when_it_is_too_old(store_settings: StoreSettings) -> None:
    """Within the age that will do the same one is given, after it, or when the clock was set back, a new one."""

    async def run() -> None:
        async with office(store_settings) as at:
            first = await at.desk.status()
            assert await at.desk.status(max_age_ms=1_000) is first
            assert await at.desk.status() is not first
            second = await at.desk.status(max_age_ms=1_000)
            at.now_ms += 1_000
            third = await at.desk.status(max_age_ms=1_000)
            assert third is not second
            at.now_ms -= 60_000
            assert await at.desk.status(max_age_ms=1_000) is not third

    asyncio.run(run())
