"""Answers that repeat what they were sent: a subscriber's own secrets are taken out before an answer is kept.

Servers that show a request back (for debugging, in an error page) show its headers and its URL. What is kept of an
answer is seen by whoever may look, so what only we and the subscriber know must not be in it.
"""

import base64
import re
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

from gateway.config import SubscriberSettings

MARK = b"[credential]"
"""As ``operate/masking.py`` has it."""
SHORTEST = 6
"""Characters. A shorter one would be found in half of any text, and is no secret."""
SHORTEST_PART = 16
"""Characters of a part of the URL's path: that of a chat's incoming webhook is a secret, ``hooks`` is a word."""


class Echoes:
    """What must not be seen in the answers of one subscriber."""

    def __init__(self, settings: SubscriberSettings) -> None:
        parts = urlsplit(settings.url)
        found = [*settings.secrets, *(secret.partition("_")[2] for secret in settings.secrets)]
        found += [value for _, value in settings.headers]
        found += [value.partition(" ")[2] for _, value in settings.headers]  # of "Bearer …" what follows
        found += [part for part in parts.path.split("/") if len(part) >= SHORTEST_PART]
        found += [parts.query, *(value for _, value in parse_qsl(parts.query))]
        forms = {form for text in found if len(text) >= SHORTEST for form in _forms(text)}
        whole = b"|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
        self._pattern = re.compile(whole) if whole else None

    def hide(self, answer: bytes) -> bytes:
        """The answer without them."""
        return answer if self._pattern is None else self._pattern.sub(MARK, answer)


def _forms(text: str) -> Sequence[bytes]:
    plain = text.encode("utf-8", "surrogateescape")
    return (
        plain,
        plain.replace(b"/", b"\\/"),  # as some write it in JSON
        plain.replace(b"&", b"\\u0026"),
        plain.replace(b"&", b"&amp;"),
        base64.b64encode(plain),
    )
