"""Who sent it: the peer, or what a trusted proxy says; what the sender writes himself counts for nothing."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.intake.addresses import client_ip
from tests.intake.served import serving
from tests.support.stores import StoreServer

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # not a proxy of ours: its word counts for nothing
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66, 198.51.100.1"], "198.51.100.1"),  # the left one is the sender's invention
        ("10.0.0.1", ["192.0.2.66", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66, 198.51.100.1, 10.0.0.7, 10.9.9.9"], "198.51.100.1"),  # several proxies of ours
        ("10.0.0.1", ["10.0.0.7, 10.9.9.9"], "10.0.0.7"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "nonsense"),  # no address, so it will match no network
        ("10.0.0.1", ["10.0.0.1\xff, , "], "10.0.0.1\xff"),
        ("10.0.0.1", [" , "], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),  # some proxies append the port
        ("10.0.0.1", ["[2001:db8::5]:4711, [fd00::7]:80"], "2001:db8::5"),
        ("10.0.0.1", ["192.0.2.66, ::ffff:198.51.100.1, ::ffff:10.0.0.7"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),  # a socket for IPv4 and IPv6
        ("10.0.0.1", ["unknown"], "unknown"),
        ("10.0.0.1", ["2130706433"], "2130706433"),  # no spelling of an address that a proxy would write
        ("10.0.0.1", ["198.51.100.1, 010.0.0.1"], "010.0.0.1"),
        ("fd00::1", ["2001:db8::5"], "2001:db8::5"),
        ("2001:db8::5", ["198.51.100.1"], "2001:db8::5"),
        (None, ["198.51.100.1"], None),
    ],
)
def test_the_last_address_that_is_not_ours(peer: str | None, forwarded: list[str], found: str | None) -> None:
    """X-Forwarded-For is read from the right, as far as who wrote it is trusted."""
    headers = [(b"host", b"x"), *[(b"x-forwarded-for", each.encode("latin-1")) for each in forwarded]]
    scope = {"client": (peer, 1234) if peer else None, "headers": headers}
    assert client_ip(scope, PROXIES) == found
    assert client_ip(scope, []) == (
        peer.removeprefix("::ffff:") if peer else None
    )  # nobody is trusted unless somebody says so


@pytest.mark.parametrize("trusted", ["[]", '["127.0.0.0/8", "10.0.0.0/8"]'])
def test_an_allowed_address_behind_a_proxy(valkey: StoreServer, tmp_path: Path, trusted: str) -> None:
    """A source that proves by address believes the header only from a trusted proxy, and only its last part."""
    config = f"""
    [gateway]
    trusted_proxies = {trusted}
    [store]
    url = "{valkey.url}"
    [sources.chat]
    adapter = "generic_chat"
    allow_ips = ["174.138.104.128"]
    [sources.local]
    adapter = "generic_chat"
    allow_ips = ["127.0.0.1"]
    """
    behind = 200 if "127" in trusted else 401
    with serving(tmp_path, config, {}) as gateway:

        def send(source: str, *forwarded: str) -> int:
            headers = {"x-forwarded-for": ", ".join(forwarded)} if forwarded else {}
            return gateway.post(f"/in/{source}", b'{"event":"x"}', headers).status

        assert send("chat") == 401
        assert send("local") == 200
        assert send("chat", "174.138.104.128") == behind
        assert send("chat", "203.0.113.9", "174.138.104.128") == behind
        assert send("chat", "174.138.104.128", "10.1.1.1") == behind
        assert send("chat", "174.138.104.128", "203.0.113.9") == 401
        assert send("local", "203.0.113.9") == (401 if behind == 200 else 200)
        for name in ("forwarded", "x-real-ip", "client-ip", "true-client-ip", "x-client-ip", "cf-connecting-ip"):
            headers = {name: "for=174.138.104.128" if name == "forwarded" else "174.138.104.128"}
            assert gateway.post("/in/chat", b'{"event":"x"}', headers).status == 401
