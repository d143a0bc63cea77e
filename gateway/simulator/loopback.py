"""A small HTTP server on the loopback address, for the players that are called."""

import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"


class Handler(BaseHTTPRequestHandler):
    """Keeps connections, drops idle and slow ones, and writes no log of its own."""

    protocol_version = "HTTP/1.1"
    timeout = 30.0
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name the base class gave it
        """Say nothing: what matters is written as a JSON line."""

    def reply(self, status: int, body: bytes = b"", content_type: str = "text/plain") -> None:
        """Answer with a whole body."""
        self.send_response(status)
        if body:
            self.send_header("Content-Type", content_type)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """One thread a connection, which is plenty for a demo; ``tls`` wraps each connection in its own thread."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, handler: type[Handler], port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__((HOST, port), handler)
        if tls is not None:
            # The handshake waits for the first read, in the connection's thread: a silent caller blocks no other.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that hangs up is its own affair, not a traceback."""
