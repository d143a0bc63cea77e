"""What several tests of deliveries share."""

import pytest

from gateway.delivery import lane


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes look around five times as often, so that nobody waits a second to see what a second look shows."""
    monkeypatch.setattr(lane, "TICK_S", 0.05)
