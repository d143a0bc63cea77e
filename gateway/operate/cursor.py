"""Cursors as the API gives them out: opaque text, checked when it comes back.

A cursor into the log is a boundary: one sequence number a partition, between what lies up to it and what comes after.
So the same one serves to read on, to read back, and as the ``id`` of a server-sent event.
"""

import base64
import binascii
import re
from collections.abc import Sequence

from gateway import problems
from gateway.operate.refusals import Refused

_LOG = re.compile(r"l:(\d{1,18}(?:,\d{1,18})*)")
_DEAD = re.compile(r"d:(\d{1,16}):([a-z0-9-]{1,63}):(\d{1,6}):(\d{1,18})")
_DELIVERIES = re.compile(r"y:([a-z0-9-]{1,63}):(\d{1,6}):(\d):(\d{1,16}):(\d{1,18})")
_REPLAY = re.compile(r"r:(\d{1,16}):(rpl_[a-z2-7]{1,32})")
_CHANGE = re.compile(r"c:(\d{1,16}-\d{1,18})")
_KEPT = re.compile(r"k:(\d{1,16})-(\d{1,18}):(\d{1,6})")


def write_log_cursor(boundary: Sequence[int]) -> str:
    """``boundary``: a sequence number a partition."""
    return _pack("l:" + ",".join(str(seq) for seq in boundary))


def read_log_cursor(text: str, partitions: int) -> list[int]:
    """The boundary in a cursor. Raises ``Refused``."""
    boundary = [int(seq) for seq in _match(_LOG, text)[1].split(",")]
    if len(boundary) != partitions:
        raise Refused(problems.BAD_REQUEST, "the cursor was made by a store with another number of partitions")
    return boundary


def write_dead_cursor(died_ms: int, subscriber: str, partition: int, seq: int) -> str:
    """The place of a dead letter in the list of all."""
    return _pack(f"d:{died_ms}:{subscriber}:{partition}:{seq}")


def read_dead_cursor(text: str) -> tuple[int, str, int, int]:
    """When it died, of which subscriber, partition, sequence number. Raises ``Refused``."""
    found = _match(_DEAD, text)
    return int(found[1]), found[2], int(found[3]), int(found[4])


def write_deliveries_cursor(subscriber: str, partition: int, state: int, score: int, seq: int) -> str:
    """The place of a delivery in the list of those that are not settled."""
    return _pack(f"y:{subscriber}:{partition}:{state}:{score}:{seq}")


def read_deliveries_cursor(text: str) -> tuple[str, int, int, int, int]:
    """Subscriber, partition, position of the state, score, sequence number. Raises ``Refused``."""
    found = _match(_DELIVERIES, text)
    return found[1], int(found[2]), int(found[3]), int(found[4]), int(found[5])


def write_kept_cursor(place: str, partition: int) -> str:
    """The place of a kept request: its stream id and its partition."""
    return _pack(f"k:{place}:{partition}")


def read_kept_cursor(text: str) -> tuple[int, int, int]:
    """The two halves of the stream id, and the partition. Raises ``Refused``."""
    found = _match(_KEPT, text)
    return int(found[1]), int(found[2]), int(found[3])


def write_replay_cursor(created_ms: int, replay_id: str) -> str:
    """The place of a replay in the list of all."""
    return _pack(f"r:{created_ms}:{replay_id}")


def read_replay_cursor(text: str) -> tuple[int, str]:
    """When it was made, and its id. Raises ``Refused``."""
    found = _match(_REPLAY, text)
    return int(found[1]), found[2]


def write_change_cursor(place: str) -> str:
    """The place of an entry in the list of changes: its stream id."""
    return _pack(f"c:{place}")


def read_change_cursor(text: str) -> str:
    """The stream id. Raises ``Refused``."""
    return _match(_CHANGE, text)[1]


def _pack(plain: str) -> str:
    return base64.urlsafe_b64encode(plain.encode()).rstrip(b"=").decode()


def _match(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    try:
        plain = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        plain = ""
    found = pattern.fullmatch(plain)
    if found is None:
        raise Refused(problems.BAD_REQUEST, "this is no cursor of this list; take it from the `next` of an answer")
    return found
