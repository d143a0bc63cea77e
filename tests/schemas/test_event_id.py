"""An event's id: a function of its dedupe parts, told by another implementation of the same definition."""

import base64
import hashlib
import json

import pytest

from schemas.event import event_id

PARTS = [["enviaai-br", "message.received", "msg_abc123"], ["a"], ["", ""], ["ü", "\u2028", '"'], ["x"] * 50]


def test_the_known_answer() -> None:
    """The id that the design pins."""
    assert event_id(["enviaai-br", "message.received", "msg_abc123"]) == "evt_hdvgbpm7wgvb2yt2wqsgnew4cu"


@pytest.mark.parametrize("parts", [*PARTS, *[["s", str(number)] for number in range(64)]])
def test_it_is_base32_of_half_a_sha256_of_the_json(parts: list[str]) -> None:
    """The standard library's base32, slower, says the same: 26 letters for 16 bytes, lower case, no padding."""
    document = json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()
    letters = base64.b32encode(hashlib.sha256(document).digest()[:16]).decode().rstrip("=").lower()
    assert event_id(parts) == f"evt_{letters}"
    assert event_id(tuple(parts)) == event_id(parts)


def test_where_one_part_ends_counts() -> None:
    """Parts are not run together: the same letters cut elsewhere are another event."""
    assert len({event_id(parts) for parts in (["ab", "c"], ["a", "bc"], ["abc"], ["ab", "c", ""])}) == 4
