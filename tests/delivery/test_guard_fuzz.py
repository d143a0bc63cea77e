"""The guard and filters under fuzzing: every spelling of an address, any URL, any event; other parsers judge."""

import asyncio
import re
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyreqwest.client import ClientBuilder

from gateway.conformance.fuzz import JSON
from gateway.delivery.addresses import Address, Network, refusal
from gateway.delivery.condition import Condition
from gateway.delivery.guard import Guard, parse_url
from gateway.errors import TargetRefused

quick = settings(max_examples=150, database=None, deadline=None, derandomize=True)

V4 = st.ip_addresses(v=4)
PRIVATE = st.sampled_from(["10.0.0.0/8", "127.0.0.0/8", "192.168.0.0/16", "169.254.0.0/16", "172.16.0.0/12"]).flatmap(
    lambda network: st.ip_addresses(network=network)
)
LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"),)


def number(value: int, chance: Random) -> str:
    """One number in a base that browsers and libraries read, perhaps in other digits or percent-encoded."""
    written = chance.choice(
        (str(value), f"0{value:o}", f"0x{value:x}", f"0X{value:X}", f"00{value:o}", f"0x0{value:x}")
    )
    way = chance.randrange(6)
    if way == 0:
        return "".join(chr(0xFF10 + int(digit)) if digit.isdigit() else digit for digit in written)
    if way == 1:
        return "".join(f"%{ord(each):02x}" for each in written)
    return written


def spelling(address: IPv4Address, chance: Random) -> str:
    """An IPv4 address with one to four parts, other dots, a dot at its end, or inside an IPv6 one."""
    packed = address.packed
    parts = chance.randrange(1, 5)
    values = [*packed[: parts - 1], int.from_bytes(packed[parts - 1 :], "big")]
    dot = chance.choice((".", ".", ".", "\u3002", "\uff0e", "%2e"))
    host = dot.join(number(value, chance) for value in values) + chance.choice(("", "", "."))
    mapped = IPv6Address(b"\0" * 10 + b"\xff\xff" + packed)
    return chance.choice((host, host, host, f"[{mapped}]", f"[{mapped.exploded}]", f"[::ffff:{address}]"))


def same(found: Address) -> Address:
    """IPv4 as IPv4, also from inside an IPv6 one."""
    return (found.ipv4_mapped if isinstance(found, IPv6Address) else None) or found


@quick
@given(V4, st.integers(0, 10**9))
def test_every_spelling_is_the_address_or_refused(address: IPv4Address, seed: int) -> None:
    """No spelling is another address, and none is taken for a name and looked up."""
    url = f"https://{spelling(address, Random(seed))}/"
    try:
        _, host, _ = parse_url(url)
    except TargetRefused:
        return
    assert same(ip_address(host)) == address, url


@quick
@given(PRIVATE, st.integers(0, 10**9))
def test_no_spelling_of_a_private_address_is_delivered_to(address: IPv4Address, seed: int) -> None:
    """Whatever it is written as; and a look-up would be a failure of the test."""

    async def nobody(host: str, port: int) -> list[Address]:
        raise AssertionError(f"{host} was looked up")

    url = f"https://{spelling(address, Random(seed))}:8443/x"
    with pytest.raises(TargetRefused):
        asyncio.run(Guard(resolve=nobody).target(url))


@quick
@given(st.text(alphabet="0123456789abcdefxX.:[]%@/\\?# ", min_size=1, max_size=24))
def test_what_another_parser_calls_an_address_is_that_address(host: str) -> None:
    """Against the C library's reading, which is what a look-up would use: the same address, or refused."""
    try:
        _, found, _ = parse_url(f"https://{host}/")
    except TargetRefused:
        return
    if not re.fullmatch(r"[0-9a-fA-FxX.]+", found):
        return
    try:
        other = IPv4Address(socket.inet_aton(found))
    except OSError:
        return
    assert ip_address(found) == other


@quick
@given(st.text(max_size=60) | st.builds("https://{}".format, st.text(max_size=40)))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    """Nothing but a refusal is raised, and what is read is read the same again."""
    try:
        url, host, port = parse_url(text)
    except TargetRefused:
        return
    again, host_again, port_again = parse_url(str(url))
    assert (str(again), host_again, port_again) == (str(url), host, port)
    assert not set(host) & set("/\\@?# \t\r\n")


@quick
@given(PRIVATE)
def test_no_transition_form_hides_a_private_address(address: IPv4Address) -> None:
    """Mapped, translated, compatible, NAT64, 6to4, Teredo, ISATAP: allowing the form does not allow what is in it."""
    bits = int(address)
    hidden = (
        0xFFFF << 32 | bits,
        0xFFFF << 48 | bits,
        int(IPv6Address("64:ff9b::")) | bits,
        0x2002 << 112 | bits << 80 | 1,
        0x2001 << 112 | 0x08080808 << 64 | (bits ^ 0xFFFF_FFFF),
        int(IPv6Address("2606:4700::5efe:0:0")) | bits,
        int(IPv6Address("64:ff9b:1::")) | bits,
    )
    everything = (IPv6Network("::/0"),)
    for number_ in hidden:
        assert refusal(IPv6Address(number_), everything) is not None, IPv6Address(number_)


def test_the_client_connects_where_the_guard_says() -> None:
    """The client itself, without a guard, is the judge: every spelling by which it reaches a socket of the loopback
    address is refused for being one."""

    async def check() -> int:
        reached: list[str] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(4_096)
            writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            chance = Random(5)
            async with ClientBuilder().no_proxy().build() as client:
                for _ in range(60):
                    url = f"http://{spelling(IPv4Address('127.0.0.1'), chance)}:{port}/"
                    try:
                        answer = await client.post(url).build().send()
                    except Exception:  # the client does not know this spelling
                        continue
                    assert answer.status == 204
                    reached.append(url)
                    with pytest.raises(TargetRefused, match="not a public address"):
                        await Guard().target(url)
                    found = await Guard().target(url, (*LOOPBACK, ip_network("::ffff:0:0/96")))
                    assert same(found.addresses[0]) == IPv4Address("127.0.0.1")
        return len(reached)

    assert asyncio.run(check()) > 30


def test_a_guard_that_reads_names_as_names_is_noticed() -> None:
    """The control: of the spellings above, the standard library's parser would take most for names to look up."""
    chance, names = Random(1), 0
    for _ in range(100):
        written = spelling(IPv4Address("10.0.0.1"), chance)
        try:
            ip_address(written.strip("[]"))
        except ValueError:
            names += 1
    assert names > 30


CONDITIONS = [
    Condition(text)
    for text in (
        'event.data.status == "x"',
        'has(event.data.error) && event.data.error.code > "4"',
        'event.raw.a > 3 || event.raw.b[0] == "x"',
        'event.account.startsWith("a") && event.raw.size() > 2',
        'event.raw.a.matches("^a+$")',
        "event.raw.all(key, event.raw[key] != 0)",
    )
]


@quick
@given(JSON, JSON, st.sampled_from([10**30, -(2**63), 2**64, 1e308, -0.0, "\x00", "\ud800", "a" * 5_000]))
def test_a_filter_takes_any_event(data: Any, raw: Any, odd: Any) -> None:
    """A filter says yes or no, or fails and is counted; it never raises, whatever stands in the event."""
    for inside in (raw, {"a": odd, "b": [odd]}, odd):
        event = {"type": "other", "account": odd, "data": data, "raw": inside}
        for condition in CONDITIONS:
            assert condition.wants(event) in (True, False)
