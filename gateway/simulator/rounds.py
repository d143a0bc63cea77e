"""What the simulated providers send in one round. Pure: the same arguments, the same plan.

A round has every event name of every provider once, the providers taking turns. From round to round an event's variants
take turns too. Three requests are odd on purpose, so that every term of the equation is seen: one is sent twice, one is
signed with a wrong secret, one is signed well but breaks off in the middle.
"""

import random
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest

import msgspec

from gateway.simulator.lines import Purpose

_ODD: tuple[tuple[int, Purpose], ...] = ((4, "wrong_signature"), (9, "not_json"))
"""Where in a round an odd request stands."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One request to send."""

    source: str
    case: str
    seed: int
    """The same seed, the same body: a ``retry`` has that of the step it repeats."""
    purpose: Purpose = "sample"


def plan(cases: Mapping[str, Sequence[str]], spoilable: Sequence[str], number: int, seed: int) -> list[Step]:
    """Plan round ``number`` (from 0).

    ``cases`` are each source's cases; ``spoilable`` the sources whose requests a wrong secret or half a body spoils in
    the way wanted (those proven by secrets). Seeds are drawn from ``seed`` and ``number``.
    """
    draw = random.Random(f"{seed}/{number}")  # noqa: S311  a plan, not a secret
    turns = [
        [Step(source=source, case=case, seed=draw.getrandbits(48)) for case in _one_a_name(names, number)]
        for source, names in cases.items()
    ]
    steps = [step for step in chain.from_iterable(zip_longest(*turns)) if step is not None]
    if spoilable:
        names = {source: _one_a_name(cases[source], number) for source in spoilable}
        for at, purpose in _ODD:
            source = spoilable[(number + at) % len(spoilable)]
            odd = Step(source=source, case=names[source][0], seed=draw.getrandbits(48), purpose=purpose)
            steps.insert(min(at, len(steps)), odd)
    if steps:
        again = draw.randrange(min(len(steps), 4))  # before the odd ones: it repeats an ordinary request
        steps.insert(min(again + 3, len(steps)), msgspec.structs.replace(steps[again], purpose="retry"))
    return steps


def _one_a_name(cases: Sequence[str], number: int) -> list[str]:
    """One variant of each event name; in ``message.read__documented`` the variant is ``documented``."""
    variants: dict[str, list[str]] = {}
    for case in cases:
        variants.setdefault(case.split("__")[0], []).append(case)
    return [of_name[number % len(of_name)] for of_name in variants.values()]
