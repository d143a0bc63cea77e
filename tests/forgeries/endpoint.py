"""The same forgeries, sent to a gateway that runs: what gets past ``receive()`` could still get past the socket."""

import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

from adapters.contract import Request
from tests.forgeries.forging import SERVED_FRESH_S, WAYS
from tests.forgeries.genuine import PATH_TOKEN, Genuine, fresh, rsa_keys, sources
from tests.forgeries.judging import GENUINE_EVERY, Verdict, forge
from tests.support.gateways import GatewayProcess, gateway

SERVED = ("enviaai", "engium", "engium-time", "aivo", "flexengage", "chat", "chat-token")
"""Sources whose requests can come from here: no address but the loopback's sends, and no key host runs."""
ANSWER_S = 20.0
_UNSENDABLE = frozenset(b"\r\n\0")


def config(log_level: str = "warning") -> str:
    """The configuration of these sources."""
    lines = ["[gateway]", f'log_level = "{log_level}"', "[store]", 'url = "embedded:./data"']
    for name, (adapter, source, _) in sources().items():
        if name not in SERVED:
            continue
        lines += [f"[sources.{name}]", f'adapter = "{adapter.name}"']
        if source.secrets:
            names = ", ".join(f'"env:{_variable(name)}_{at}"' for at in range(len(source.secrets)))
            lines.append(f"secrets = [{names}]")
        if source.header:
            lines.append(f'header = "{source.header.decode()}"')
        if source.options.get("signed_time"):
            lines.append("signed_time = true")
        if source.accounts:
            lines += [f'accounts = ["{source.accounts[0]}"]', 'public_key = "file:flex.pem"']
        if source.path_token_sha256:
            lines.append('path_token = "env:PATH_TOKEN"')
    return "\n".join(lines) + "\n"


def environment() -> dict[str, str]:
    """The secrets that the configuration names."""
    named = {"PATH_TOKEN": PATH_TOKEN.decode()}
    for name, (_, source, _) in sources().items():
        for at, secret in enumerate(source.secrets):
            named[f"{_variable(name)}_{at}"] = secret.decode()
    return named


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")


def sendable(request: Request) -> bool:
    """Whether HTTP carries this request as it is: white space around a value is not part of it."""
    token = request.path_token or b""
    return all(
        value == value.strip(b" \t") and not _UNSENDABLE & set(value) and name == name.strip() and name
        for name, value in request.headers
    ) and token == bytes(byte for byte in token if 0x21 <= byte < 0x7F and byte not in b"#?")


def wire(genuine: Genuine, request: Request) -> bytes:
    """The request as HTTP/1.1."""
    path = b"/in/" + genuine.source.name.encode()
    if request.path_token is not None:
        path += b"/" + request.path_token
    head = b"".join(name + b": " + value + b"\r\n" for name, value in request.headers)
    return (
        b"POST " + path + b" HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: %d\r\n" % len(request.body)
    ) + (head + b"\r\n" + request.body)


def ask(port: int, message: bytes) -> int:
    """Send it; the status of the answer, 0 without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as connection:
        answer = b""
        try:
            connection.sendall(message)
            while data := connection.recv(65_536):
                answer += data
        except ConnectionError:
            pass  # what came before counts
    words = answer.split(b" ", 2)
    return int(words[1]) if len(words) > 2 else 0


def judge_served(count: int, seed: int) -> Verdict:
    """Try ``count`` forged requests on a gateway of our own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="gateway-forgeries-") as name:
        folder = Path(name)
        (folder / "flex.pem").write_bytes(rsa_keys("flexengage").public)
        (folder / "gateway.toml").write_text(config())
        with gateway(folder, environment()) as running:
            return _judge(running, count, seed)


def _judge(running: GatewayProcess, count: int, seed: int) -> Verdict:
    chance, verdict = Random(seed), Verdict()
    known, made_s = _known(), time.monotonic()
    before = _accepted(running.ledger())
    done = 0
    while done < count:
        if time.monotonic() - made_s > SERVED_FRESH_S / 2:
            known, made_s = _known(), time.monotonic()
        each, way = chance.choice(known), chance.choice(list(WAYS))
        request = forge(each, way, chance)
        if request is None or not sendable(request):
            continue
        if done % GENUINE_EVERY == 0:
            _control(running.port, chance.choice(known), verdict, chance)
        done += 1
        verdict.forged[each.provider, way] += 1
        status = ask(running.port, wire(each, request))
        if status == 200:
            verdict.accepted[each.provider, way] += 1
            verdict.note(each.provider, way, f"{request.headers!r:.400} {request.body!r:.200}")
        elif status >= 500:
            verdict.failed += 1
            verdict.note(each.provider, way, f"answered {status}")
    taken = _accepted(running.ledger()) - before
    if taken != verdict.genuine - verdict.genuine_refused:
        verdict.failed += 1
        verdict.note("all", "ledger", f"{taken} requests are counted as accepted, {verdict.genuine} were genuine")
    return verdict


def _known() -> list[Genuine]:
    return [each for each in fresh(time.time_ns() // 1_000_000) if each.provider in SERVED]


def _accepted(ledger: Mapping[str, Mapping[str, int]]) -> int:
    return sum(number for name, number in ledger["requests"].items() if name in ("accepted", "ignored", "quarantined"))


def _control(port: int, genuine: Genuine, verdict: Verdict, chance: Random) -> None:
    adapter, signer = genuine.adapter, genuine.signer
    assert signer is not None
    now_ms = time.time_ns() // 1_000_000  # signed times grow old while this runs
    body = adapter.sample(adapter.cases[0], chance.randrange(10**9))
    headers = tuple((name.encode(), value.encode()) for name, value in adapter.sign(body, signer, now_ms).items())
    verdict.genuine += 1
    if ask(port, wire(genuine, Request(headers, body, genuine.request.path_token))) != 200:
        verdict.genuine_refused += 1
        verdict.note(genuine.provider, "genuine", "refused")
