"""A gateway whose every secret is a canary, and everything that can be done with it: what came out is kept by place."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adapters.aivo_engage import ADAPTER as AIVO
from adapters.enviaai import ADAPTER as ENVIAAI
from adapters.generic_chat import ADAPTER as CHAT
from tests.canary.birds import Birds
from tests.cli.running import run
from tests.support.gateways import GatewayProcess

TOML = """
[gateway]
admin_token = "env:CANARY_ADMIN"
log_level = "debug"
log_format = "{form}"
[[gateway.tokens]]
name = "look"
role = "read"
secret = "env:CANARY_READ"
[store]
url = "env:CANARY_STORE"
[sources.br]
adapter = "enviaai"
secrets = ["env:CANARY_NEW", "env:CANARY_OLD"]
[sources.aivo]
adapter = "aivo_engage"
header = "x-auth-token"
secrets = ["env:CANARY_HEADER"]
[sources.chat]
adapter = "generic_chat"
path_token = "env:CANARY_PATH"
[subscribers.echo]
url = "env:CANARY_URL"
secrets = ["env:CANARY_WHSEC"]
retry = ["50ms"]
allow_networks = ["127.0.0.0/8"]
headers = {{ authorization = "env:CANARY_OUT" }}
[subscribers.good]
url = "http://127.0.0.1:{port}/good"
secrets = ["env:CANARY_WHSK"]
allow_networks = ["127.0.0.0/8"]
[alerts]
url = "env:CANARY_ALERT"
secrets = ["env:CANARY_ALERT_WHSEC"]
allow_networks = ["127.0.0.0/8"]
"""


class Receiver(ThreadingHTTPServer):
    """Subscribers and alerts: those at ``/good`` take everything, others show the request back in a 500."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[tuple[str, bytes]] = []
        self.port = self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert isinstance(self.server, Receiver)
        self.server.bodies.append((self.path.partition("?")[0].split("/")[1], body))
        good = self.path.startswith("/good")
        answer = b"" if good else json.dumps({"you sent": [self.path, dict(self.headers)]}).encode()
        self.send_response(200 if good else 500)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver while the block runs."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def environment(birds: Birds, receiver: Receiver, store_url: Callable[[str], str]) -> dict[str, str]:
    """Every variable the configuration refers to, a canary each."""
    base = f"http://127.0.0.1:{receiver.port}"
    seed = Ed25519PrivateKey.generate()
    key = seed.private_bytes_raw() + seed.public_key().public_bytes_raw()
    return {
        "CANARY_ADMIN": birds.new("the token of an operator"),
        "CANARY_READ": birds.new("the token of a reader"),
        "CANARY_STORE": store_url(birds.new("the store's password")),
        "CANARY_NEW": birds.new("a source's secret"),
        "CANARY_OLD": birds.new("a source's old secret"),
        "CANARY_HEADER": birds.new("a source's header token"),
        "CANARY_PATH": birds.new("a path token"),
        "CANARY_URL": f"{base}/hooks?token={birds.new('the token in a subscriber URL')}",
        "CANARY_WHSEC": birds.whsec("a signing secret"),
        "CANARY_WHSK": birds.add("an asymmetric signing key", "whsk_" + base64.b64encode(key).decode()),
        "CANARY_OUT": f"Bearer {birds.new('a header of a subscriber')}",
        "CANARY_ALERT": f"{base}/alerts/{birds.new('the token in the alerts URL')}",
        "CANARY_ALERT_WHSEC": birds.whsec("the secret of alerts"),
    }


class Scene:
    """One running gateway, and what came out of it."""

    def __init__(self, birds: Birds, folder: Path, env: dict[str, str], receiver: Receiver, form: str) -> None:
        (folder / "gateway.toml").write_text(TOML.format(port=receiver.port, form=form))
        self.birds, self.folder, self.env, self.receiver = birds, folder, env, receiver
        self.out: dict[str, str] = {}
        """Place → what stood there."""
        self.gateway = GatewayProcess(folder, env)

    def client(self, token: str | None) -> httpx.Client:
        """Somebody with this token."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.gateway.url, headers=headers, trust_env=False, timeout=30)

    def keep(self, place: str, text: str) -> None:
        """Note what stood somewhere."""
        self.out[f"{place} ({len(self.out)})"] = text

    def ask(self, client: httpx.Client, method: str, path: str, **request: Any) -> httpx.Response:
        """Ask the API or a page, and keep the answer."""
        answer = client.request(method, path, **request)
        self.keep(f"{method} {path.partition('?')[0]} → {answer.status_code}", f"{answer.text} {answer.headers!r}")
        return answer

    def verb(self, *words: str, offline: bool = False) -> None:
        """Run a verb, and keep what it says."""
        online = [] if offline else ["--url", self.gateway.url, "--token", self.env["CANARY_ADMIN"]]
        done = run(*words, *online, cwd=self.folder, env={**self.env, "COLUMNS": "200"})
        self.keep(f"gateway {' '.join(words)} → {done.code}", done.out + done.err)

    def provider(self) -> None:
        """What providers send: proven by each secret, unproven in several ways, proven and unreadable."""
        with self.client(None) as client:
            for number, secret in enumerate(("CANARY_NEW", "CANARY_OLD")):
                self._enviaai(client, number, self.env[secret], 200)
            self._enviaai(client, 7, "wrong", 401)
            self._post(
                client, "br", b"{not json", {"x-enviaai-signature": _hmac(self.env["CANARY_NEW"], b"{not json")}, 200
            )
            token = self.env["CANARY_HEADER"]
            aivo = AIVO.sample("msg_status.read__documented", 1)
            self._post(client, "aivo", aivo, {"x-auth-token": token}, 200)
            self._post(client, "aivo", aivo, {"x-auth-token": f"{token}x"}, 401)
            self._post(client, "aivo", f'{{"our own":"{token}"}}'.encode(), {"x-other": token}, 401)
            chat = json.loads(CHAT.sample("newMessage__credentials", 1))
            channel = chat["conversation"]["Channel"]
            channel["credentials"] = {"apiKey": self.birds.new("credentials that a provider sent")}
            channel["webhookUrl"] = f"https://hooks.example.com/in/chat/{self.env['CANARY_PATH']}"
            self._post(client, f"chat/{self.env['CANARY_PATH']}", json.dumps(chat).encode(), {}, 200)
            self._post(client, f"chat/{self.env['CANARY_PATH']}x", b"{}", {}, 401)
            self._post(client, f"nowhere/{self.env['CANARY_PATH']}", b"{}", {}, 404)
            self._post(client, f"chat/{self.env['CANARY_PATH']}", b"x" * 2_000_000, {}, 413)
            self.ask(client, "GET", f"/in/chat/{self.env['CANARY_PATH']}")

    def _enviaai(self, client: httpx.Client, number: int, secret: str, status: int) -> None:
        body = ENVIAAI.sample("message.received__documented", number)
        self._post(client, "br", body, {"x-enviaai-signature": _hmac(secret, body)}, status)

    def _post(self, client: httpx.Client, path: str, body: bytes, headers: dict[str, str], status: int) -> None:
        answer = client.post(f"/in/{path}", content=body, headers={"content-type": "application/json", **headers})
        assert answer.status_code == status, (path.partition("/")[0], answer.text)
        self.keep(f"the answer {status} to a provider", answer.text + repr(answer.headers))

    def wait(self, what: Callable[[], bool]) -> None:
        """Until it is so."""
        deadline_s = time.monotonic() + 20
        while not what():
            assert time.monotonic() < deadline_s, self.gateway.words()[-2_000:]
            time.sleep(0.05)


def _hmac(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest()
