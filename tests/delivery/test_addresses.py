"""Which IPv4 addresses hide in an IPv6 one, and in which words an address is refused."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.addresses import Address, Network, embedded, is_allowed, refusal

FOUR = st.ip_addresses(v=4).map(IPv4Address)


def hidden(address: str) -> list[str]:
    """The addresses in an address."""
    return [str(each) for each in embedded(IPv6Address(address))]


def groups(address: IPv4Address) -> str:
    """An IPv4 address as two groups of an IPv6 one."""
    return f"{address.packed[:2].hex()}:{address.packed[2:].hex()}"


@given(FOUR)
def test_an_ipv4_address_is_found_in_every_transition_form(four: IPv4Address) -> None:
    """Mapped, translated, NAT64, 6to4 and ISATAP: exactly that address, to the last bit."""
    for form in ("::ffff:{}", "::ffff:0:{}", "64:ff9b::{}", "2002:{}::1", "2606:4700::5efe:{}", "2606::200:5efe:{}"):
        assert hidden(form.format(groups(four))) == [str(four)], form


@given(st.integers(2, 2**32 - 1))
def test_an_ipv4_compatible_address_is_one(number: int) -> None:
    """``::a.b.c.d``; but ``::`` and ``::1`` are themselves."""
    assert [int(each) for each in embedded(IPv6Address(number))] == [number]
    assert hidden("::") == hidden("::1") == []


@given(FOUR, FOUR)
def test_teredo_carries_two(server: IPv4Address, client: IPv4Address) -> None:
    """The server in the clear, the client with every bit turned round."""
    inverted = IPv4Address(int(client) ^ 0xFFFF_FFFF)
    assert hidden(f"2001:0:{groups(server)}:0:ffff:{groups(inverted)}") == [str(server), str(client)]


def test_a_local_nat64_prefix_may_be_of_any_length() -> None:
    """RFC 6052: the four bytes stand behind 48, 56, 64 or 96 bits, around the byte at 64; each place is judged."""
    assert hidden("64:ff9b:1:607:9:a0b:c0d:e0f") == ["6.7.9.10", "7.9.10.11", "9.10.11.12", "12.13.14.15"]
    assert hidden("64:ff9b:1:7:9:a0b:c0d:e0f") == ["7.9.10.11", "9.10.11.12", "12.13.14.15"], (
        "what begins with 0 is not"
    )
    assert hidden("64:ff9b:1::") == []


@pytest.mark.parametrize("address", ["2606:4700::1111", "fc00::1", "64:ff9b:2::a00:1", "2003:a00:1::", "2001:1:a00::1"])
def test_other_addresses_hide_none(address: str) -> None:
    """Neighbours of the prefixes are ordinary addresses."""
    assert hidden(address) == []


@pytest.mark.parametrize("identifier", ["0:5efd", "0:5eff", "100:5efe", "400:5efe", "1:5efe", "8000:5efe"])
def test_only_the_two_isatap_identifiers_are(identifier: str) -> None:
    """``00-00-5E-FE`` and, with the bit of a global address, ``02-00-5E-FE``; nothing that looks like them."""
    assert hidden(f"2606:4700::{identifier}:a00:1") == []


EVERYTHING: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
WORDS = {
    "10.0.0.1": "private, 10.0.0.0/8",
    "169.254.169.254": "link-local, where clouds serve instance metadata, 169.254.0.0/16",
    "::1": "loopback, ::1/128",
    "4000::1": "not global unicast",
    "1fff::1": "not global unicast",
    "fe80::1%eth0": "it is bound to an interface",
    "2606:4700::1%eth0": "it is bound to an interface",
    "2001:db8::1": "documentation, 2001:db8::/32",
    "::ffff:10.0.0.1": "IPv4-mapped, ::ffff:0:0/96, and 10.0.0.1 inside it is private, 10.0.0.0/8",
    "::ffff:8.8.8.8": "IPv4-mapped, ::ffff:0:0/96",
    "2606:4700::5efe:10.0.0.1": "transition, and 10.0.0.1 inside it is private, 10.0.0.0/8",
}


@pytest.mark.parametrize(("text", "rule"), WORDS.items())
def test_a_refusal_names_the_rule(text: str, rule: str) -> None:
    """And the network of the list it comes from; what is hidden inside is named too."""
    assert refusal(ip_address(text)) == rule


@pytest.mark.parametrize("text", ["8.8.8.8", "2606:4700::1111", "2000::1", "3ffe::1", "2606:4700::5efe:8.8.8.8"])
def test_a_public_address_has_no_rule_against_it(text: str) -> None:
    """Up to the ends of global unicast."""
    assert refusal(ip_address(text)) is None


def test_what_is_named_is_judged_by_its_own_family() -> None:
    """An IPv4 network covers no IPv6 address, though their numbers may fit, and the other way round."""
    low: Address = ip_address("::a00:1")
    assert is_allowed(ip_address("10.0.0.1"), [ip_network("10.0.0.0/8")])
    assert not is_allowed(low, [ip_network("10.0.0.0/8")])
    assert not is_allowed(ip_address("10.0.0.1"), [ip_network("::/0")])
    assert is_allowed(low, [ip_network("10.0.0.0/8"), ip_network("::/96")])
    assert not is_allowed(low, [])


def test_a_named_network_is_no_longer_judged_as_not_global() -> None:
    """``allow_networks`` covers addresses outside global unicast as well, but not what hides in them."""
    named = [ip_network("4000::/16")]
    assert refusal(ip_address("4000::1"), named) is None
    assert refusal(ip_address("4000::5efe:10.0.0.1"), named) == (
        "transition, and 10.0.0.1 inside it is private, 10.0.0.0/8"
    )
    assert refusal(ip_address("4000::5efe:10.0.0.1"), EVERYTHING) is None
