"""A store user that lacks a right, or loses it in between: a script refuses before it writes."""

import asyncio
import importlib.resources
import re
from collections.abc import Awaitable, Callable, Iterable

import pytest
from redis.exceptions import ResponseError

from gateway.errors import StoreError
from gateway.store import connection
from gateway.store.dead_letters import DeadLetters
from gateway.store.parked import Change
from gateway.store.scripts import rights
from tests.store.partition import NOW_MS, Partition, Subscriber, bury, dead, event, hash_of, kept, park
from tests.support.stores import StoreServer

FOLDER = importlib.resources.files("gateway.store") / "lua"
SCRIPTS = {path.name.removesuffix(".lua"): path.read_text("utf-8") for path in FOLDER.iterdir()}
KEY = hash_of("talk")

CALL = re.compile(r"redis\.p?call\(([^,)]*)")
FUNCTION = re.compile(r"^(?:local )?function ", re.MULTILINE)


def writing(server: StoreServer, commands: set[str]) -> set[str]:
    """Those that write, as the server says."""
    told = server.ask("COMMAND", "INFO", *commands)
    assert len(told) == len(commands)
    return {name.upper() for name, what in told.items() if "write" in what["flags"]}


def test_every_script_asks_for_what_it_calls_once_it_has_written(server: StoreServer) -> None:
    """Each command that follows a first write, or stands in a function, is named in the header; nothing else is."""
    for name, text in SCRIPTS.items():
        calls = [
            (found.start(), command) for found in CALL.finditer(text) for command in re.findall("'([A-Z]+)'", found[1])
        ]
        assert len(calls) >= len(CALL.findall(text)) > 0, f"{name}: a call whose command this test cannot read"
        writes = writing(server, {command for _, command in calls})
        named = {command for command, _ in rights(text)}
        if not writes:
            assert (named, text.startswith("#!lua flags=no-writes\n")) == (set(), True), name
            continue
        begins = [at for at, command in calls if command in writes] + [at.start() for at in FUNCTION.finditer(text)]
        assert named == {command for at, command in calls if at >= min(begins)}, name


async def some_of_a_key(partition: Partition) -> Subscriber:
    """Six events: the first of a key parked, two behind it, one of it dead; two without a key."""
    await partition.commit(*[event(f"{number}") for number in range(6)])
    crm = await partition.subscriber()
    await crm.settle(
        6, park(1, key=KEY), Change("hold", 2, KEY), dead(3, b"no", key=KEY), park(4), park(5), Change("hold", 6, KEY)
    )
    return crm


async def commit(partition: Partition) -> None:
    """A batch with something for every shelf."""
    await partition.commit(event("a"), event("b"), quarantined=(kept(b"q"),), rejected=(kept(b"r"),), number=99)


async def settle(partition: Partition) -> None:
    """What was parked is delivered, dies or is dropped; one of a key follows."""
    crm = Subscriber(partition, "crm", 1)
    crm.cursor = 6
    await crm.settle(6, Change("done", 1, KEY, info=b"{}"), bury(4), Change("drop", 5))


async def retry(partition: Partition) -> None:
    """A dead letter comes back in its place."""
    assert await DeadLetters(partition.store, partition.keys, "crm").move("retry", [3], NOW_MS) == 1


STEPS: dict[str, Callable[[Partition], Awaitable[None]]] = {"commit": commit, "settle": settle, "dead": retry}


def contents(server: StoreServer) -> dict[bytes, bytes]:
    """Every key with all it holds."""
    return {key: server.ask("DUMP", key) for key in server.ask("KEYS", "*")}


async def without_each(server: StoreServer, step: str, commands: Iterable[str]) -> tuple[list[str], list[str]]:
    """Take each of these rights in turn, try the step, give it back.

    Returns of which the refusal did not speak, and of which the step was left half done; else it is then done whole.
    """
    unnamed, spoilt = [], []
    async with server.store() as store:
        for command in commands:
            server.ask("FLUSHALL")
            partition = Partition(store)
            await some_of_a_key(partition)
            before, why = contents(server), ""
            server.ask("ACL", "SETUSER", "default", f"-{command}")
            try:
                await STEPS[step](partition)
            except (StoreError, ResponseError) as error:
                why = str(error)
            finally:
                server.ask("ACL", "SETUSER", "default", "+@all")
            if f"no right to {command} on {{0}}:" not in why:
                unnamed.append(command)
            if contents(server) != before:
                spoilt.append(command)
            else:
                await STEPS[step](partition)
                assert contents(server) != before
                assert (await partition.ledger()).unaccounted == 0
    return unnamed, spoilt


@pytest.mark.parametrize("step", STEPS)
def test_a_right_that_is_missing_leaves_nothing_half_done(server: StoreServer, step: str) -> None:
    """The refusal names the command, the store is as before, and with the right given back the same step is done."""
    every = [command for command, _ in rights(SCRIPTS[step])]
    assert asyncio.run(without_each(server, step, every)) == ([], [])


@pytest.mark.parametrize(("step", "command"), [("commit", "HINCRBY"), ("settle", "XADD"), ("dead", "HSET")])
def test_a_script_that_does_not_ask_is_left_half_done(
    server: StoreServer, step: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the above."""
    monkeypatch.setattr(connection, "text_of", SCRIPTS.__getitem__)
    assert asyncio.run(without_each(server, step, [command])) == ([command], [command])


async def spoilt(server: StoreServer, partition: Partition, command: str) -> None:
    """A batch of two sources of which a script that does not ask left the entries, without number and counts."""
    server.ask("ACL", "SETUSER", "default", f"-{command}")
    try:
        with pytest.raises(StoreError):
            await partition.commit(event("x", source="one"), event("y", source="two"), event("z", source="one"))
    finally:
        server.ask("ACL", "SETUSER", "default", "+@all")


@pytest.mark.parametrize("command", ["HINCRBY", "HSET"])
@pytest.mark.parametrize("before", [0, 2])
def test_entries_that_were_left_without_their_number_are_taken_up(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch, command: str, before: int
) -> None:
    """The next entry is refused once; then it follows them, they are known as duplicates, and the account adds up."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            for number in range(before):
                await partition.commit(event(f"{number}", source="two"))
            with monkeypatch.context() as patch:
                patch.setattr(connection, "text_of", SCRIPTS.__getitem__)
                await store._load("commit")
                await spoilt(server, partition, command)
            await store._load("commit")
            assert (await partition.account()).seq == before
            with pytest.raises(StoreError, match=f"refused entry {before + 1}: 3 were there without their number"):
                await partition.commit(event("a"))
            assert await partition.commit(event("a"), event("x", source="one")) == [before + 4, 0]
            extent, entries = await partition.log.extent(), await partition.log.read(0, 10)
            assert (extent.seq, extent.entries) == (before + 4, before + 4)
            assert extent.log_bytes == sum(len(each.event_json) + len(each.raw_json) for each in entries)
            flat = await store.call("HMGET", partition.keys.state, "e:one:logged", "e:two:logged", "e:one:produced")
            assert [int(each) for each in flat] == [2, before + 1, 3]
            assert (await partition.ledger()).unaccounted == 0

    asyncio.run(check())


def test_entries_that_do_not_add_up_are_left_to_somebody_who_knows(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the above: with a count that nobody can explain nothing is changed, and the refusal stays."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            with monkeypatch.context() as patch:
                patch.setattr(connection, "text_of", SCRIPTS.__getitem__)
                await spoilt(server, partition, "HINCRBY")
            await store._load("commit")
            await store.call("HSET", partition.keys.state, "e:three:logged", 1)
            before = contents(server)
            for _ in range(2):
                with pytest.raises(StoreError, match=r"refused entry 1: .*equal or smaller"):
                    await partition.commit(event("a"))
            assert contents(server) == before

    asyncio.run(check())
