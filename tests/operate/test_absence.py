"""What is said while the store cannot be asked."""

import asyncio

import pytest
from redis.exceptions import ResponseError

from gateway.config import StoreSettings
from gateway.errors import StoreError, StoreMismatch, StoreUnavailable
from gateway.operate.absence import store_away
from gateway.operate.refusals import explain
from gateway.store.connection import unavailable
from tests.operate.office import office

READONLY = "READONLY You can't write against a read only replica."


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (unavailable(ResponseError(READONLY)), f"the store refuses: {READONLY}"),
        (StoreMismatch("the store was first used with partitions = 3"), "the store was first used with partitions = 3"),
        (StoreUnavailable("the store did not answer: no /run/valkey.sock"), "it does not answer"),
    ],
)
def test_why_the_store_cannot_be_asked_is_said_in_its_own_words(
    store_settings: StoreSettings, error: StoreError, why: str
) -> None:
    """One that refuses does answer: whoever reads otherwise looks for the fault in the wrong place. Why another is not
    heard names places of this machine, and is not for everybody."""

    async def run() -> None:
        async with office(store_settings) as at:
            away = await store_away(at.desk.sight, error)
            assert away.absence.away == f"({why})"
            assert why in away.detail
            if isinstance(error, StoreUnavailable):
                assert why in explain(error)[1]

    asyncio.run(run())
