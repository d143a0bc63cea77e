"""Faults on demand, at named points: what would happen if just this went wrong just here?

Wherever something leaves the process (a command to the store, a row of the spool, a delivery, a fetched key, a started
server) there is a boundary with two points, ``<boundary>.before`` and ``<boundary>.after``: before the effect, and when
it has happened and nobody here has acted on it yet. A point does nothing (14 ns; 53 ns where it can wait) unless the
environment armed it when the process started; no request and no file can::

    GATEWAY_FAULTS="commit.after=kill@3;settle.before=error;read.after=hang:6@2"

==============  ====================================================================================================
``kill``        SIGKILL to this process
``error``       raise what this boundary raises when it fails: after the effect that is a lost reply
``hang:<s>``    wait so many seconds; what else the process does goes on
==============  ====================================================================================================

``@<n>`` means the n-th time the point is passed; each happens once. What happens is told on standard error first, so
that whoever armed it knows that it did.
"""

import asyncio
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Literal

import msgspec

Side = Literal["before", "after"]
Error = Callable[[str], Exception]
"""Makes what the boundary raises when it fails."""

VARIABLE = "GATEWAY_FAULTS"
_ORDER = re.compile(r"([a-z_.]+\.(?:before|after))=(?:(kill)|(error)|hang:(\d+(?:\.\d+)?))(?:@(\d+))?")


Action = Literal["kill", "error", "hang"]


class Order(msgspec.Struct, frozen=True):
    """What is to happen at a point."""

    action: Action
    at: int = 1
    """The how many-th time."""
    hang_s: float = 0.0


_armed: dict[str, Order] = {}
_passed: Counter[str] = Counter()
_lock = threading.Lock()


def read_orders(text: str) -> dict[str, Order]:
    """Point → order. Raises ``ValueError``, naming what is not an order."""
    orders: dict[str, Order] = {}
    for part in filter(None, text.split(";")):
        found = _ORDER.fullmatch(part)
        if found is None:
            raise ValueError(f"{VARIABLE}: {part!r} is not of the form <point>=kill|error|hang:<seconds>[@<n>]")
        point, kill, error, hang_s, at = found.groups()
        action: Action = "kill" if kill else "error" if error else "hang"
        orders[point] = Order(action, int(at or 1), float(hang_s or 0))
    return orders


def arm(text: str) -> None:
    """Arm these points, and no others. Raises ``ValueError``."""
    orders = read_orders(text)
    with _lock:
        _armed.clear()
        _passed.clear()
        _armed.update(orders)


def fault(boundary: str, side: Side, error: Error) -> None:
    """A point where this thread may wait: it hangs the thread."""
    if _armed:
        time.sleep(_strike(boundary, side, error))


async def fault_in_loop(boundary: str, side: Side, error: Error) -> None:
    """A point in the event loop: it hangs this task, and nothing else."""
    if _armed:
        await asyncio.sleep(_strike(boundary, side, error))


def _strike(boundary: str, side: Side, error: Error) -> float:
    """Do what is to be done here. Returns how many seconds to wait."""
    point = f"{boundary}.{side}"
    with _lock:  # the spool's thread passes points too
        order = _armed.get(point)
        if order is None:
            return 0.0
        _passed[point] += 1
        if _passed[point] != order.at:
            return 0.0
    os.write(2, f"fault {point} {order.action}\n".encode())
    if order.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if order.action == "error":
        raise error(f"the fault {point}")
    return order.hang_s


arm(os.environ.get(VARIABLE, ""))
