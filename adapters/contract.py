"""What an adapter is, and how to write one.

An adapter is a module with one frozen object, ``ADAPTER``. It knows everything about one provider and does no I/O: it
opens no socket, reads no clock, writes no log. What it needs to know is handed to it; what it finds out it returns.

The way of one request through an adapter::

    key_wanted(request, source)            -> the URL of a public key, or None        (most providers: None)
    verify(request, source, keys, now_ms)  -> Proof         or raises NotProven
    normalise(verified)                    -> [Draft, …]    or Ignored(reason), or raises Unmappable

and, the other way round, for the simulator and the tests::

    sample(case, seed)                     -> the body of a request the provider could send
    sign(body, source, now_ms)             -> the headers that prove it

To add a provider:

1. Write ``adapters/<name>.py`` with ``ADAPTER = Adapter(name="<name>", …)``. Mark in its docstring what the provider
   documents (D, with the page) and what you inferred (I).
   What a body holds, and a sample of every event, goes to ``schemas/<name>.py``; ``sampling.fill`` makes fresh ones.
2. Prove over the *raw bytes* of ``request.body``, never over a re-encoding, and compare bytes with ``secrets_equal``
   (``proving.check_hmac`` does both). The algorithm comes from the adapter or the source's settings, never from the
   request. Any input whatever may only end in a ``Proof`` or in ``NotProven``.
3. Map with tables: provider's name → canonical type; a second table of names that are ignored on purpose, each with its
   reason; everything else becomes ``other`` and is kept. Read tolerantly, with ``reading``: unknown fields are not
   errors, and a value of the wrong type counts as absent. Where a second field decides the type, a name in the table is
   ``<name>.<value>``.
4. Choose the dedupe parts: the provider's name of the event first; then an id that is *documented* as unique, with the
   account. Where that is inferred, add the account and ``body_sha256`` too: two events too many are harmless, one
   dropped too many is a loss. A part that is missing (``None`` or empty) is replaced by the body's hash.
5. Put one folder a case under ``tests/fixtures/<name>/<event>__<variant>/``: ``body.raw`` and ``headers.json`` exactly
   as sent, ``expected.json``, and ``about.toml`` with where it comes from and how the signature was made with another
   tool (``gateway/conformance/cases.py`` shows one). With ``[]`` in ``expected.json`` the suite shows what to read, and
   then to copy. The conformance suite finds adapter and cases by itself and names
   the clause that fails. Outside this repository one line does it:
   ``TestAcme = gateway.testing.adapter_suite("acme.py", Path("fixtures"))``.

What of these rules a run can show is a clause in ``gateway/conformance/``, and each clause has an adapter that
breaks it in ``tests/broken_adapters/``.
"""

import hashlib
import hmac
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal, Protocol

import msgspec

from schemas.event import Data


class NotProven(Exception):
    """The request does not prove that the provider sent it. ``reason`` is for operators, never for the sender.

    Answered 401, with the same body whatever the reason. Never put a secret or a signature in the reason.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unmappable(Exception):
    """Proven, but not readable as any event: not a JSON object, or a mapped type whose object cannot be read.

    The exact bytes go to quarantine and the provider is answered 200. ``reason`` is for operators.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Request(msgspec.Struct, frozen=True, gc=False):
    """One inbound HTTP request, as far as an adapter may see it."""

    headers: tuple[tuple[bytes, bytes], ...]
    """Names in lower case, values as received, in order, repeats kept."""
    body: bytes
    """The whole body, byte for byte."""
    path_token: bytes | None = None
    """The last segment of ``/in/{source}/{token}``; ``None`` without one."""
    client_ip: str | None = None
    """The sender's address (behind a trusted proxy: the one the proxy names)."""

    def __repr__(self) -> str:
        """Names and sizes: headers and path token may be secrets, and a body is somebody's conversation."""
        names = ", ".join(name.decode("latin-1") for name, _ in self.headers)
        return f"Request({len(self.body)} bytes, headers {names})"

    def header(self, name: bytes) -> bytes | None:
        """The value of the header ``name`` (lower case), or ``None``.

        Raises ``NotProven`` if it stands there twice: two signatures leave open which one was meant.
        """
        found: bytes | None = None
        for key, value in self.headers:
            if key == name:
                if found is not None:
                    raise NotProven(f"the header {name.decode('latin-1')} stands there more than once")
                found = value
        return found


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One configured inbound URL, as far as its adapter may see it: the settings of ``[sources.<name>]``, resolved.

    Secrets are here in the clear (an adapter needs them), so this object is never logged: its ``repr`` hides them.
    """

    name: str
    secrets: tuple[bytes, ...] = ()
    """Alternatives: any one of them proves. Newest first."""
    header: bytes | None = None
    """For adapters that compare a header: its name in lower case."""
    accounts: tuple[str, ...] = ()
    """Provider-side accounts that may use this source, where the proof is shared by all customers of a provider."""
    environment: str = "production"
    public_key: bytes | None = None
    """A pinned public key in PEM, instead of fetching."""
    path_token_sha256: bytes | None = None
    """SHA-256 of the path token; the token itself is not kept."""
    allow_ips: tuple[IPv4Network | IPv6Network, ...] = ()
    unauthenticated: bool = False
    """Somebody typed ``unauthenticated = true``: no proof is asked for."""
    options: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Settings that only this adapter knows, as its ``settings`` declare them."""

    def __repr__(self) -> str:
        return f"Source(name={self.name!r}, …)"


class Proof(msgspec.Struct, frozen=True):
    """That the provider sent it, and how we know."""

    method: str
    """For ``provenance.verified``: ``hmac-sha256``, ``header``, ``rsa-sha256``, ``path-token+address`` …"""


Keys = Mapping[str, bytes]
"""Public keys that were asked for with ``key_wanted``: URL → PEM. A URL that is missing had no key there (404)."""


class VerifiedRequest(msgspec.Struct, frozen=True, gc=False):
    """A request whose proof was seen to hold. Made by ``prove`` and nowhere else (a test looks)."""

    request: Request
    source: Source
    proof: Proof
    body_sha256: str
    """Lower-case hex of SHA-256 over the body."""

    @property
    def body(self) -> bytes:
        """The whole body, byte for byte."""
        return self.request.body


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """One event as an adapter sees it: everything but id, source, received_at and the rest of provenance."""

    type: str
    data: Data
    dedupe: tuple[str | None, ...]
    """What makes this event this event, the provider's name of it first. Missing parts become the body's hash."""
    raw: Any
    """What the provider sent for this event, decoded and redacted."""
    provider_type: str | None
    provider_id: str | None = None
    occurred_at: str | None = None
    """In the canonical form (``schemas.timestamps``); ``None`` if the provider states no time."""
    account: str | None = None
    channel: str | None = None
    ordering_key: str | None = None
    """A function of fields that a retry does not change; ``None``: no order."""
    origin: Literal["live", "backfill", "test"] = "live"


class Ignored(msgspec.Struct, frozen=True):
    """Understood, and not worth an event: counted, answered 200, not kept."""

    provider_type: str
    reason: str


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One setting of ``[sources.<name>]`` that an adapter understands."""

    name: str
    """``secrets``, ``header``, ``accounts``, ``environment``, ``public_key``, ``path_token``, ``allow_ips`` fill the
    fields of ``Source`` of that name; any other name lands in ``Source.options``."""
    kind: Literal["secrets", "secret", "text", "texts", "file", "networks", "flag"]
    doc: str
    example: str
    """The line to write, in TOML, as shown by ``gateway init`` and by errors."""
    required: bool = False
    proof: bool = False
    """Whether it proves a request by itself. A source needs at least one such, or ``unauthenticated = true``."""
    choices: tuple[str, ...] = ()


class KeyWanted(Protocol):
    """Name the public key a request needs; ``None`` if none. Raises ``NotProven`` if it names a place not allowed."""

    def __call__(self, request: Request, source: Source) -> str | None: ...


class Verify(Protocol):
    """Check every configured proof. Raises ``NotProven`` and nothing else, for any input."""

    def __call__(self, request: Request, source: Source, keys: Keys, now_ms: int) -> Proof: ...


class Normalise(Protocol):
    """Say what a proven request means. Raises ``Unmappable`` and nothing else."""

    def __call__(self, verified: VerifiedRequest) -> list[Draft] | Ignored: ...


class Sample(Protocol):
    """The body of a request of ``case``; another ``seed``, another event. Pure: same arguments, same bytes."""

    def __call__(self, case: str, seed: int) -> bytes: ...


class Sign(Protocol):
    """The headers that prove ``body`` to ``source`` (names in lower case), including ``content-type``."""

    def __call__(self, body: bytes, source: Source, now_ms: int) -> dict[str, str]: ...


def no_key_wanted(request: Request, source: Source) -> str | None:
    """For the adapters that need no public key."""
    return None


class Adapter(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one provider."""

    name: str
    """Equal to the module's name; the ``adapter = "…"`` of the config and ``provider`` of every event."""
    version: int
    """Raised when the same body would give another event or another id."""
    title: str
    documentation: tuple[str, ...]
    """Pages where the provider documents its webhooks."""
    proven_by: str
    """One sentence: how a request is proven."""
    settings: tuple[Setting, ...]
    ack_deadline_s: float | None
    """How long the provider waits for the answer; ``None``: not documented."""
    retry_horizon_s: int
    """How long after the first attempt the last retry comes; 0: documents no retries, so none may be hoped for."""
    redacts: tuple[str, ...]
    """What ``normalise`` masks in raw, as dotted paths."""
    event_map: Mapping[str, str]
    """Provider's name → canonical type. Names that a rule maps are given by an example of each."""
    ignored: Mapping[str, str]
    """Provider's name → reason why it is not worth an event."""
    cases: tuple[str, ...]
    """What ``sample`` can make: the names of the fixture folders."""
    verify: Verify
    normalise: Normalise
    sample: Sample
    sign: Sign
    key_wanted: KeyWanted = no_key_wanted
    setup: str = ""
    """What an operator does at the provider: printed by ``gateway urls``, with ``{url}`` for the URL to paste."""
    management: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Documented API calls to register the URL, for ``gateway urls``: what → how."""


def prove(adapter: Adapter, request: Request, source: Source, keys: Keys, now_ms: int) -> VerifiedRequest:
    """The only maker of a ``VerifiedRequest``. Raises ``NotProven``."""
    proof = adapter.verify(request, source, keys, now_ms)
    return VerifiedRequest(request, source, proof, hashlib.sha256(request.body).hexdigest())


def secrets_equal(given: bytes, wanted: bytes) -> bool:
    """Compare in constant time, over the whole of both; an empty value equals nothing.

    Bytes, because ``hmac.compare_digest`` raises ``TypeError`` for text outside ASCII, and a sender chooses the text.
    """
    return len(wanted) > 0 and hmac.compare_digest(given, wanted)


REDACTED = "[redacted]"
"""What stands in raw where a value was masked."""
