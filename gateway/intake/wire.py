"""The server's HTTP/1.1: uvicorn's, with the bounds it lacks.

What is added: deadlines for head, body and idleness (``connections``), checks of the head (``heads``), a bound for
requests sent ahead, refusals as ``application/problem+json`` that come in their turn, and an end of the connection that
lets the sender read them. Trailers are dropped: uvicorn's list of headers is the one the endpoint reads after the body,
and a proof must not come from behind it.

One thing is mended. A sender may offer to go on in another protocol (``Upgrade: h2c``, as curl and Java's client do
over plain HTTP); a server that does not want to answers as if nothing had been said (RFC 9110, 7.8). The parser takes
the end of such a head for the end of the request, though, and drops the body: a genuine webhook would be answered 401.
"""

import asyncio
import urllib.parse
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway import problems
from gateway.intake import heads
from gateway.intake.connections import Connections, Place
from gateway.intake.noise import Noise
from gateway.intake.pipeline import request_id
from gateway.intake.refusal import Refusal
from gateway.problems import Problem

_FRAMING = (b"content-length", b"transfer-encoding")
_LOOKED_AT = frozenset([b"host", b"transfer-encoding", b"expect"])

NOTHING, HEAD, BODY = 0, 1, 2
"""What of a request is being received."""

MAX_AHEAD = 16
"""Requests that may wait on one connection for the answer to the one before."""

MAX_FRAMING_BYTES = 64 * 1024
"""Chunk sizes, extensions and trailers: this much, and as much again as the body has."""

WAKE_BYTES = 4 * 1024
"""So much of a body must have come before somebody looks at it, unless it is whole. Else every dripped byte would wake
a task, and cost three times as much (measured). What waits so is in no account of ``bodies``: with
4,096 connections it is 16 MiB at most."""

AFTER_ANSWER_S = 5.0
"""A body that is refused before its end may take so much longer: many senders look for the answer only after it."""

LINGER_S = 1.0
LINGER_BYTES = 1024 * 1024
"""A connection that has its last answer is kept so long, and what it still sends is thrown away up to here: closed with
bytes unread, the answer would be lost with it."""


class Edge:
    """What all connections of a process share; ``protocol`` is what the server makes of each."""

    def __init__(self, connections: Connections, noise: Noise, answers: dict[int, int]) -> None:
        """``answers`` counts by status; the endpoint counts its own there too."""
        self.connections = connections
        self.noise = noise
        self.answers = answers

    @property
    def protocol(self) -> Any:
        """To be uvicorn's ``http``."""
        return partial(Protocol, edge=self)

    def refusal(self, problem: Problem, detail: str) -> bytes:
        """A whole answer, counted and in the log; it is the connection's last."""
        name = request_id()
        self.answers[problem.status] = self.answers.get(problem.status, 0) + 1
        self.noise.warn("intake.refused", None, status=problem.status, request=name, why=detail)
        body = problems.body(problem, detail)
        lines = [b"%b: %b\r\n" % pair for pair in problems.headers(problem, len(body), name)]
        return b"".join([STATUS_LINE[problem.status], *lines, b"connection: close\r\n\r\n", body])


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *given: Any, edge: Edge, **named: Any) -> None:
        super().__init__(*given, **named)
        # uvicorn has it go on after the last request; here that is not read at all.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self.edge = edge
        self.clock = edge.connections
        self.since_s = 0.0
        self.stalled_s = 0.0
        self.receiving = NOTHING
        self.running: RequestResponseCycle | None = None
        """The request that is being answered."""
        self.unstarted: RequestResponseCycle | None = None
        """The same, as long as the app has not been given it: its body is not whole."""
        self.is_in_line = False
        """It will be given it in its turn."""
        self.is_spare = False
        self.is_deaf = False
        """Whatever still comes is thrown away."""
        self.is_leaving = False
        """The last answer is written."""
        self.last_words: tuple[Problem, str] | None = None
        """To be said after the answers that are due before."""
        self.chunk_bytes = 0
        self.fed_bytes = 0
        """Of the head or body that is being received; not what came together with the end of the one before."""
        self.body_bytes = 0
        self.has_host = self.has_coding = False

    # What the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take a place, or refuse."""
        super().connection_made(transport)
        self.clock.give_way()
        place = self.clock.add(self, self.loop)
        self.since_s = self.clock.now_s
        if place is Place.NONE:
            self.is_deaf = True
            transport.write(self.edge.refusal(problems.UNAVAILABLE, "too many connections"))
            transport.close()
        self.is_spare = place is Place.SPARE

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all whose request came on it, not only the last: uvloop raises where one answers all the same."""
        self.clock.remove(self)
        super().connection_lost(exc)
        self._forget_requests()

    def _forget_requests(self) -> None:
        for cycle in (self.running, *[cycle for cycle, _ in self.pipeline]):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
        self.running = self.unstarted = None
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self.clock.give_way()
        if self.is_deaf:
            self._throw_away(len(data))
            return
        self.chunk_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            self._decline(data[offered.args[0] :])
        except httptools.HttpParserError as error:
            if self.receiving == NOTHING and self.cycle is not None and not self.cycle.keep_alive:
                self.is_deaf = True  # nothing comes after a last request
            else:
                self._end(*heads.explain(error, data))
        else:
            if self.receiving or self.cycle is None or self.cycle.response_complete:
                self._count(data)
            else:
                self.fed_bytes = 0
            if self.unstarted is not None and not self.is_in_line:
                self.is_in_line = True
                self.clock.start_in_turn(self, self.loop)

    def _count(self, data: bytes) -> None:
        """Something is not complete yet; or blank lines came, or the body of a request that is answered already."""
        self.fed_bytes += len(data)
        if self.receiving == BODY:
            if self.running is None and self.fed_bytes > LINGER_BYTES:
                self.transport.abort()
            elif self.fed_bytes > MAX_FRAMING_BYTES + 2 * self.body_bytes:
                self._end(problems.MALFORMED, "the body has more framing than content")
            return
        size_bytes = self.fed_bytes
        if self.receiving == HEAD and len(data) > heads.MAX_HEAD_BYTES:  # it may hold whole requests before this head
            size_bytes = heads.size_bytes(self.url, self.headers) + len(data) - data.rfind(b"\n")
        if size_bytes > heads.MAX_HEAD_BYTES:
            refusal = heads.too_large()
            self._end(refusal.problem, refusal.detail)

    def _throw_away(self, size_bytes: int) -> None:
        self.fed_bytes += size_bytes
        if self.fed_bytes > LINGER_BYTES:
            if self.running is None:
                self.transport.abort()
            else:
                self.flow.pause_reading()

    def pause_writing(self) -> None:
        """The sender does not read its answers."""
        self.stalled_s = self.clock.now_s
        super().pause_writing()

    # What the parser tells

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        self.url = b""
        self.headers = []
        self.receiving = HEAD
        self.since_s = self.clock.now_s
        self.has_host = self.has_coding = self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; after the head a trailer, which goes into a list that nobody looks at."""
        name = name.lower()
        if name in _LOOKED_AT:
            self._look_at(name, value)
        self.headers.append((name, value))

    def _look_at(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            if self.has_host:
                raise Refusal(problems.MALFORMED, "one Host, and no more")
            self.has_host = True
        elif name == b"transfer-encoding":
            heads.check_coding(value)
            if self.has_coding:
                raise Refusal(problems.MALFORMED, "one Transfer-Encoding, and no more")
            self.has_coding = True
        else:
            self.expect_100_continue = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """Check the head and hand the request on, or put it behind those before it."""
        parser, headers, target = self.parser, self.headers, self.url
        version = parser.get_http_version()
        if version != "1.1":
            heads.check_version(version, has_coding=self.has_coding)
            self.expect_100_continue = False
        elif not self.has_host:
            raise Refusal(problems.MALFORMED, "a request has a Host")
        heads.check_target(target)
        if len(headers) > heads.MAX_HEADERS:
            raise heads.too_large()
        is_large = self.fed_bytes > 0 or self.chunk_bytes > heads.MAX_HEAD_BYTES  # or may be; seldom
        if is_large and heads.size_bytes(target, headers) > heads.MAX_HEAD_BYTES:
            raise heads.too_large()
        raw_path, _, query = target.partition(b"?")
        if self.is_spare and raw_path.startswith(b"/in/"):
            raise Refusal(problems.UNAVAILABLE, "too many connections")
        if len(self.pipeline) == MAX_AHEAD:
            raise Refusal(problems.UNAVAILABLE, f"at most {MAX_AHEAD} requests may be sent ahead")
        path = raw_path.decode("ascii")
        self.receiving = BODY
        self.since_s = self.clock.now_s
        self.fed_bytes, self.body_bytes = -self.chunk_bytes, 0
        self.headers = []
        cycle = self.cycle = RequestResponseCycle(
            scope={
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": version,
                "server": self.server,
                "client": self.client,
                "scheme": "http",
                "root_path": "",
                "method": parser.get_method().decode("ascii"),
                "path": urllib.parse.unquote(path) if "%" in path else path,
                "raw_path": raw_path,
                "query_string": query,
                "headers": headers,
                "state": {},
            },
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,  # it would log paths, which may hold tokens
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version == "1.1" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if self.running is None:
            self.running = self.unstarted = cycle
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self.body_bytes += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        waiting_bytes = len(cycle.body)
        if waiting_bytes > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        # Who throws away the rest of a refused body wants to see that something still comes.
        if waiting_bytes >= WAKE_BYTES or cycle.response_started:
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The end of a request."""
        self.receiving = NOTHING
        self.fed_bytes = -self.chunk_bytes
        self.cycle.more_body = False
        self.cycle.message_event.set()
        if self.unstarted is not None:
            self.start()

    # Answering

    def start(self) -> None:
        """Give the app the request: as soon as it is whole, or in its turn (``Connections.start_in_turn``)."""
        self.is_in_line = False
        cycle, self.unstarted = self.unstarted, None
        if cycle is not None:
            self._start_asgi_task(cycle, self.app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = cycle
        task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_response_complete(self) -> None:
        """An answer is written: the next request on this connection, or the last words."""
        self.server_state.total_requests += 1
        self.running = None
        if self.receiving == NOTHING:
            self.since_s = self.clock.now_s
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.last_words is not None:
            self._speak(*self.last_words)

    def _end(self, problem: Problem, detail: str) -> None:
        """Refuse what is being received, in its turn, and with it the connection."""
        self.is_deaf = True
        cycle = self.cycle
        in_body = self.receiving == BODY
        if in_body and self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()  # it waited for its turn, and is not whole
        elif in_body and cycle.response_started:
            self.transport.abort()  # it has had another answer, or a part of one
            return
        elif in_body:
            self._speak(problem, detail)
            return
        if self.running is None:
            self._speak(problem, detail)
        else:
            self.last_words = (problem, detail)
            self.flow.pause_reading()

    def _speak(self, problem: Problem, detail: str) -> None:
        self.is_deaf = self.is_leaving = True
        self.since_s = self.clock.now_s
        self.fed_bytes = 0
        if not self.transport.is_closing():
            self.transport.write(self.edge.refusal(problem, detail))
        self._forget_requests()
        self.flow.resume_reading()
        if not self.transport.is_closing():
            self.transport.write_eof()

    # What the connections' one timer asks

    def is_unused(self) -> bool:
        """Whether it has no whole request in hand."""
        return self.running is None and self.receiving != BODY

    def make_room(self) -> None:
        """End it at once."""
        self.transport.abort()

    def look(self, now_s: float) -> bool:
        """End what is late; whether it was."""
        limits, slack_s = self.clock.limits, self.clock.look_every_s
        waited_s = now_s - self.since_s - slack_s
        if self.flow.write_paused and now_s - self.stalled_s - slack_s > limits.idle_timeout_s:
            self.transport.abort()
        elif self.is_leaving or (self.transport.is_closing() and self.running is None):
            if waited_s <= LINGER_S:
                return False
            self.transport.abort()
        elif self.receiving and not self.flow.read_paused:
            if self.receiving == HEAD:
                if waited_s <= limits.header_timeout_s:
                    return False
                self._end(problems.HEADER_TIMEOUT, f"the whole head within {limits.header_timeout_s:g} s")
            else:
                is_refused = self.running is not None and self.cycle.response_started
                if waited_s <= limits.body_timeout_s + (AFTER_ANSWER_S if is_refused else 0):
                    return False
                self._end(problems.BODY_TIMEOUT, f"the whole body within {limits.body_timeout_s:g} s")
        else:
            timeout_s = limits.header_timeout_s if self.cycle is None else limits.idle_timeout_s
            if self.running is not None or waited_s <= timeout_s:
                return False
            self.transport.close()
        return True

    def forgive(self, stood_s: float) -> None:
        """What it waits for is due so much later."""
        self.since_s += stood_s
        self.stalled_s += stood_s

    def shutdown(self) -> None:
        """The server stops."""
        if self.is_leaving:
            self.transport.close()
        super().shutdown()

    # An offer of another protocol

    def _decline(self, rest: bytes) -> None:
        """Stay with HTTP/1.1: what follows the head is the body, and then perhaps another request."""
        self.cycle.more_body = True
        self.cycle.message_event.clear()
        self.receiving = BODY
        reader = _Rest(self)
        self.parser = httptools.HttpRequestParser(reader)
        framing = b"".join(b"%b: %b\r\n" % pair for pair in self.cycle.scope["headers"] if pair[0] in _FRAMING)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
        reader.head_is_known = False
        if rest:
            self.data_received(rest)


class _Rest:
    """What a parser tells that is given a head only to learn from it how the body is framed."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self.head_is_known = True
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete

    def on_message_begin(self) -> None:
        if not self.head_is_known:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self.head_is_known:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_is_known:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self.head_is_known:
            self._protocol.on_headers_complete()
