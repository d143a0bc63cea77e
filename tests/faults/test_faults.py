"""Points and orders: what they do, that nobody but the environment arms them, and that they cost nothing."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from gateway import faults
from gateway.faults import Order, arm, fault, fault_in_loop, read_orders
from tests.faults.points import GATEWAY, all_points, points_of


@pytest.fixture(autouse=True)
def unarmed() -> Iterator[None]:
    """Nothing stays armed."""
    yield
    arm("")


def test_orders_are_read() -> None:
    """Every form of an order, and several of them."""
    assert read_orders("commit.after=kill@3;spool.write.before=error;read.after=hang:0.5@2") == {
        "commit.after": Order("kill", 3),
        "spool.write.before": Order("error"),
        "read.after": Order("hang", 2, 0.5),
    }
    assert read_orders("") == {}


@pytest.mark.parametrize(
    "text", ["commit=kill", "commit.after", "commit.after=explode", "commit.after=hang", "a.after=kill@x"]
)
def test_what_is_no_order_is_refused(text: str) -> None:
    """A mistake in the variable must not look like a run without faults."""
    with pytest.raises(ValueError, match="GATEWAY_FAULTS"):
        read_orders(text)


def test_an_error_is_raised_once_at_its_time(capfd: pytest.CaptureFixture[str]) -> None:
    """The second passing fails with the boundary's own error, the others do nothing; and standard error tells."""
    arm("commit.after=error@2")
    fault("commit", "before", OSError)
    fault("commit", "after", OSError)
    with pytest.raises(OSError, match=r"the fault commit\.after"):
        fault("commit", "after", OSError)
    fault("commit", "after", OSError)
    assert capfd.readouterr().err == "fault commit.after error\n"


def test_a_hang_holds_its_task_up_and_nothing_else() -> None:
    """In the loop another task goes on; in a thread the thread waits."""
    arm("settle.before=hang:0.2;spool.write.before=hang:0.05")

    async def run() -> int:
        task = asyncio.create_task(fault_in_loop("settle", "before", OSError))
        turns = 0
        while not task.done():
            await asyncio.sleep(0.01)
            turns += 1
        return turns

    assert asyncio.run(run()) > 3
    began_s = time.monotonic()
    fault("spool.write", "before", OSError)
    assert time.monotonic() - began_s >= 0.05


def test_the_environment_arms_and_a_kill_kills() -> None:
    """A process that was started with the variable ends by SIGKILL at its point; one without goes on."""
    script = "from gateway.faults import fault\nfault('commit', 'after', OSError)\nprint('lives')"
    clean = {name: value for name, value in os.environ.items() if name != faults.VARIABLE}
    for text, code in (("", 0), ("commit.before=kill", 0), ("commit.after=kill", -signal.SIGKILL)):
        done = subprocess.run(
            [sys.executable, "-c", script], env={**clean, faults.VARIABLE: text}, capture_output=True, check=False
        )
        assert done.returncode == code


def test_nobody_else_arms_them() -> None:
    """Of the whole gateway only the module itself knows how."""
    others = [path for path in GATEWAY.rglob("*.py") if path.name != "faults.py"]
    assert [
        path for path in others if "faults.arm" in (text := path.read_text("utf-8")) or "GATEWAY_FAULTS" in text
    ] == []


def test_an_unarmed_point_costs_nothing() -> None:
    """Less than a microsecond on the slowest machine; 14 ns, and 53 ns in the loop, where it was measured."""
    number, best_ns = 20_000, 1e9
    for _ in range(5):
        began_ns = time.perf_counter_ns()
        for _ in range(number):
            fault("commit", "after", OSError)
        best_ns = min(best_ns, (time.perf_counter_ns() - began_ns) / number)
    assert best_ns < 1_000


def test_the_points_are_read_from_the_code() -> None:
    """Literal boundaries, and all scripts where the boundary is a script's name; each boundary has both sides."""
    assert points_of("fault('a.b', 'before', E)\nasync def f():\n    await fault_in_loop('c', 'after', E)") == [
        "a.b.before",
        "c.after",
    ]
    assert "commit.after" in points_of("fault_in_loop(name, 'after', E)")
    with pytest.raises(AssertionError):
        points_of("fault(other, 'after', E)")
    found = all_points()
    assert len(found) >= 56
    assert {point.rpartition(".")[0] + ".before" for point in found} <= set(found)
    assert {point.rpartition(".")[0] + ".after" for point in found} <= set(found)
    wanted = (
        "commit",
        "settle",
        "lease",
        "trim",
        "dead",
        "command",
        "attempt",
        "key",
        "launch",
        "spool.write",
        "spool.commit",
    )
    assert {f"{each}.after" for each in wanted} <= set(found)
