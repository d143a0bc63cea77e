"""The world of an act: what it is configured with, and what its providers send."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from adapters.contract import Adapter, Request
from adapters.registry import find
from gateway.intake.pipeline import Events, receive
from gateway.simulator import scene
from tests.crashes.provider import Message

CASES = {
    "enviaai-br": ("message.received__documented", "message.read__documented", "message.failed__documented"),
    "engium": ("booking.confirmed__inferred", "payment.succeeded__inferred", "conversation.message.read__inferred"),
    "chat": ("newMessage__documented", "smsDeliveryReport.delivered__documented"),
    "aivo": ("msg_status.read__documented",),
    "receipts": ("NOTIFICATION.SMS.RECEIPT__documented",),
}
"""Source → what it sends, one event a request."""
TURNS = ("enviaai-br",) * 11 + ("engium",) * 4 + ("chat",) * 3 + ("aivo", "receipts")
"""Who sends: in turns, the costly signatures seldom."""

SUBSCRIBERS = ("plain", "ordered", "filtered", "picky")

CONFIG = """
[gateway]
admin_token = "env:DEMO_ADMIN_TOKEN"
log_level = "warning"
[store]
url = "{store}"
spool = "{spool}"
retention_bytes = "{retention}"
partitions = 2
[sources.enviaai-br]
adapter = "enviaai"
secrets = ["env:DEMO_ENVIAAI_SECRET"]
[sources.engium]
adapter = "engium"
secrets = ["env:DEMO_ENGIUM_SECRET"]
[sources.aivo]
adapter = "aivo_engage"
header = "x-auth-token"
secrets = ["env:DEMO_AIVO_TOKEN"]
[sources.chat]
adapter = "generic_chat"
secrets = ["env:DEMO_CHAT_SECRET"]
[sources.receipts]
adapter = "flexengage"
environment = "test"
accounts = ["{brand}"]
"""
SUBSCRIBER = """
[subscribers.{name}]
url = "http://127.0.0.1:{port}/"
secrets = ["env:DEMO_CRM_SECRET"]
allow_networks = ["127.0.0.0/8"]
start = "beginning"
timeout = "2s"
{more}
retry = [{retry}]
"""
MORE = {
    "plain": "",
    "ordered": 'order = "key"',
    "filtered": """types = ["message.*"]
where = 'event.channel == "whatsapp"'""",
    "picky": "",
}


def write_config(folder: Path, *, store: str, ports: Mapping[str, int], retention: str, spool: str, turn: int) -> None:
    """``gateway.toml``; another ``turn`` changes a little of it, for a reload."""
    text = CONFIG.format(store=store, brand=scene.BRAND, retention=retention, spool=spool)
    for name, port in ports.items():
        retry = ", ".join(['"200ms"'] * (1 if name == "picky" else 50))
        more = MORE[name] + (f"\nconcurrency = {16 + turn % 7}" if name == "plain" else "")
        text += SUBSCRIBER.format(name=name, port=port, more=more, retry=retry)
    (folder / "gateway.toml").write_text(text)


class Senders:
    """Makes the requests of all providers, and remembers who does not want which event."""

    def __init__(self, drawn: scene.Secrets) -> None:
        self.unwanted: dict[str, set[str]] = {"filtered": set()}
        self._keys = {scene.KEY_URL: drawn.flexengage_public_pem.encode()}
        self._of = {}
        for account in scene.accounts(drawn, ""):
            adapter = find(account.adapter, Path())
            assert isinstance(adapter, Adapter)
            source = account.as_source()
            if account.adapter == "flexengage":
                source = msgspec.structs.replace(source, accounts=(scene.BRAND,))
            self._of[account.source] = (adapter, source)

    def make(self, number: int) -> Message:
        """A signed request, another for every number."""
        name = TURNS[number % len(TURNS)]
        cases = CASES[name]
        adapter, source = self._of[name]
        now_ms = time.time_ns() // 1_000_000
        body = adapter.sample(cases[number // len(TURNS) % len(cases)], number)
        headers = {key.lower(): value for key, value in adapter.sign(body, source, now_ms).items()}
        pairs = tuple((key.encode(), value.encode()) for key, value in headers.items())
        outcome = receive(Request(pairs, body), source, adapter, self._keys, now_ms)
        assert isinstance(outcome, Events)
        (item,) = outcome.events
        event = item.event
        if not event.type.startswith("message.") or event.channel != "whatsapp":
            self.unwanted["filtered"].add(event.id)
        head = f"POST /in/{name} HTTP/1.1\r\nhost: gateway\r\ncontent-length: {len(body)}\r\n"
        head += "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        return Message(event.id, head.encode() + b"\r\n" + body)


def children(pid: int, title: bytes, titles: Callable[[], list[tuple[int, bytes]]]) -> list[int]:
    """The processes that ``pid`` started, and whose title has this in it."""
    found = []
    for child, words in titles():
        try:
            parent = int(Path(f"/proc/{child}/stat").read_text("latin-1").rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid and title in words:
            found.append(child)
    return sorted(found)
