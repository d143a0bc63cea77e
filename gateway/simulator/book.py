"""The gateway's ledger as the demo reads it: over the API, with a token, and patiently while the store is away."""

from collections.abc import Callable
from typing import Any

import httpx
import msgspec

from gateway.simulator.children import Failed, Stopwatch

_EVERY_S = 0.5
PATIENCE_S = 30.0
"""How long the ledger may be unreadable: a store that is started again takes a moment."""


class Book:
    """The ledger as last read."""

    def __init__(self, api: httpx.AsyncClient, say: Callable[[str, str], None]) -> None:
        self._api = api
        self._say = say
        self._since_read: Stopwatch | None = None
        self._failing: Stopwatch | None = None
        self.ledger: dict[str, Any] | None = None

    @property
    def settled(self) -> bool:
        """Whether it could be read just now, and no delivery is pending."""
        if self.ledger is None or self._failing is not None:
            return False
        return not any(counts["pending"] for counts in self.ledger["subscribers"].values())

    async def read(self, *, now: bool = False) -> None:
        """Read it again, at most twice a second unless it must be ``now``.

        Raises ``Failed`` once it has been unreadable for ``PATIENCE_S``.
        """
        if not now and self._since_read is not None and self._since_read() < _EVERY_S:
            return
        self._since_read = Stopwatch()
        try:
            response = await self._api.get("/api/ledger")
            response.raise_for_status()
            self.ledger = msgspec.json.decode(response.content)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            self._failed(f"{type(error).__name__}: {str(error).splitlines()[0]}")
        else:
            if self._failing is not None:
                self._say("the ledger can be read again", "green")
            self._failing = None

    def _failed(self, why: str) -> None:
        if self._failing is None:
            self._failing = Stopwatch()
            self._say(f"the ledger cannot be read ({why}); trying on", "yellow")
        elif self._failing() > PATIENCE_S:
            raise Failed(f"the gateway's ledger could not be read for {PATIENCE_S:g} s: {why}")
