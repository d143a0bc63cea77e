"""flexengage's key host: serves public keys as PEM over TLS, under the name a real one has, on the loopback address.

The gateway finds it because the demo tells it to (``GATEWAY_KEY_HOST_RESOLVE``, ``GATEWAY_KEY_HOST_CA``); it checks
certificate, host name and signature exactly as it does for the real one.
"""

import datetime as dt
import threading
from collections.abc import Mapping

import msgspec

from gateway import lifeline
from gateway.simulator import certificates, lines, loopback


class Instructions(msgspec.Struct, frozen=True, kw_only=True):
    """The first line on standard input."""

    host: str
    """The name in the certificate."""
    keys: dict[str, str]
    """Path → PEM, e.g. ``/keys/demo.pem``."""


def make_server(host: str, keys: Mapping[str, str], now: dt.datetime) -> tuple[loopback.Server, bytes]:
    """A server with a certificate for ``host``, listening, not yet serving; and the PEM of the CA to trust."""
    issued = certificates.issue(host, now)

    class KeyHandler(loopback.Handler):
        def do_GET(self) -> None:  # noqa: N802  http.server looks it up by this name
            pem = keys.get(self.path)
            if pem is None:
                self.reply(404, b"no such key\n")
            else:
                self.reply(200, pem.encode("ascii"), "application/x-pem-file")

    return loopback.Server(KeyHandler, tls=issued.server_context()), issued.ca


def main() -> None:
    """Serve until standard input closes."""
    told = lifeline.instructions(Instructions)
    server, ca_pem = make_server(told.host, told.keys, dt.datetime.now(dt.UTC))
    threading.Thread(target=server.serve_forever, name="server", daemon=True).start()
    lines.write(lines.Ready(port=server.server_address[1], ca_pem=ca_pem.decode("ascii")))
    lifeline.watch().wait()


if __name__ == "__main__":
    main()
