"""A short run of ``python -m tests.slowloris``, with its control beside it."""

import asyncio
from pathlib import Path

from tests.slowloris.run import OWN, Plan, run


def test_slow_senders_are_let_go(tmp_path: Path) -> None:
    """Whoever does not finish a head is let go when it is late, and honest requests are answered meanwhile.

    The control: where bodies have all the time in the world, they are found to be kept."""
    limits = 'header_timeout = "500ms"\nbody_timeout = "5m"'
    done = asyncio.run(run(tmp_path, Plan(connections=120, alone_s=0.5, patience_s=4.0, limits=limits), print))
    (phase,) = done.phases
    assert (phase.name, phase.refused) == (OWN, 0)
    assert phase.requests > 0
    assert "connections never ended" in phase.wrong
    for kind, kept in phase.kept.items():
        assert kept.opened == 30
        assert kept.ended == (0 if "body" in kind else 30), kind
        assert kept.longest_s > 0.25, kind  # by the sender's clock, which begins after the gateway's
