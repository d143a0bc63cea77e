"""One app downstream, as an app developer would write it, except that it fails on purpose now and then.

It verifies the Standard Webhooks signature, remembers the ids it has taken, and answers 204. Of the events it meets for
the first time it refuses every ``fail_every``-th with 500, once, so that a retry can be seen.
"""

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from gateway import lifeline
from gateway.simulator import lines, loopback

TOLERANCE_S = 300
"""How far ``webhook-timestamp`` may be from our clock."""
MAX_BODY_BYTES = 4 * 1024 * 1024


class Instructions(msgspec.Struct, frozen=True, kw_only=True):
    """The first line on standard input."""

    secrets: tuple[str, ...]
    """``whsec_…``; any one of them may have signed."""
    fail_every: int = 7
    """0: never fail."""
    port: int = 0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the subscriber reads of an event."""

    id: str
    type: str
    source: str
    provider: str
    provenance: dict[str, str | None]


def verify(headers: Mapping[str, str | None], body: bytes, secrets: Sequence[str], now_s: float) -> bool:
    """Whether one of ``secrets`` signed this delivery, lately. Source: the Standard Webhooks specification.

    Written out rather than borrowed: it is what a consumer has to do, in full.
    """
    event_id, timestamp, given = (headers.get(f"webhook-{name}") or "" for name in ("id", "timestamp", "signature"))
    if not (event_id and timestamp.isascii() and timestamp.isdigit()) or abs(now_s - int(timestamp)) > TOLERANCE_S:
        return False
    signed = f"{event_id}.{timestamp}.".encode() + body
    wanted = [
        b"v1," + base64.b64encode(hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256))
        for secret in secrets
    ]
    return any(hmac.compare_digest(one.encode(), good) for one in given.split() for good in wanted)


class Subscriber:
    """What the app decides about each delivery: pure but for its memory of ids."""

    def __init__(self, secrets: Sequence[str], fail_every: int) -> None:
        self._secrets = secrets
        self._fail_every = fail_every
        self._met: set[str] = set()
        self._taken: set[str] = set()
        self._lock = threading.Lock()

    def take(self, headers: Mapping[str, str | None], body: bytes, now_ms: int) -> lines.Taken:
        """Decide the answer: 204 taken (also when it was before), 500 on purpose, 401 not ours, 400 unreadable."""
        verified = verify(headers, body, self._secrets, now_ms / 1000)
        try:
            event = msgspec.json.decode(body, type=Seen)
        except msgspec.DecodeError:
            event, status, repeat = Seen(id="", type="", source="", provider="", provenance={}), 400, False
        else:
            status, repeat = self._decide(event.id) if verified and event.id == headers["webhook-id"] else (401, False)
        attempt = headers.get("gateway-attempt") or ""
        return lines.Taken(
            at_ms=now_ms,
            id=event.id,
            type=event.type,
            source=event.source,
            provider=event.provider,
            provider_type=event.provenance.get("provider_type"),
            attempt=int(attempt) if attempt.isascii() and attempt.isdigit() else 0,
            status=status,
            verified=verified,
            repeat=repeat,
        )

    def _decide(self, event_id: str) -> tuple[int, bool]:
        with self._lock:
            if event_id in self._taken:
                return 204, True
            if event_id not in self._met:
                self._met.add(event_id)
                if self._fail_every and len(self._met) % self._fail_every == self._fail_every // 2:
                    return 500, False
            self._taken.add(event_id)
            return 204, False


def make_server(
    subscriber: Subscriber, port: int, write: Callable[[lines.Line], None], wall_ms: Callable[[], int]
) -> loopback.Server:
    """A server that listens on ``port`` (0: any) and is not yet serving; every delivery is written as a line."""

    class DeliveryHandler(loopback.Handler):
        def do_POST(self) -> None:  # noqa: N802  http.server looks it up by this name
            length = self.headers.get("content-length") or ""
            if not (length.isascii() and length.isdigit()) or int(length) > MAX_BODY_BYTES:
                self.close_connection = True
                return self.reply(411 if not length else 413)
            body = self.rfile.read(int(length))
            taken = subscriber.take({name.lower(): value for name, value in self.headers.items()}, body, wall_ms())
            write(
                taken
            )  # before the answer: whoever reads the lines must not learn of a delivery from the ledger first
            return self.reply(taken.status)

    return loopback.Server(DeliveryHandler, port)


def main() -> None:
    """Serve until standard input closes."""
    told = lifeline.instructions(Instructions)
    subscriber = Subscriber(told.secrets, told.fail_every)
    server = make_server(subscriber, told.port, lines.write, lambda: time.time_ns() // 1_000_000)
    threading.Thread(target=server.serve_forever, name="server", daemon=True).start()
    lines.write(lines.Ready(port=server.server_address[1]))
    lifeline.watch().wait()


if __name__ == "__main__":
    main()
