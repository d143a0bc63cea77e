"""What is sent: hostile requests by kind, each with the answers it may have, and honest ones."""

import hashlib
import json
from collections.abc import Mapping
from random import Random
from typing import Any

import msgspec

from adapters.contract import Adapter, Request, Source
from gateway.conformance.subject import paths, put
from gateway.intake.pipeline import Events, receive
from tests.forgeries.endpoint import SERVED
from tests.forgeries.genuine import PATH_TOKEN, as_pairs, sources
from tests.hostile.bodies import anywhere
from tests.hostile.framing import mutate, odd_head, smuggle
from tests.hostile.words import WORDS

HIDDEN = "hidden"
"""The source that only hidden requests go to: whatever it counts was smuggled."""
OPEN = "open"
"""The source that proves nothing."""
HIDDEN_SOURCE = Source(name=HIDDEN, secrets=(b"whs_of_the_hidden",))
SHARES = {"smuggled": 25, "mutated": 20, "odd head": 15, "body": 25, "words": 15}


class Message(msgspec.Struct, frozen=True):
    """One request to send."""

    kind: str
    wire: bytes
    allowed: frozenset[int] | None = None
    """The one answer it may have has one of these statuses; ``None``: any answers, or none, but no server's error."""


def post(source: str, body: bytes, headers: Mapping[str, str], *, close: bool = True) -> bytes:
    """An ordinary request."""
    name, given = sources()[source][1] if source in SERVED else None, dict(headers)
    path = f"/in/{source}" + (f"/{PATH_TOKEN.decode()}" if name is not None and name.path_token_sha256 else "")
    head = [f"POST {path} HTTP/1.1", "host: test", f"content-length: {len(body)}"]
    head += ["connection: close"] if close else []
    head += [f"{key}: {value}" for key, value in given.items()]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


class Maker:
    """Makes messages; the seed decides which, the clock signs them."""

    def __init__(self, seed: int) -> None:
        self._chance = Random(seed)
        self._known = {name: (adapter, signer) for name, (adapter, _, signer) in sources().items() if name in SERVED}
        self.enviaai: Adapter = self._known["enviaai"][0]
        self._number = seed * 10_000_000
        self.hiding: dict[str, str] = {}
        """Event id of a hidden request → how it was hidden."""
        self._kinds, self._weights = list(SHARES), list(SHARES.values())

    def message(self, now_ms: int) -> Message:
        """The next hostile one."""
        (kind,) = self._chance.choices(self._kinds, self._weights)
        if kind == "smuggled":
            event_id, hidden = self.hidden()
            what, wire = smuggle(b"/in/enviaai", hidden, self._chance)
            self.hiding[event_id] = f"{what}: {wire[:200]!r}"
            return Message(f"smuggled: {what}", wire)
        if kind == "mutated":
            return Message("mutated", mutate(self.honest(now_ms).wire, self._chance))
        if kind == "odd head":
            what, wire = odd_head(b"/in/enviaai", self._chance)
            return Message(f"odd head: {what}", wire)
        source = self._chance.choice((*self._known, OPEN))
        sample = self._sample(source)
        what = "JSON"
        if kind == "words":
            what, sample = self._with_word(sample)
        else:
            sample = anywhere(sample, self._chance)
        return self._authentic(f"{kind}: {what}", source, sample, now_ms)

    def honest(self, now_ms: int) -> Message:
        """A genuine request that nobody has sent yet."""
        source = self._chance.choice(list(self._known))
        return self._authentic("honest", source, self._sample(source), now_ms)

    def hidden(self) -> tuple[str, bytes]:
        """The event id and the bytes of a genuine request that nobody sends: it stands in another's body."""
        self._number += 1
        body = self.enviaai.sample("message.received__documented", self._number)
        headers = self.enviaai.sign(body, HIDDEN_SOURCE, 0)
        outcome = receive(Request(as_pairs(headers), body), HIDDEN_SOURCE, self.enviaai, {}, 0)
        assert isinstance(outcome, Events)
        return outcome.events[0].event.id, post(HIDDEN, body, headers, close=False)

    def _sample(self, source: str) -> bytes:
        adapter = self._known[source][0] if source in self._known else self._known["chat"][0]
        self._number += 1
        return adapter.sample(self._chance.choice(adapter.cases), self._number)

    def _with_word(self, sample: bytes) -> tuple[str, bytes]:
        document: Any = json.loads(sample)
        what, word = self._chance.choice(list(WORDS.items()))
        put(document, self._chance.choice(list(paths(document))), word)
        return what, json.dumps(document, ensure_ascii=self._chance.random() < 0.5).encode()

    def _authentic(self, kind: str, source: str, body: bytes, now_ms: int) -> Message:
        if source == OPEN:
            return Message(kind, post(OPEN, body, {"content-type": "application/json"}), frozenset({200, 400}))
        adapter, signer = self._known[source]
        # A brand that is not there, or not ours, is what its proof covers beside the signature.
        refusable = kind != "honest" and adapter.name == "flexengage"
        allowed = frozenset({200, 401} if refusable else {200})
        return Message(kind, post(source, body, adapter.sign(body, signer, now_ms)), allowed)


def digest(wire: bytes) -> str:
    """A short name for a message, to find it again by its seed."""
    return hashlib.sha256(wire).hexdigest()[:8]
