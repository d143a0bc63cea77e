"""The server's HTTP/1.1, mended where it would lose a request.

A sender may offer to go on in another protocol (``Upgrade: h2c``, as curl and Java's client do over plain HTTP); a
server that does not want to answers as if nothing had been said (RFC 9110, 7.8). The parser under uvicorn takes the end
of such a head for the end of the request, though, and drops the body: a genuine webhook would be answered 401.
"""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_FRAMING = (b"content-length", b"transfer-encoding")


class Protocol(HttpToolsProtocol):
    """One connection."""

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            self._decline(data[offered.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _decline(self, rest: bytes) -> None:
        """Stay with HTTP/1.1: what follows the head is the body, and then perhaps another request."""
        self.cycle.more_body = True
        self.cycle.message_event.clear()
        reader = _Rest(self)
        self.parser = httptools.HttpRequestParser(reader)
        framing = b"".join(b"%b: %b\r\n" % pair for pair in self.headers if pair[0] in _FRAMING)
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
