"""Whom to kill, and when: decided by the seed, before anything runs."""

import os
import random
import signal
from pathlib import Path
from typing import Literal

import msgspec

from tests.support.processes import store_pids

Victim = Literal["gateway", "store"]

STARTING_PART = 0.15
"""This part of the kills of a gateway hits it while it starts."""
STARTING_S = 1.0
SERVING_LEAST_S = 0.02
SERVING_MOST_S = 1.0


class Kill(msgspec.Struct, frozen=True):
    """One kill."""

    victim: Victim
    starting: bool
    """While the gateway starts; else once it serves."""
    after_s: float
    """So long after the start of the process, or after it was ready."""


def plan(gateways: int, stores: int, chance: random.Random, *, serving_most_s: float = SERVING_MOST_S) -> list[Kill]:
    """So many kills of each, in an order and at moments that ``chance`` decides; each at most so long after the gateway
    was ready."""
    victims: list[Victim] = ["gateway" for _ in range(gateways)]
    victims += ["store" for _ in range(stores)]
    chance.shuffle(victims)
    kills = []
    for victim in victims:
        starting = victim == "gateway" and chance.random() < STARTING_PART
        after_s = chance.uniform(0, STARTING_S) if starting else chance.uniform(SERVING_LEAST_S, serving_most_s)
        kills.append(Kill(victim, starting, after_s))
    return kills


def kill_store(data: Path) -> bool:
    """kill -9 of the server on this directory, found among the processes; whether there was one."""
    for pid in store_pids(data):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        return True
    return False
