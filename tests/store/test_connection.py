"""Scripts reach the server once, their replies reach who asked, and refusals have their name."""

import asyncio

import pytest
from redis.exceptions import ResponseError

from gateway.errors import StoreUnavailable
from gateway.store import connection as connection_module
from gateway.store.dead_letters import DeadLetters
from gateway.store.parked import Change
from tests.store.partition import NOW_MS, Partition, dead, event, park
from tests.support.proxy import proxied
from tests.support.stores import Kind, StoreServer, running


def test_scripts_are_loaded_again_after_the_server_forgot_them(server: StoreServer) -> None:
    """SCRIPT FLUSH, as a restart, makes the server answer NOSCRIPT: nothing has run, so the script is sent again."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            assert await partition.commit(event("a")) == [1]
            await store.call("SCRIPT", "FLUSH")
            assert await partition.commit(event("b")) == [2]
            await store.call("SCRIPT", "FLUSH")
            assert (await partition.account()).entries == 2
            subscriber = await partition.subscriber()
            await store.call("SCRIPT", "FLUSH")
            await subscriber.settle(2, delivered=2)
            assert (await subscriber.line())["delivered"] == 2

    asyncio.run(check())


def test_a_script_whose_reply_was_lost_is_not_sent_again_by_the_client(server: StoreServer) -> None:
    """The client library would repeat it by itself: whether that is right, only the caller knows."""

    async def check() -> None:
        async with proxied(server.socket) as proxy, server.store(url=proxy.url) as store:
            partition = Partition(store)
            await partition.commit(event("a"))
            passed, proxy.lose_replies = proxy.scripts, 1
            number = partition.log.next_batch()
            with pytest.raises(StoreUnavailable):
                await partition.commit(event("b"), number=number)
            assert proxy.scripts == passed + 1
            assert await partition.names() == ["a", "b"]  # it did happen
            assert await partition.commit(event("b"), number=number) == [2]  # and is not a duplicate
            assert (await partition.account()).sources["enviaai-br"].requests.accepted == 2

    asyncio.run(check())


def test_a_reply_nobody_waits_for_any_more_answers_no_other_question(server: StoreServer) -> None:
    """A commit that is given up leaves no reply behind for the next command: its connection is closed."""

    async def check() -> None:
        async with proxied(server.socket) as proxy, server.store(url=proxy.url) as store:
            partition = Partition(store)
            await partition.commit(event("a"), event("b"), event("c"))
            proxy.passing.clear()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await partition.commit(event("d"), event("e"), event("f"))
            proxy.passing.set()
            for name in "xyz":
                assert await store.call("ECHO", name) == name.encode()
            assert await partition.commit(event("g")) == [7]

    asyncio.run(check())


def test_a_store_that_is_away_is_unavailable_and_comes_back(server: StoreServer) -> None:
    """Refused connections and cut ones are one error, and the next command connects anew."""

    async def check() -> None:
        async with proxied(server.socket) as proxy, server.store(url=proxy.url) as store:
            partition = Partition(store)
            await partition.commit(event("a"))
            proxy.refuse = True
            proxy.cut()
            for ask in (
                lambda: partition.commit(event("b")),
                lambda: store.call("PING"),
                lambda: store.many([("PING",), ("PING",)]),
                store.ping,
            ):
                with pytest.raises(StoreUnavailable):
                    await ask()
            proxy.refuse = False
            assert await partition.commit(event("b")) == [2]

    asyncio.run(check())


def test_what_no_waiting_mends_is_not_called_unavailable(server: StoreServer) -> None:
    """A command the server does not know, or on a key of another kind, is a defect and stays one."""

    async def check() -> None:
        async with server.store() as store:
            with pytest.raises(ResponseError, match="unknown command"):
                await store.call("NONSENSE")
            await store.call("SET", "{0}:log", "a text")
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                await store.call("XLEN", "{0}:log")

    asyncio.run(check())


def test_a_server_that_loads_its_data_is_unavailable(store_kind: Kind) -> None:
    """While a restarted server reads its log back in, commands are to be tried later, not failed for good."""
    with running(store_kind, "--key-load-delay", "40") as loading:
        loading.ask("EVAL", "for i = 1, 5000 do redis.call('SET', 'key-' .. i, i) end", 0)
        loading.kill()

        async def check() -> None:
            async with loading.store() as store:
                with pytest.raises(StoreUnavailable):  # nobody listens
                    await store.ping()
                loading.launch()
                refusals = set()
                async with asyncio.timeout(20):
                    while True:
                        try:
                            await store.call("SET", "key-x", "x")
                            break
                        except StoreUnavailable as error:
                            refusals.add(str(error))
                            await asyncio.sleep(0.01)
                assert any("loading" in refusal.lower() for refusal in refusals), refusals

        asyncio.run(check())


def test_a_full_store_refuses_only_the_commit(store_kind: Kind) -> None:
    """At maxmemory no event gets in, while leases, settles, dead letters and trimming go on and make room."""
    with running(store_kind) as small:

        async def check() -> None:
            async with small.store() as store:
                partition = Partition(store)
                await partition.commit(*[event(f"{number}", pad_bytes=5_000) for number in range(100)])
                used = int((await store.info("memory"))["used_memory"])
                await store.call("CONFIG", "SET", "maxmemory", used // 2)
                with pytest.raises(StoreUnavailable, match="memory"):
                    await partition.commit(event("more"))
                assert await store.call("EXISTS", partition.keys.seen_prefix + "evt_more") == 0
                subscriber = await partition.subscriber()
                await subscriber.settle(3, park(1), dead(2), delivered=1)
                await subscriber.settle(100, Change("done", 1), delivered=97)
                assert await DeadLetters(store, partition.keys, "crm").move("retry", [2], NOW_MS) == 1
                await subscriber.settle(None, Change("done", 2))
                keys = subscriber.keys
                trimmed = [partition.keys.state, partition.keys.log, partition.keys.subs]
                trimmed += [keys.sub, keys.parked, keys.held, keys.dead]
                assert await store.script("trim", trimmed, [1, *range(1, 91)]) == 90
                assert (await partition.ledger()).unaccounted == 0
                await store.call("CONFIG", "SET", "maxmemory", used * 2)
                assert await partition.commit(event("more")) == [101]

        asyncio.run(check())


def test_a_task_that_asks_the_store_can_be_cancelled_at_any_moment(server: StoreServer) -> None:
    """Story: the client library sent with ``asyncio.wait_for``, which before Python 3.12 loses a cancellation that
    comes in the turn of the loop in which the send ends. Background work then went on for ever, and so did a stop."""

    async def ask_for_ever(partition: Partition) -> None:
        while True:
            await partition.store.call("PING")
            await partition.store.script("lease", [partition.keys.state], ["tester", 10_000, ""])

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            for turns in range(200):
                task = asyncio.create_task(ask_for_ever(partition))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task], timeout=1)
                assert task.cancelled(), f"it went on after {turns} turns"
            assert await store.call("ECHO", "x") == b"x"  # and no connection was left with a reply in it

    asyncio.run(check())


def test_a_store_that_does_not_answer_is_unavailable(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A half-open connection does not hang who asks: commands, scripts and pipelines end in time."""
    monkeypatch.setattr(connection_module, "REPLY_TIMEOUT_S", 0.05)

    async def check() -> None:
        async with proxied(server.socket) as proxy, server.store(url=proxy.url) as store:
            partition = Partition(store)
            await partition.commit(event("a"))
            proxy.passing.clear()
            proxy.deaf = True
            for ask in (
                lambda: partition.commit(event("b")),
                lambda: store.call("PING"),
                lambda: store.many([("PING",), ("PING",)]),
            ):
                with pytest.raises(StoreUnavailable, match="did not answer"):
                    await ask()
            proxy.deaf = False
            proxy.passing.set()
            assert await store.call("ECHO", "x") == b"x"

    asyncio.run(check())
