"""The subscriber: nginx, answering 204 to anything, counting what it answered."""

import re
import socket
import urllib.request
from collections.abc import Collection
from pathlib import Path

from bench.machine import tool
from bench.process import BenchError, Child

_CONFIG = """\
daemon off;
master_process off;
worker_processes 1;
error_log stderr error;
pid {directory}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    server_tokens off;
    tcp_nodelay on;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
    client_max_body_size 8m;
    client_body_buffer_size 64k;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 204; }}
        location = /sink-status {{ stub_status; }}
    }}
}}
"""

_TOTALS = re.compile(r"^\s*\d+\s+\d+\s+(\d+)\s*$", re.MULTILINE)
"""The line of ``stub_status`` with accepted, handled, requests
(https://nginx.org/en/docs/http/ngx_http_stub_status_module.html)."""


class Sink:
    """A running sink; use as a context manager."""

    def __init__(self, directory: Path, cores: Collection[int] | None) -> None:
        """Start nginx with its files in ``directory`` (made here), on ``cores``. Raises ``BenchError``."""
        directory.mkdir(parents=True)
        self._asked = 0
        self._child, self.port = self._start(directory, cores)
        self.url = f"http://127.0.0.1:{self.port}/hooks"

    def _start(self, directory: Path, cores: Collection[int] | None) -> tuple[Child, int]:
        # nginx cannot be told to take any free port, so one is looked up; another process may be faster to it.
        for attempt in range(3):
            port = free_port()
            config = directory / "nginx.conf"
            config.write_text(_CONFIG.format(directory=directory, port=port))
            argv = [tool("nginx"), "-e", "stderr", "-p", str(directory), "-c", str(config)]
            child = Child(argv, log=directory / "nginx.log", cores=cores, stop_within_s=5)
            try:
                child.until(lambda port=port: _open(port), what="open port", within_s=5)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            except BenchError:
                child.close()
                if attempt == 2:
                    raise
            else:
                return child, port
        raise AssertionError("unreachable")

    def received(self) -> int:
        """How many requests were answered so far, without our own questions."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/sink-status", timeout=5) as answer:
            text = answer.read().decode()
        self._asked += 1
        found = _TOTALS.search(text)
        if found is None:
            raise BenchError(f"the sink's status page reads otherwise than expected: {text!r}")
        return int(found[1]) - self._asked

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _open(port: int) -> bool | None:
    with socket.socket() as probe:
        probe.settimeout(1)
        return True if probe.connect_ex(("127.0.0.1", port)) == 0 else None
