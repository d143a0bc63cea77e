"""Fresh bodies from the samples in ``schemas/``, for the simulator and the tests. Pure: the seed decides everything.

A sample is an object in which some strings hold marks in angle brackets; ``fill`` writes them in:

==================  ==================================================================================================
``<id>``            16 hex digits, another for every case and seed
``<uuid>``          a UUID, another for every case and seed
``<ulid>``          26 characters as a ULID has them, another for every case and seed
``<again>``         another ULID, different from ``<ulid>``: the id of an attempt
``<time>``          a time on a fixed day, ISO 8601 with milliseconds; ``<later>`` is 5 s after it
``<epoch_s>``       the same time in seconds since the epoch
``<customer>``      one of 50 customers, two digits: so events of one conversation come again and again
``<phone>``         that customer's number, international, without ``+``
==================  ==================================================================================================
"""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from schemas.timestamps import format_ms

_MARK = re.compile(r"<(id|uuid|ulid|again|time|later|epoch_s|customer|phone)>")
_DAY_MS = 86_400_000
_FIRST_MS = 1_770_076_800_000
"""2026-02-03T00:00:00Z: the day of enviaai's samples."""
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def fill(samples: Mapping[str, Any], case: str, seed: int) -> bytes:
    """The sample ``case`` as compact JSON, its marks written in. Raises ``KeyError`` for a case that is not there."""
    parts = _split(msgspec.json.encode(samples[case]).decode())
    marks = _marks(case, seed)
    # every second part is the name of a mark
    return "".join(marks[part] if index % 2 else part for index, part in enumerate(parts)).encode()


@lru_cache(maxsize=256)
def _split(sample: str) -> list[str]:
    return _MARK.split(sample)


def _marks(case: str, seed: int) -> dict[str, str]:
    digest = hashlib.sha256(f"{case}/{seed}".encode()).hexdigest()
    at_ms = _FIRST_MS + seed % _DAY_MS
    customer = f"{seed % 50:02d}"
    return {
        "id": digest[:16],
        "uuid": f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}",
        "ulid": _ulid(digest[:32]),
        "again": _ulid(digest[32:]),
        "time": format_ms(at_ms),
        "later": format_ms(at_ms + 5_000),
        "epoch_s": str(at_ms // 1_000),
        "customer": customer,
        "phone": f"55119800000{customer}",
    }


def _ulid(hex_digits: str) -> str:
    number = int(hex_digits, 16)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
