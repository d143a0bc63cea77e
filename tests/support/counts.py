"""Numbers on the command line of a proof: what proves nothing is refused with a sentence, not run."""

import math
from argparse import ArgumentTypeError
from collections.abc import Callable


def at_least(least: int) -> Callable[[str], int]:
    """A type for ``argparse``: a whole number of at least ``least``."""

    def read(written: str) -> int:
        try:
            number = int(written)
        except ValueError:
            number = least - 1
        if number < least:
            raise ArgumentTypeError(f"{written} is not a whole number of at least {least}")
        return number

    return read


def above_zero(written: str) -> float:
    """A type for ``argparse``: a rate or a time, more than nothing and not endless."""
    try:
        number = float(written)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise ArgumentTypeError(f"{written} is not a number above 0")
    return number
