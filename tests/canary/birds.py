"""Recognisable secrets, and the search for them in any form in which a secret slips out."""

import base64
import secrets
import urllib.parse
from collections.abc import Iterable, Mapping


class Birds:
    """One canary for each kind of secret there is, new in every run."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        """Secret → what it is."""
        self._forms: dict[str, list[bytes]] = {}

    def new(self, name: str, prefix: str = "") -> str:
        """A secret of this name."""
        return self.add(name, f"{prefix}CANARY{secrets.token_hex(12)}")

    def whsec(self, name: str) -> str:
        """A signing secret whose key is recognisable too."""
        key = f"CANARY{secrets.token_hex(12)}"
        self.add(f"the key of {name}", key)
        return self.add(name, "whsec_" + base64.b64encode(key.encode()).decode())

    def add(self, name: str, secret: str) -> str:
        """One that was made elsewhere."""
        self._names[secret] = name
        self._forms[secret] = list(forms(secret))
        return secret

    def names(self) -> list[str]:
        """What there is."""
        return list(self._names.values())

    def found(self, text: bytes | str, *, but: Iterable[str] = ()) -> list[str]:
        """The names of those that stand in a text; without those named in ``but``."""
        haystack = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        return [
            name
            for secret, name in self._names.items()
            if name not in but and any(form in haystack for form in self._forms[secret])
        ]


def forms(secret: str) -> Iterable[bytes]:
    """The secret as it is, and as base64 (wherever it begins in what was encoded), hex, and in a URL."""
    core = secret.partition("_")[2] if secret.startswith(("whsec_", "whsk_")) else secret
    plain = core.encode()
    yield plain
    yield plain[::-1]
    yield plain.hex().encode()
    yield plain.hex().upper().encode()
    yield urllib.parse.quote(core, safe="").encode()
    yield "".join(f"%{byte:02X}" for byte in plain).encode()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + plain).rstrip(b"=")
        inner = encoded[4 if shift else 0 : len(encoded) - 2]  # the ends depend on the neighbours
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")


def leaks(birds: Birds, places: Mapping[str, bytes | str]) -> list[str]:
    """Every place in which one was found, in words."""
    return [f"{name} stands in {place}" for place, text in places.items() for name in birds.found(text)]
