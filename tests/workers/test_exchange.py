"""Questions between workers, on real sockets."""

import asyncio
import socket
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gateway.workers.exchange import Exchange, Place

Story = Callable[[Callable[..., Exchange], Path], Awaitable[None]]


def play(story: Story, workers: int = 3) -> None:
    """Play a story in a folder whose name is short enough for sockets."""

    async def run() -> None:
        with tempfile.TemporaryDirectory(prefix="gwx-", ignore_cleanup_errors=True) as name:

            def exchange(number: int, **answers: Callable[[Any], Awaitable[Any]]) -> Exchange:
                return Exchange(Place(worker=number, workers=workers, folder=Path(name)), answers)

            await story(exchange, Path(name))

    asyncio.run(run())


def say(value: Any) -> Callable[[Any], Awaitable[Any]]:
    """An answer."""

    async def answer(given: Any) -> Any:
        return [value, given]

    return answer


def test_all_others_are_asked_and_those_that_do_not_answer_are_named() -> None:
    """One answers, one fails in words, one hangs, one never started: each is told apart, and in one time-out."""

    async def story(exchange: Callable[..., Exchange], _folder: Path) -> None:
        async def fail(_given: Any) -> Any:
            raise ValueError("the file has a mistake")

        async def hang(_given: Any) -> Any:
            await asyncio.sleep(60)

        asking = exchange(0)
        others = [exchange(1, q=say("one")), exchange(2, q=fail), exchange(3, q=hang)]
        for each in others:
            await each.start()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        found = await asking.ask("q", list[Any], {"n": 1}, within_s=0.3)
        assert loop.time() - began_s < 2
        assert found[1] == ["one", {"n": 1}]
        assert str(found[2]) == "the file has a mistake"
        assert isinstance(found[3], TimeoutError)
        assert isinstance(found[4], ConnectionRefusedError)
        assert sorted(found) == [1, 2, 3, 4]
        unknown = await asking.ask("other", list[Any], within_s=0.3)
        assert isinstance(unknown[1], RuntimeError)
        for each in others:
            await each.stop()

    play(story, workers=5)


def test_a_successor_takes_the_place_and_keeps_it_when_the_one_before_ends() -> None:
    """From its start the new one is asked; the old one takes nothing away when it stops."""

    async def story(exchange: Callable[..., Exchange], folder: Path) -> None:
        asking, old, new = exchange(0), exchange(1, q=say("old")), exchange(1, q=say("new"))
        await old.start()
        assert (await asking.ask("q", list[Any], within_s=1))[1] == ["old", None]
        await new.start()
        assert (await asking.ask("q", list[Any], within_s=1))[1] == ["new", None]
        await old.stop()
        assert (await asking.ask("q", list[Any], within_s=1))[1] == ["new", None]
        await new.stop()
        assert isinstance((await asking.ask("q", list[Any], within_s=1))[1], OSError)
        assert list(folder.iterdir()) == []

    play(story, workers=2)


def test_nonsense_on_the_socket_is_survived() -> None:
    """Whatever is written there, the next question is answered."""

    async def story(exchange: Callable[..., Exchange], folder: Path) -> None:
        asking, other = exchange(0), exchange(1, q=say("one"))
        await other.start()
        for nonsense in (b"", b"\n", b"{}\n", b'{"ask":5}\n', b"\xff\xfe\n", b'{"ask":"q"'):
            reader, writer = await asyncio.open_unix_connection(str(next(folder.iterdir())))
            writer.write(nonsense)
            writer.write_eof()
            assert len(await reader.read()) < 200
            writer.close()
        assert (await asking.ask("q", list[Any], within_s=1))[1] == ["one", None]
        await other.stop()

    play(story, workers=2)


def test_a_worker_without_a_folder_serves_all_the_same() -> None:
    """Somebody took the folder away: nobody can ask it, and it is named as one that does not answer."""

    async def story(exchange: Callable[..., Exchange], folder: Path) -> None:
        folder.rmdir()
        asking, other = exchange(0), exchange(1, q=say("one"))
        await other.start()
        assert isinstance((await asking.ask("q", list[Any], within_s=1))[1], OSError)
        await other.stop()

    play(story, workers=2)


def test_one_that_was_killed_is_not_there() -> None:
    """Its socket stays behind and refuses at once; its successor takes the socket away."""

    async def story(exchange: Callable[..., Exchange], folder: Path) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(folder / "1-99-0.sock"))
        asking, successor = exchange(0), exchange(1, q=say("next"))
        assert isinstance((await asking.ask("q", list[Any], within_s=1))[1], ConnectionRefusedError)
        await successor.start()
        assert len(list(folder.iterdir())) == 1
        assert (await asking.ask("q", list[Any], within_s=1))[1] == ["next", None]
        await successor.stop()

    play(story, workers=2)
