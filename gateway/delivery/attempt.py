"""One attempt: encode, sign, connect where the guard allows, POST, say what came of it.

A subscriber is not trusted. Its answer counts by the status; of the body at most 64 KiB are read, for half a second,
as raw bytes (nothing is decompressed, so there is no bomb). Redirects, cookies and proxies do not exist here. One
client for each subscriber keeps connections open between deliveries; it is pinned to an address the guard checked.

An answer that breaks off before its announced end is no answer, even if it began with 200: whoever wrote it died over
it, and a second delivery is harmless where a lost one is not. An answer that merely goes on and on is one.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ClientClosedError, ConnectError, PyreqwestError, RequestError, RequestPanicError
from pyreqwest.response import Response

from gateway.config import SubscriberSettings
from gateway.delivery.addresses import Address
from gateway.delivery.echoes import Echoes
from gateway.delivery.formats import CONTENT_TYPES, dress_for
from gateway.delivery.guard import Guard, Pin, Target
from gateway.delivery.outcome import Failure, Outcome, answered, explain, failed
from gateway.delivery.signing import Signer, header_problem
from gateway.errors import ConfigError, TargetRefused
from gateway.faults import fault_in_loop

__all__ = ["Outcome", "Sender", "encode"]

ANSWER_BYTES = 64 * 1024
"""How much of an answer's body is read."""
ANSWER_S = 0.5
"""How long an answer's body may take after its head. Long enough for any honest one."""
CONNECT_S = 5.0
"""How long one address may take to connect, TLS included: three SYNs, and time left for another address."""
IDLE_S = 4.0
"""How long an unused connection is kept. Common servers close theirs after 5 s, and who writes into that close loses
the attempt."""
MAX_ADDRESSES = 4
"""How many of a name's addresses one attempt tries."""
USER_AGENT = "webhook-gateway"

_DELIVERED = range(200, 300)
_NO_BODY = (204, 205)
_STOPPED = Failure("closed", "the gateway has stopped delivering", unsent=True)


def encode(event_json: bytes, raw: bytes | None) -> bytes:
    """The canonical body: the event's compact JSON object with ``raw`` as its last key; without it if ``None``."""
    if raw is None:
        return event_json
    return b'%b,"raw":%b}' % (event_json[:-1], raw)


class Sender:
    """Delivers to one subscriber.

    Raises ``ConfigError`` if the settings hold a secret that cannot sign or a header a subscriber may not have.
    ``ca_pem`` is trusted beside the system's authorities. Events are always signed; what is not an event may go without
    (``must_sign=False``) where there is no secret.
    """

    def __init__(
        self,
        settings: SubscriberSettings,
        guard: Guard,
        *,
        wall_ms: Callable[[], int],
        monotonic: Callable[[], float],
        ca_pem: bytes | None = None,
        must_sign: bool = True,
    ) -> None:
        problems = [problem for name, value in settings.headers if (problem := header_problem(name, value))]
        try:
            self._signer = Signer(settings.secrets) if must_sign or settings.secrets else None
        except ValueError as error:
            problems.append(str(error))
        if problems:
            raise ConfigError([f"subscribers.{settings.name}: {problem}" for problem in problems])
        self._settings = settings
        self._echoes = Echoes(settings)
        self._dress = dress_for(settings.format)
        self._wall_ms = wall_ms
        self._monotonic = monotonic
        self._ca_pem = ca_pem
        self._pin = Pin(guard, settings.url, settings.allow_networks)
        self._connect_s = min(CONNECT_S, settings.timeout_s)
        self._target: Target | None = None
        self._address: Address | None = None
        self._client: Client | None = None
        self._closed = False

    async def send(
        self, event_id: str, body: bytes, *, attempt: int, attempts_left: int, replay: str | None = None
    ) -> Outcome:
        """POST ``body``, the canonical one, in the subscriber's format and signed now.

        ``attempt`` counts from 1; ``replay`` marks a deliberate repetition.
        Takes at most the subscriber's ``timeout``, half a second more for a slow body, and where the name has to be
        looked up first, that. Raises nothing but ``CancelledError``.
        """
        started_s = self._monotonic()
        if self._closed:
            return failed(_STOPPED, 0.0)
        try:
            target = self._pin.fresh() or await self._pin.target()
            return await self._post(target, started_s, event_id, body, attempt, attempts_left, replay)
        except TargetRefused as error:
            failure = Failure("refused_target", str(error), unsent=True)
        except OSError as error:
            failure = self._no_address(error)
        except Exception as error:  # a defect of ours must cost neither the event nor the lane
            failure = Failure("internal", f"the attempt failed with {type(error).__name__}", unsent=False)
        return failed(failure, self._monotonic() - started_s)

    async def close(self) -> None:
        """End all connections, for good. Attempts on the wire end as ``closed``."""
        self._closed = True
        self._pin.close()
        if self._client is not None:
            await self._client.close()

    async def _post(
        self,
        target: Target,
        started_s: float,
        event_id: str,
        body: bytes,
        attempt: int,
        attempts_left: int,
        replay: str | None,
    ) -> Outcome:
        dressed: list[tuple[str, str]] = []
        if self._dress is not None:
            body, dressed = self._dress(body)
        timestamp_s = self._wall_ms() // 1000
        headers = [
            ("webhook-id", event_id),
            ("webhook-timestamp", str(timestamp_s)),
            *([("webhook-signature", self._signer.sign(event_id, timestamp_s, body))] if self._signer else []),
            ("gateway-attempt", str(attempt)),
            ("gateway-attempts-left", str(attempts_left)),
            *dressed,
        ]
        if replay is not None:
            headers.append(("gateway-replay", replay))
        tries_left = min(len(target.addresses), MAX_ADDRESSES)
        timeout: timedelta | None = None  # the first try has the client's own
        while True:
            address, client = self._route(target)
            request = client.post(target.url).headers(headers).body_bytes(body).streamed_read_buffer_limit(0)
            if timeout is not None:
                request = request.timeout(timeout)
            status: int | None = None
            try:
                await fault_in_loop("attempt", "before", _reset)
                async with request.build_streamed() as response:
                    await fault_in_loop("attempt", "after", _reset)
                    status = response.status
                    if status in _DELIVERED:
                        if status not in _NO_BODY and response.get_header("content-length") != "0":
                            await _drain(response)
                        return Outcome(True, "", status, None, b"", self._monotonic() - started_s, "")
                    answer = self._echoes.hide(await _read(response))
                    duration_s = self._monotonic() - started_s
                    return answered(status, _retry_after(response), answer, duration_s, self._wall_ms())
            except PyreqwestError as error:
                failure = _explain(error, f"{address} port {target.port}", self._settings.timeout_s)
            spent_s = self._monotonic() - started_s
            tries_left -= 1
            if failure.unsent:
                self._leave(address, target)
                if tries_left and spent_s < self._settings.timeout_s:
                    timeout = timedelta(seconds=self._settings.timeout_s - spent_s)
                    continue
                self._pin.doubt()
            return failed(failure, spent_s, status)

    def _no_address(self, error: OSError) -> Failure:
        if self._closed:  # by which the look-up was ended
            return _STOPPED
        return Failure("dns", f"the subscriber's name could not be looked up: {error}", unsent=True)

    def _route(self, target: Target) -> tuple[Address, Client]:
        """The address in use and the client pinned to it, made anew only when the address is no longer the name's."""
        if target is not self._target:
            self._target = target
            if self._address not in target.addresses:
                self._address = self._client = None
        if self._address is None or self._client is None:
            self._address = self._address or target.addresses[0]
            self._client = self._connect(target, self._address)
        return self._address, self._client

    def _leave(self, address: Address, target: Target) -> None:
        """Nobody answers at ``address``: go on to the next one, unless another attempt has done so already."""
        if address == self._address and len(target.addresses) > 1:
            at = target.addresses.index(address) if address in target.addresses else -1
            self._address = target.addresses[(at + 1) % len(target.addresses)]
            self._client = None  # attempts still on the wire hold it until they end; then its connections close

    def _connect(self, target: Target, address: Address) -> Client:
        builder = (
            ClientBuilder()
            .follow_redirects(False)
            .no_proxy()
            .referer(False)
            .default_cookie_store(False)
            .gzip(False)
            .brotli(False)
            .zstd(False)
            .deflate(False)
            .http1_only()
            .http1_lower_case_headers()
            .timeout(timedelta(seconds=self._settings.timeout_s))
            .connect_timeout(timedelta(seconds=self._connect_s))
            .pool_idle_timeout(timedelta(seconds=IDLE_S))
            .default_headers(self._default_headers())
        )
        if not target.is_literal:
            builder = builder.resolve(target.host, str(address), target.port)
        if self._ca_pem is not None:
            builder = builder.add_root_certificate_pem(self._ca_pem)
        return builder.build()

    def _default_headers(self) -> list[tuple[str, str]]:
        """What is the same for every delivery; the subscriber's own headers may replace ``user-agent`` and nothing
        else."""
        headers = {"user-agent": USER_AGENT, "content-type": CONTENT_TYPES[self._settings.format]}
        headers.update((name.lower(), value) for name, value in self._settings.headers)
        return list(headers.items())


def _retry_after(response: Response) -> str | None:
    try:
        return response.get_header("retry-after")
    except ValueError:  # bytes that are no text: it asks for nothing, and the status says what matters
        return None


async def _drain(response: Response) -> None:
    """Read a short body to its end, so that the connection can be used again. A long or slow one costs a connection."""
    try:
        async with asyncio.timeout(ANSWER_S):
            await response.body_reader.read(ANSWER_BYTES)
    except TimeoutError:
        return


async def _read(response: Response) -> bytes:
    """The beginning of a body, as it came; whatever there is when time is up or the connection ends."""
    answer = bytearray()
    try:
        async with asyncio.timeout(ANSWER_S):
            while len(answer) < ANSWER_BYTES and (chunk := await response.body_reader.read_chunk()) is not None:
                answer += chunk
    except (TimeoutError, PyreqwestError):
        pass  # the status has said what matters
    return bytes(answer[:ANSWER_BYTES])


def _reset(why: str) -> Exception:
    """What the client raises where the other side ends the connection."""
    return ConnectError(why, {"causes": [{"message": f"connection closed by {why}"}]})


def _explain(error: PyreqwestError, where: str, timeout_s: float) -> Failure:
    if isinstance(error, ClientClosedError):
        return Failure("closed", "the gateway stopped while the attempt was on the wire", unsent=False)
    if not isinstance(error, RequestError) or isinstance(error, RequestPanicError):
        return Failure("internal", f"the client failed with {type(error).__name__}", unsent=False)
    messages = [cause["message"] for cause in error.details["causes"] or ()]
    return explain(messages, timed_out=isinstance(error, TimeoutError), where=where, timeout_s=timeout_s)
