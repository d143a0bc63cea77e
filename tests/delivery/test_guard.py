"""The guard: which addresses, which URLs, and that what is checked is what is connected to."""

import asyncio
import gc
import socket
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.addresses import Address, Network
from gateway.delivery.guard import Guard, Pin, Target, check_address, parse_url, system_resolve
from gateway.errors import TargetRefused

EVERYTHING: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"]
NOT_PUBLIC = [
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12:3456::1"),  # private
    *("127.0.0.1", "127.255.255.254", "::1"),  # loopback
    *("100.64.0.1", "100.127.255.255"),  # carriers
    *("192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"),  # documentation
    *("198.18.0.1", "198.19.255.255", "2001:2::1"),  # benchmarking
    *("192.0.0.1", "192.0.0.9", "192.88.99.1", "192.31.196.1", "192.52.193.1", "192.175.48.1"),  # protocols
    *("::ffff:8.8.8.8", "::ffff:10.0.0.1", "::8.8.8.8", "::10.0.0.1", "::ffff:0:8.8.8.8"),  # IPv4 in disguise
    *("64:ff9b::8.8.8.8", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "64:ff9b:1:a00:0:100::"),  # NAT64
    *("2002:808:808::1", "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),  # 6to4, Teredo
    *(
        "2001:1::1",
        "fec0::1",
        "100::1",
        "100:0:0:1::1",
        "2001:10::1",
        "2001:20::1",
        "5f00::1",
        "2620:4f:8000::1",
        "4000::1",
    ),
    *("2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:127.0.0.1"),  # ISATAP
]
NEVER = [
    *("169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.1.1", "fe80::1", "fe80::1%eth0"),
    *(
        "2606:4700::1111%eth0",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    ),
    *("fd00:42::42", "fd00:a9fe:a9fe::1"),
    *("0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "239.255.255.255", "ff02::1", "255.255.255.255", "240.0.0.1"),
    *("::ffff:169.254.169.254", "::169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::"),
    *(
        "::ffff:0:169.254.169.254",
        "64:ff9b:1::169.254.169.254",
        "64:ff9b:1:a9fe:a9:fe00::",
        "64:ff9b:1:0:a9:fea9:fe00::",
    ),
    *("2001:0:a9fe:a9fe::1", "2001:0:808:808:0:0:5601:5601", "2606:4700::5efe:169.254.169.254", "::ffff:0.0.0.0"),
]


def addresses(*texts: str) -> list[Address]:
    """Addresses from texts."""
    return [ip_address(text) for text in texts]


class Names:
    """A resolver for tests: names and what they lead to, changeable, with a count of the look-ups."""

    def __init__(self, **names: Sequence[str]) -> None:
        self.names = dict(names)
        self.asked = 0
        self.gate: asyncio.Event | None = None

    async def __call__(self, host: str, port: int) -> list[Address]:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if host not in self.names:
            raise OSError("no such name")
        return addresses(*self.names[host])


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def target(url: str, names: Names | None = None, allow: Sequence[Network] = (), **guard: object) -> Target:
    """Look a URL up with a guard of its own."""
    return asyncio.run(Guard(resolve=names or Names(), **guard).target(url, allow))  # type: ignore[arg-type]  # test


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_allowed(text: str) -> None:
    """The refusals below do not come from refusing everything."""
    check_address(ip_address(text))


@pytest.mark.parametrize("text", [*NOT_PUBLIC, *NEVER])
def test_what_is_not_public_unicast_is_refused(text: str) -> None:
    """Private, special and disguised addresses are refused, and the message names the address."""
    with pytest.raises(TargetRefused) as refused:
        check_address(ip_address(text))
    assert str(ip_address(text)) in str(refused.value)


@pytest.mark.parametrize("text", NEVER)
def test_metadata_stays_refused_where_everything_is_allowed(text: str) -> None:
    """No network a subscriber names opens the way to metadata, link-local, multicast or no address at all."""
    with pytest.raises(TargetRefused):
        check_address(ip_address(text), EVERYTHING)


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_a_named_network_is_allowed(text: str) -> None:
    """What a subscriber names is allowed, where it is none of the addresses nobody can have."""
    check_address(ip_address(text), EVERYTHING)


def test_a_named_network_does_not_cover_what_hides_in_it() -> None:
    """Allowing NAT64 allows public addresses behind it, and private ones only if they are named as well."""
    nat64 = (ip_network("64:ff9b::/96"),)
    check_address(ip_address("64:ff9b::8.8.8.8"), nat64)
    with pytest.raises(TargetRefused, match=r"10\.0\.0\.1 inside it is private"):
        check_address(ip_address("64:ff9b::10.0.0.1"), nat64)
    check_address(ip_address("64:ff9b::10.0.0.1"), (*nat64, ip_network("10.0.0.0/8")))


def test_a_refusal_says_what_to_do_where_something_can_be_done() -> None:
    """A private address comes with the setting that would allow it; a metadata address does not."""
    with pytest.raises(TargetRefused, match="allow_networks"):
        check_address(ip_address("10.0.0.1"))
    with pytest.raises(TargetRefused) as refused:
        check_address(ip_address("169.254.169.254"))
    assert "allow_networks" not in str(refused.value)


def test_allowing_one_network_allows_no_other() -> None:
    """A named network opens itself and nothing beside it."""
    check_address(ip_address("10.2.3.4"), (ip_network("10.2.0.0/16"),))
    with pytest.raises(TargetRefused):
        check_address(ip_address("10.3.3.4"), (ip_network("10.2.0.0/16"),))


@given(st.ip_addresses())
def test_nothing_is_allowed_that_the_standard_library_calls_special(address: Address) -> None:
    """Against an independent judge, one way: what we allow, ``ipaddress`` calls global, and no special name fits it."""
    try:
        check_address(address)
    except TargetRefused:
        return
    assert address.is_global
    assert not address.is_multicast
    assert not address.is_reserved


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "127.0.0.1.", "①②⑦.0.0.1"),
        *("%31%32%37.0.0.1", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0", "0.0.0.0"),
        *("localhost。", "169.254.169.254", "[fd00:ec2::254]", "[64:ff9b::7f00:1]"),
    ],
)
def test_a_host_in_any_spelling_is_the_address_it_is(host: str) -> None:
    """Literals in every spelling are read as the client reads them, and refused for what they are."""
    with pytest.raises(TargetRefused, match="not a public address"):
        target(f"https://{host}/", Names(**{"localhost.": ["127.0.0.1"]}))


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://example.com/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "data:,x",
            "/hooks",
            "",
            "https://",
            "https:",
        ),
        *(
            "https://example.com:0/",
            "https://example.com:99999/",
            "https://exa mple.com/",
            "https://[::1",
            "https://256.1.1.1/",
        ),
        *("https://user@example.com/", "https://user:pw@example.com/", "https://:pw@example.com/", "unix:/run/x.sock"),
        *("https://[fe80::1%25eth0]/", "gopher://example.com/", "ws://example.com/"),
    ],
)
def test_urls_that_cannot_be_delivered_to_are_refused(url: str) -> None:
    """Other schemes, credentials in the URL, bad hosts and bad ports are refused before any look-up."""
    with pytest.raises(TargetRefused):
        parse_url(url)


def test_a_refusal_shows_no_password() -> None:
    """The reason for refusing credentials in a URL does not repeat them."""
    with pytest.raises(TargetRefused) as refused:
        parse_url("https://user:hunter2@example.com/?token=hunter3")
    assert "hunter" not in str(refused.value)


def test_an_ordinary_url_is_looked_up_and_pinned() -> None:
    """A public name gives its addresses in the resolver's order, and the host as the client writes it."""
    found = target(
        "HTTPS://Münchén.example/h?a=1", Names(**{"xn--mnchn-esa3k.example": ["1.1.1.1", "2606:4700::1111"]})
    )
    assert (found.host, found.port, found.is_literal) == ("xn--mnchn-esa3k.example", 443, False)
    assert found.addresses == tuple(addresses("1.1.1.1", "2606:4700::1111"))
    assert str(found.url) == "https://xn--mnchn-esa3k.example/h?a=1"


def test_one_bad_address_among_good_ones_is_enough() -> None:
    """A name that also leads inside is refused altogether."""
    with pytest.raises(TargetRefused, match=r"10\.0\.0\.1"):
        target("https://mixed.example/", Names(**{"mixed.example": ["1.1.1.1", "10.0.0.1"]}))
    assert target("https://good.example/", Names(**{"good.example": ["1.1.1.1"]})).port == 443


def test_http_is_for_named_networks_only() -> None:
    """Plain http goes to networks the subscriber names, and only if all addresses are in them."""
    names = Names(
        **{"inside.example": ["127.0.0.1"], "outside.example": ["1.1.1.1"], "both.example": ["127.0.0.1", "1.1.1.1"]}
    )
    assert target("http://inside.example:8080/", names, LOOPBACK).port == 8080
    for host in ("outside.example", "both.example"):
        with pytest.raises(TargetRefused, match="use https"):
            target(f"http://{host}/", names, LOOPBACK)
        assert target(f"https://{host}/", names, LOOPBACK)


@pytest.mark.parametrize(
    ("own", "url", "refused"),
    [
        (("127.0.0.1", 8080), "http://127.1:8080/in/x", True),
        (("127.0.0.1", 8080), "http://127.0.0.1:8081/", False),
        (("127.0.0.1", 8080), "http://127.0.0.2:8080/", False),
        (("0.0.0.0", 8080), "http://127.0.0.2:8080/", True),
        ((None, 8080), "http://127.0.0.1:8080/", True),
        (("localhost", 8080), "http://127.0.0.1:8080/", True),
        ((ip_address("::"), 8080), "http://127.0.0.1:8080/", True),
        (("0.0.0.0", 8080), "https://1.1.1.1:8080/", False),
    ],
)
def test_the_gateway_does_not_deliver_to_itself(own: tuple[str, int], url: str, refused: bool) -> None:
    """The socket the gateway listens on is no target, in any spelling; its neighbours are."""
    if refused:
        with pytest.raises(TargetRefused, match="gateway itself"):
            target(url, allow=LOOPBACK, own=(own,))
    else:
        assert target(url, allow=LOOPBACK, own=(own,))


@pytest.mark.parametrize(
    ("public_url", "url", "refused"),
    [
        ("https://hooks.example.com", "https://hooks.example.com/in/chat", True),
        ("https://hooks.example.com", "https://HOOKS.example.com.:443//in/./chat?x=1", True),
        ("https://hooks.example.com", "https://hooks.example.com/%69n/chat", True),
        ("https://hooks.example.com", "https://hooks.example.com/crm/../in/chat/token", True),
        ("https://hooks.example.com", "https://hooks.example.com/in", True),
        ("https://hooks.example.com/gw", "https://hooks.example.com/gw/in/chat", True),
        ("http://hooks.example.com", "https://hooks.example.com/in/chat", True),
        ("https://hooks.example.com", "https://hooks.example.com/inbox", False),
        ("https://hooks.example.com", "https://hooks.example.com/crm/in/chat", False),
        ("https://hooks.example.com/gw", "https://hooks.example.com/in/chat", False),
        ("https://hooks.example.com", "https://hooks.example.com:8443/in/chat", False),
        ("https://hooks.example.com", "https://crm.example.com/in/chat", False),
        (None, "https://hooks.example.com/in/chat", False),
    ],
)
def test_the_gateway_does_not_deliver_to_its_own_intake_through_a_proxy(
    public_url: str | None, url: str, refused: bool
) -> None:
    """Behind a proxy the address is not ours, and an event would go round for ever; other paths there may be an app."""
    guard = Guard(
        resolve=Names(**{"hooks.example.com": ["1.1.1.1"], "crm.example.com": ["1.1.1.1"]}), public_url=public_url
    )
    if refused:
        with pytest.raises(TargetRefused, match="public_url"):
            asyncio.run(guard.target(url))
    else:
        assert asyncio.run(guard.target(url))


def test_a_name_that_leads_nowhere_is_an_oserror() -> None:
    """No address, no name and a name nobody could have are told apart from a refusal."""
    for host in ("nowhere.example", "empty.example"):
        with pytest.raises(OSError):  # noqa: PT011  # its kinds are the resolver's
            target(f"https://{host}/", Names(**{"empty.example": []}))


def test_the_system_resolver_finds_localhost_and_fails_as_oserror() -> None:
    """The default resolver answers from the system, and names it cannot encode are an ``OSError`` too."""
    found = asyncio.run(system_resolve("localhost", 80))
    assert ip_address("127.0.0.1") in found or ip_address("::1") in found
    for host in ("a" * 64 + ".example", "a..b"):
        with pytest.raises(OSError):  # noqa: PT011
            asyncio.run(Guard().target(f"https://{host}/"))


def test_a_name_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up ends by itself; the thread it leaves behind is a daemon and holds up no exit."""
    monkeypatch.setattr("gateway.delivery.guard.LOOK_UP_S", 0.05)
    names = Names()

    async def scenario() -> None:
        names.gate = asyncio.Event()
        await Guard(resolve=names).target("https://slow.example/")

    with pytest.raises(OSError, match="took more than"):
        asyncio.run(scenario())


async def settle() -> None:
    """Let what is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


def pin(names: Names, clock: Clock) -> Pin:
    """A pin on hooks.example."""
    return Pin(Guard(resolve=names, monotonic=clock, keep_s=30), "https://hooks.example/")


def test_a_pin_looks_up_once_for_many_and_keeps_it() -> None:
    """A hundred callers share one look-up, and for half a minute nobody asks again."""
    names, clock = Names(**{"hooks.example": ["1.1.1.1"]}), Clock()

    async def scenario() -> None:
        one = pin(names, clock)
        targets = await asyncio.gather(*[one.target() for _ in range(100)])
        assert len({id(each) for each in targets}) == 1
        clock.now_s += 29
        assert one.fresh() is targets[0]
        assert names.asked == 1

    asyncio.run(scenario())


def test_under_traffic_the_name_is_looked_up_beside_it() -> None:
    """When the time is up, callers go on with checked addresses while one look-up runs, then get what it found."""
    names, clock = Names(**{"hooks.example": ["1.1.1.1"]}), Clock()

    async def scenario() -> None:
        one = pin(names, clock)
        first = await one.target()
        names.gate = asyncio.Event()
        names.names["hooks.example"] = ["8.8.8.8"]
        clock.now_s += 31
        assert one.fresh() is first
        assert await one.target() is first
        names.gate.set()
        await settle()
        assert (await one.target()).addresses == tuple(addresses("8.8.8.8"))
        assert names.asked == 2

    asyncio.run(scenario())


def test_after_a_pause_the_name_is_looked_up_first() -> None:
    """After twice the time nothing goes to where the name pointed long ago."""
    names, clock = Names(**{"hooks.example": ["1.1.1.1"]}), Clock()

    async def scenario() -> None:
        one = pin(names, clock)
        await one.target()
        names.names["hooks.example"] = ["8.8.8.8"]
        clock.now_s += 60
        assert one.fresh() is None
        assert (await one.target()).addresses == tuple(addresses("8.8.8.8"))

    asyncio.run(scenario())


def test_a_name_that_turns_inside_is_refused_from_then_on(caplog: pytest.LogCaptureFixture) -> None:
    """DNS rebinding: a name that was public and now leads to metadata is refused; the look-up beside the traffic that
    found it leaves no complaint of asyncio's behind."""
    names, clock = Names(**{"hooks.example": ["1.1.1.1"]}), Clock()

    async def scenario() -> None:
        one = pin(names, clock)
        first = await one.target()
        names.names["hooks.example"] = ["169.254.169.254"]
        clock.now_s += 31
        assert one.fresh() is first
        await settle()
        assert one.fresh() is None
        with pytest.raises(TargetRefused):
            await one.target()
        names.names["hooks.example"] = ["1.1.1.1"]
        assert await one.target()
        names.names["hooks.example"] = ["169.254.169.254"]
        clock.now_s += 31
        assert one.fresh()
        await settle()
        gc.collect()

    asyncio.run(scenario())
    assert caplog.text == ""


def test_the_same_addresses_in_another_order_are_the_same_target() -> None:
    """A name server that turns its answers round causes no new client."""
    names, clock = Names(**{"hooks.example": ["1.1.1.1", "8.8.8.8"]}), Clock()

    async def scenario() -> None:
        one = pin(names, clock)
        first = await one.target()
        names.names["hooks.example"] = ["8.8.8.8", "1.1.1.1"]
        clock.now_s += 60
        assert await one.target() is first
        assert names.asked == 2

    asyncio.run(scenario())


def test_known_addresses_outlive_the_name_server_for_ten_minutes() -> None:
    """While names cannot be looked up, addresses that were checked serve on; not for ever."""
    names, clock = Names(**{"hooks.example": ["1.1.1.1"]}), Clock()

    async def scenario() -> None:
        one = pin(names, clock)
        first = await one.target()
        names.names.clear()
        for _ in range(9):
            clock.now_s += 60
            assert await one.target() is first
        clock.now_s += 120
        with pytest.raises(OSError, match="no such name"):
            await one.target()

    asyncio.run(scenario())


def test_a_doubted_target_is_looked_up_again_once_a_second() -> None:
    """Where nobody answers, the next attempt looks the name up first, yet failing attempts are no flood of look-ups."""
    names, clock = Names(**{"hooks.example": ["1.1.1.1"]}), Clock()

    async def scenario() -> None:
        one = pin(names, clock)
        await one.target()
        one.doubt()
        assert one.fresh() is not None
        clock.now_s += 1
        one.doubt()
        assert one.fresh() is None
        await one.target()
        assert names.asked == 2

    asyncio.run(scenario())


def test_a_caller_that_gives_up_takes_nobody_with_it() -> None:
    """One waiting attempt is cancelled; the look-up and the others go on."""
    names, clock = Names(**{"hooks.example": ["1.1.1.1"]}), Clock()

    async def scenario() -> None:
        names.gate = asyncio.Event()
        one = pin(names, clock)
        leaves, stays = asyncio.create_task(one.target()), asyncio.create_task(one.target())
        await settle()
        leaves.cancel()
        await settle()
        names.gate.set()
        assert (await stays).host == "hooks.example"
        assert leaves.cancelled()

    asyncio.run(scenario())


@pytest.mark.parametrize("own", ["127.0.0.1", "0.0.0.0", "::"])
def test_the_gateway_is_itself_in_ipv4_mapped_addresses_too(own: str) -> None:
    """Where everything is allowed, ``::ffff:127.0.0.1`` once led a subscriber round to the gateway."""
    allow = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    for host in ("[::ffff:127.0.0.1]", "[::ffff:7f00:1]"):
        with pytest.raises(TargetRefused, match="gateway itself"):
            target(f"http://{host}:8080/", allow=allow, own=((own, 8080),))
        assert target(f"http://{host}:8081/", allow=allow, own=((own, 8080),))


def test_the_probe_for_the_machines_own_addresses_sends_nothing() -> None:
    """An address the machine has can be bound to, one it has not cannot: the positive control of the loop guard."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, pytest.raises(OSError, match="assign"):
        probe.bind(("203.0.113.1", 0))
    with pytest.raises(TargetRefused, match="gateway itself"):
        target("http://127.0.0.1:9/", allow=LOOPBACK, own=((None, 9),), is_local=lambda _: True)
    assert target("http://127.0.0.1:9/", allow=LOOPBACK, own=((None, 9),), is_local=lambda _: False)
