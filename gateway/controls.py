r"""Control characters in what comes from outside, written as ``\uXXXX`` before somebody is shown it.

A terminal obeys them, and the characters that turn the direction of writing let a text read as another. Inside JSON's
strings the escapes are valid.
"""

import re

_OTHERS = r"\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff"
_ALL = re.compile(rf"[\x00-\x1f{_OTHERS}]")
_BUT_LAYOUT = re.compile(rf"[\x00-\x08\x0b-\x1f{_OTHERS}]")


def escape_controls(text: str, *, keep_layout: bool = False) -> str:
    """Escape them all; ``keep_layout``: but for newlines and tabs."""
    return (_BUT_LAYOUT if keep_layout else _ALL).sub(lambda found: f"\\u{ord(found[0]):04x}", text)
