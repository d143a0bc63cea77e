"""``POST /in/{source}`` and ``/in/{source}/{token}``: one webhook from the socket to the answer.

The story of a request, in order, with the answer for each way it can end::

    the path names a configured source          else 404 unknown_source
    the method is POST                          else 405
    the source's rate is not used up            else 429
    no Content-Encoding                         else 415
    the body arrives, in bounds                 else 413 (late: 408, from the connection itself, ``wire.py``)
    bodies on their way leave memory for it     else 503
    the adapter's key, if it wants one, is had  else 503 (ours or the key host's fault: send it again)
    the proof holds                             else 401, the same answer whatever the cause; counted, sampled
    the source's rate allows one more           else 429
    it is mapped                                else 200 quarantined (400 for a source that proves nothing)
    it is in the log, fsynced                   else 503
    200

Whatever else goes wrong is our fault, and our faults are 503. So is a stop that cannot wait any longer for a request.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from adapters.contract import Adapter, Ignored, Keys, NotProven, Request, Source, no_key_wanted
from gateway import problems
from gateway.errors import IntakeFull, KeyUnavailable, StoreUnavailable
from gateway.intake.addresses import client_ip
from gateway.intake.bodies import Arriving, Bodies, Receive, throw_away
from gateway.intake.committer import Committer
from gateway.intake.noise import Noise
from gateway.intake.pipeline import Events, Item, Quarantined, Rejected, receive, request_id
from gateway.intake.rates import REJECTED_PER_S, REJECTED_WAIT_S, Bucket
from gateway.intake.refusal import Refusal
from gateway.problems import Problem
from gateway.store.layout import partition_of
from gateway.store.log import Kept, KeptRequest, NewEvent
from schemas.timestamps import format_ms

log = structlog.get_logger("gateway.intake")

Scope = Mapping[str, Any]
Send = Callable[[Any], Awaitable[None]]

SAMPLE_EVERY_MS = 100
"""Of the rejected requests of one source, one in this time is kept with its bytes."""

_PREFIX = b"/in/"
_OK_HEADERS = (b"content-type", b"application/json")


class KeySource(Protocol):
    """Where public keys come from (``intake/keys.py``)."""

    async def get(self, source_name: str, url: str) -> bytes | None:
        """The key in PEM; ``None`` if there is none at that URL. Raises ``KeyUnavailable``."""
        ...


class Inlet(msgspec.Struct, kw_only=True):
    """A configured source with all that the endpoint needs to serve it."""

    source: Source
    adapter: Adapter | None
    broken: str = ""
    """Why the adapter cannot be used; then every request is answered 503."""
    seen_ttl_s: int
    rate_per_s: float | None = None
    sampled_ms: int = 0
    bucket: Bucket | None = None
    """What is left of the rate."""
    rejected: Bucket | None = None
    """What is left of the rejected that are answered at once."""
    arriving: Arriving = msgspec.field(default_factory=Arriving)
    """Bodies that came in part."""


class EventAnswer(msgspec.Struct, frozen=True):
    """What became of one event."""

    id: str
    type: str
    status: str


class Answer(msgspec.Struct, frozen=True):
    """The body of a 200."""

    status: str
    request: str
    events: list[EventAnswer]


class Stats(msgspec.Struct):
    """What the endpoint answered since the process started, by status."""

    answers: dict[int, int]
    bytes: int = 0
    limited: dict[str, int] = {}
    """Requests answered 429, by source."""


class Endpoint:
    """The ASGI handler mounted at ``/in``."""

    def __init__(
        self,
        inlets: Mapping[str, Inlet],
        committers: Sequence[Committer],
        keys: KeySource,
        *,
        wall_ms: Callable[[], int],
        monotonic: Callable[[], float],
        max_body_bytes: int,
        trusted_proxies: Sequence[Any] = (),
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        """``inlets`` by name; ``committers`` one a partition; ``has_room`` says whether there is a place for more."""
        self._inlets: dict[bytes, Inlet] = {}
        self._monotonic = monotonic
        self.replace(inlets)
        self._committers = committers
        self._partitions = len(committers)
        self._keys = keys
        self._wall_ms = wall_ms
        self.bodies = Bodies(max_body_bytes)
        self._trusted_proxies = trusted_proxies
        self._has_room = has_room
        self._encode = msgspec.json.Encoder().encode
        self.stats = Stats({})
        self.noise = Noise()
        self._tells_all = bool(log.is_enabled_for(logging.DEBUG))
        """Asked once: a line that is not written would cost as much as the proof."""

    def replace(self, inlets: Mapping[str, Inlet]) -> None:
        """Serve these sources from the next request on. A request under way ends with the one it began with."""
        now_s = self._monotonic()
        for name, inlet in inlets.items():
            before = self._inlets.get(name.encode())
            if before is not None and before.rate_per_s == inlet.rate_per_s:
                inlet.bucket = before.bucket
            elif inlet.rate_per_s is not None:
                inlet.bucket = Bucket(inlet.rate_per_s, now_s)
            inlet.rejected = Bucket(REJECTED_PER_S, now_s) if before is None else before.rejected
            inlet.arriving = inlet.arriving if before is None else before.arriving
        self._inlets = {name.encode(): inlet for name, inlet in inlets.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises nothing but cancellation while it answers."""
        inlet: Inlet | None = None
        name = request_id()
        try:
            inlet, token = self._look_up(scope)
            body = await self.bodies.read(inlet.arriving, scope["headers"], receive)
            if body is None:
                return  # the sender hung up before the end, or was late: nothing was received
            answer = await self._take(inlet, token, scope, body, name)
        except Refusal as refusal:
            rest = receive if refusal.more_comes else None
            await self._refuse(send, name, refusal.problem, refusal.detail, rest, refusal.retry_after_s)
        except asyncio.CancelledError:  # the server stops and waits no longer; left to it the answer is a bare 500
            self._warn_unavailable(inlet, name, "the gateway stops")
            await self._refuse(send, name, problems.UNAVAILABLE, "the gateway stops; please send the request again")
        except (StoreUnavailable, IntakeFull, KeyUnavailable) as error:
            self._warn_unavailable(inlet, name, str(error))
            await self._refuse(send, name, problems.UNAVAILABLE, "nothing was stored; please send the request again")
        except Exception:
            log.exception("intake.defect", source=inlet.source.name if inlet else None, request=name)
            await self._refuse(send, name, problems.UNAVAILABLE, "nothing was stored; please send the request again")
        else:
            self.stats.answers[200] = self.stats.answers.get(200, 0) + 1
            self.stats.bytes += len(body)
            length, request = str(len(answer)).encode(), name.encode()
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [_OK_HEADERS, (b"content-length", length), (b"x-request-id", request)],
                }
            )
            await send({"type": "http.response.body", "body": answer})

    def _warn_unavailable(self, inlet: Inlet | None, name: str, why: str) -> None:
        self.noise.warn("intake.unavailable", inlet.source.name if inlet else None, request=name, why=why)

    def _look_up(self, scope: Scope) -> tuple[Inlet, bytes | None]:
        # The path as sent: decoded paths would give one source many spellings.
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        name, slash, token = path.removeprefix(_PREFIX).partition(b"/")
        inlet = self._inlets.get(name) if path.startswith(_PREFIX) else None
        if inlet is None or b"/" in token or (slash and not token):
            raise Refusal(problems.UNKNOWN_SOURCE, "the path is /in/ and the name of a configured source")
        if scope["method"] != "POST":
            raise Refusal(problems.METHOD_NOT_ALLOWED, "send the webhook with POST")
        if inlet.bucket is not None and inlet.bucket.wait_s(self._monotonic()) > 0:
            raise self._limited(inlet, inlet.bucket)
        if inlet.adapter is None:
            self.noise.warn("intake.broken_adapter", inlet.source.name, why=inlet.broken)
            raise Refusal(problems.UNAVAILABLE, "this source is out of order; please send the request again later")
        return inlet, token or None

    def _limited(self, inlet: Inlet, bucket: Bucket) -> Refusal:
        source = inlet.source.name
        self.stats.limited[source] = self.stats.limited.get(source, 0) + 1
        self.noise.warn("intake.rate_limited", source, rate_per_s=bucket.rate_per_s)
        detail = "this source sends faster than its rate allows"
        return Refusal(problems.RATE_LIMITED, detail, retry_after_s=bucket.retry_after_s(self._monotonic()))

    async def _take(self, inlet: Inlet, token: bytes | None, scope: Scope, body: bytes, name: str) -> bytes:
        source, adapter = inlet.source, inlet.adapter
        assert adapter is not None
        now_ms = self._wall_ms()
        request = Request(tuple(scope["headers"]), body, token, client_ip(scope, self._trusted_proxies))
        outcome: Any
        try:
            keys = {} if adapter.key_wanted is no_key_wanted else await self._keys_for(adapter, request, source)
            outcome = receive(request, source, adapter, keys, now_ms)
        except NotProven as error:
            outcome = Rejected(error.reason)
        if isinstance(outcome, Quarantined) and source.unauthenticated and outcome.verified == "unauthenticated":
            await self._note_rejected(inlet, request, name, outcome.reason, now_ms)
            raise Refusal(problems.UNREADABLE, outcome.reason)
        if isinstance(outcome, Rejected):
            await self._note_rejected(inlet, request, name, outcome.reason, now_ms)
            raise Refusal(problems.NOT_PROVEN, "the request was not accepted")
        # Only what is proven uses the rate up: else who knows the path could use it up for the provider.
        if inlet.bucket is not None and not inlet.bucket.take(self._monotonic()):
            raise self._limited(inlet, inlet.bucket)
        if isinstance(outcome, Events):
            return await self._log_events(inlet, outcome.events, name)
        self._check_room()
        if isinstance(outcome, Ignored):
            await self._committers[0].submit([], count=(source.name, "ignored"))
            return self._encode(Answer("ignored", name, []))
        kept = self._kept(inlet, request, name, outcome.reason, now_ms, outcome.verified)
        await self._committers[0].submit([], count=(source.name, "quarantined"), quarantined=kept)
        log.warning("intake.quarantined", source=source.name, request=name, why=outcome.reason, bytes=len(body))
        return self._encode(Answer("quarantined", name, []))

    def _check_room(self) -> None:
        if not self._has_room():
            raise StoreUnavailable("the store is nearly full, or no longer durable")

    async def _keys_for(self, adapter: Adapter, request: Request, source: Source) -> Keys:
        url = adapter.key_wanted(request, source)
        if url is None:
            return {}
        pem = await self._keys.get(source.name, url)
        return {} if pem is None else {url: pem}

    async def _log_events(self, inlet: Inlet, items: Sequence[Item], name: str) -> bytes:
        self._check_room()
        source = inlet.source.name
        new = [NewEvent(item.event.id, source, inlet.seen_ttl_s, item.event_json, item.raw_json) for item in items]
        count = (source, "accepted")
        if self._partitions == 1:
            sequence = await self._committers[0].submit(new, count=count)
        else:
            sequence = await self._submit_to_partitions(source, items, new)
        answers = [
            EventAnswer(item.event.id, item.event.type, "logged" if seq > 0 else "spooled" if seq else "duplicate")
            for item, seq in zip(items, sequence, strict=True)
        ]
        status = "accepted" if any(sequence) else "duplicate"
        if self._tells_all:
            log.debug("intake.accepted", source=source, request=name, status=status, events=len(items))
        return self._encode(Answer(status, name, answers))

    async def _submit_to_partitions(self, source: str, items: Sequence[Item], new: list[NewEvent]) -> list[int]:
        places: dict[int, list[int]] = {}
        for at, item in enumerate(items):
            number = partition_of(source, item.event.ordering_key, item.event.id, self._partitions)
            places.setdefault(number, []).append(at)
        waiting = []
        for order, (number, positions) in enumerate(places.items()):
            count = (source, "accepted") if order == 0 else None  # a request is counted once
            waiting.append(self._committers[number].submit([new[at] for at in positions], count=count))
        sequence = [0] * len(new)
        for positions, numbers in zip(places.values(), await asyncio.gather(*waiting), strict=True):
            for at, seq in zip(positions, numbers, strict=True):
                sequence[at] = seq
        return sequence

    async def _note_rejected(self, inlet: Inlet, request: Request, name: str, reason: str, now_ms: int) -> None:
        kept = None
        if now_ms - inlet.sampled_ms >= SAMPLE_EVERY_MS or now_ms < inlet.sampled_ms:
            inlet.sampled_ms = now_ms
            kept = self._kept(inlet, request, name, reason, now_ms, None)
            log.warning("intake.rejected", source=inlet.source.name, request=name, why=reason, bytes=len(request.body))
        self._committers[0].note(inlet.source.name, "rejected", kept)
        if inlet.rejected is not None and not inlet.rejected.take(self._monotonic()):
            await asyncio.sleep(REJECTED_WAIT_S)

    def _kept(
        self, inlet: Inlet, request: Request, name: str, reason: str, now_ms: int, verified: str | None
    ) -> KeptRequest:
        meta = Kept(
            request=name,
            source=inlet.source.name,
            adapter=inlet.adapter.name if inlet.adapter else "",
            received_at=format_ms(now_ms),
            reason=reason,
            headers=tuple((key.decode("latin-1"), value.decode("latin-1")) for key, value in request.headers),
            client_ip=request.client_ip,
            verified=verified,
            path_token=request.path_token is not None,
        )
        return KeptRequest(meta, request.body)

    async def _refuse(
        self,
        send: Send,
        name: str,
        problem: Problem,
        detail: str,
        receive: Receive | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        """Answer a problem; ``receive``: of a sender that may not listen before it has sent the rest."""
        self.stats.answers[problem.status] = self.stats.answers.get(problem.status, 0) + 1
        body = problems.body(problem, detail)
        head = problems.headers(problem, len(body), name, retry_after_s)
        if problem.status == 413:
            head.append((b"connection", b"close"))  # the rest of the body is not wanted
        await send({"type": "http.response.start", "status": problem.status, "headers": head})
        if receive is not None:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await throw_away(receive)
            body = b""
        await send({"type": "http.response.body", "body": body})
