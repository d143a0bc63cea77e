"""How many connections there may be, who makes room, and that a process that stood still blames nobody."""

import asyncio
import contextlib
import resource
from pathlib import Path

import pytest

from gateway.intake import connections
from gateway.intake.connections import (
    ENDS_AT_ONCE,
    GIVES_WAY_EVERY,
    LEAST_SPARE,
    PAUSE_S,
    STARTS_AT_ONCE,
    Connections,
    Limits,
    Place,
    open_files_for,
)
from gateway.intake.noise import Noise
from tests.intake.served import eventually, fresh, read_all, serving, signed
from tests.support.stores import StoreServer

CONFIG = """
[gateway]
max_connections = 16

[store]
url = "{url}"

[sources.br]
adapter = "enviaai"
secrets = ["env:SECRET"]
"""
PART = b"POST /in/br HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"


class Fake:
    """A connection of which the test says whether it is used."""

    def __init__(self, since_s: float, *, used: bool = False) -> None:
        self.since_s = since_s
        self.used = used
        self.ended = False
        self.is_late = False
        self.looks = self.starts = 0
        self.as_of_s = 0.0

    def look(self, now_s: float) -> bool:
        self.looks += 1
        self.as_of_s = now_s
        return self.is_late

    def is_unused(self) -> bool:
        return not self.used

    def make_room(self) -> None:
        self.ended = True

    def start(self) -> None:
        self.starts += 1

    def forgive(self, stood_s: float) -> None:
        self.since_s += stood_s


class Loop:
    """A clock, and the timer that is set."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.calls: list[tuple[float, object]] = []

    def time(self) -> float:
        return self.now_s

    def call_later(self, after_s: float, call: object, *given: object) -> object:
        self.calls.append((after_s, lambda: call(*given)))  # type: ignore[operator]  # the method to call
        return self  # a timer

    def call_soon(self, call: object, *given: object) -> object:
        return self.call_later(0.0, call, *given)

    def turn(self, after_s: float) -> None:
        """Let time go by, then call what was asked for."""
        self.now_s += after_s
        for _, call in [self.calls.pop()]:
            call()  # type: ignore[operator]  # as put there


def all_late(made: Connections, loop: Loop, number: int, since_s: float = 1.0) -> list[Fake]:
    """So many connections, each of which will be found to be late."""
    late = [Fake(since_s) for _ in range(number)]
    for each in late:
        each.is_late = True
        made.add(each, loop)  # type: ignore[arg-type]  # as much of a loop as it uses
    return late


def test_who_is_idle_longest_makes_room() -> None:
    """In the order of their idleness; whoever is at work, or came just now, stays; then there are spare places."""
    loop, made = Loop(), Connections(Limits(max_connections=3))
    used, older, newer = Fake(1.0, used=True), Fake(2.0), Fake(3.0)
    for each in (used, newer, older):
        assert made.add(each, loop) is Place.ORDINARY  # type: ignore[arg-type]  # as much of a loop as it uses
    busy = [Fake(200.0, used=True) for _ in range(3 + LEAST_SPARE)]
    places = [made.add(each, loop) for each in busy]  # type: ignore[arg-type]  # as much of a loop as it uses
    assert older.ended
    assert newer.ended
    assert not used.ended
    assert places == [Place.ORDINARY] * 2 + [Place.SPARE] * LEAST_SPARE + [Place.NONE]
    assert (len(made), made.refused) == (3 + LEAST_SPARE, 1)


def test_a_process_that_stood_still_blames_nobody() -> None:
    """After a pause, what came meanwhile is read before anybody counts as late, and all have so much more time."""
    loop, made, one = Loop(), Connections(Limits()), Fake(100.0)
    made.add(one, loop)  # type: ignore[arg-type]  # as much of a loop as it uses
    loop.turn(made.look_every_s)
    assert (one.looks, one.since_s) == (1, 100.0)
    loop.turn(60.0)
    assert (one.looks, one.since_s) == (1, 100.0 + 60.0 - made.look_every_s)
    loop.turn(60.0)  # a loop that is always late still looks
    assert one.looks == 2
    made.remove(one)
    loop.turn(made.look_every_s)
    assert loop.calls == []  # nobody there: no timer


def test_a_defect_with_one_connection_leaves_the_others_their_deadlines() -> None:
    """The timer goes on."""

    class Defect(Fake):
        def look(self, _now_s: float) -> bool:
            raise RuntimeError("a defect")

    loop, made = Loop(), Connections(Limits())
    other = Fake(2.0)
    made.add(Defect(1.0), loop)  # type: ignore[arg-type]  # as much of a loop as it uses
    with pytest.raises(RuntimeError, match="a defect"):
        loop.turn(made.look_every_s)
    assert loop.calls
    made.add(other, loop)  # type: ignore[arg-type]  # as much of a loop as it uses
    made._all = {each for each in made._all if not isinstance(each, Defect)}
    loop.turn(made.look_every_s)
    assert other.looks == 1


def test_many_that_are_late_together_are_ended_a_few_at_a_time() -> None:
    """So that a turn of the event loop stays short; the others follow after pauses, in which the store has the CPU."""
    loop, made = Loop(), Connections(Limits())
    late = all_late(made, loop, 3 * ENDS_AT_ONCE)
    loop.turn(made.look_every_s)
    for turn in (1, 2):
        assert sum(each.looks for each in late) == turn * ENDS_AT_ONCE
        assert loop.calls[0][0] == PAUSE_S
        loop.turn(PAUSE_S)
    assert [each.looks for each in late] == [1] * len(late)


def test_a_look_that_takes_long_ends_nobody_too_early() -> None:
    """Who comes meanwhile is given the time of then; who was there is judged as of its beginning, and no later."""
    loop, made = Loop(), Connections(Limits())
    late = all_late(made, loop, 3 * ENDS_AT_ONCE)
    loop.turn(made.look_every_s)
    began_s, delays_s = loop.now_s, []
    for _ in range(2):
        delays_s.append(loop.calls[0][0])
        loop.turn(7.0)
    assert made.now_s == began_s + 14.0
    assert delays_s == [PAUSE_S, 0]  # and who is late does not wait for the pauses of thousands
    assert {each.as_of_s for each in late} == {began_s}
    for each in late:
        each.is_late = False
    loop.turn(made.look_every_s)  # it was not this process that stood still between two looks
    assert [each.looks for each in late] == [2] * len(late)


def test_who_came_since_the_last_look_began_makes_no_room() -> None:
    """However long the look takes; those who make room are sorted once a look."""
    loop, made = Loop(), Connections(Limits(max_connections=ENDS_AT_ONCE + 1))
    late = all_late(made, loop, ENDS_AT_ONCE + 1, since_s=loop.now_s)
    loop.turn(made.look_every_s)
    loop.now_s += 1.0
    made.remove(late[0])
    new, newer = Fake(loop.now_s - 0.5), Fake(loop.now_s)
    made.add(new, loop)  # type: ignore[arg-type]  # as much of a loop as it uses
    loop.turn(PAUSE_S)
    for each in late:
        each.used = True
    assert made.add(newer, loop) is Place.SPARE  # type: ignore[arg-type]  # as much of a loop as it uses
    assert not new.ended


def test_the_cpu_is_given_to_who_waits_for_it() -> None:
    """Once for so many things done for senders: a store on the same CPU need not wait for the end of a burst."""
    given: list[None] = []
    made = Connections(Limits(), give_cpu=lambda: given.append(None))
    for _ in range(3 * GIVES_WAY_EVERY):
        made.give_way()
    assert len(given) == 3


def test_unfinished_requests_begin_a_few_at_a_time() -> None:
    """In the order in which they came; a defect with one of them does not keep the others from their turn."""

    class Defect(Fake):
        def start(self) -> None:
            raise RuntimeError("a defect")

    loop, made = Loop(), Connections(Limits())
    here = [Defect(1.0), *[Fake(1.0) for _ in range(2 * STARTS_AT_ONCE)]]
    for each in here:
        made.start_in_turn(each, loop)  # type: ignore[arg-type]  # as much of a loop as it uses
    with pytest.raises(RuntimeError, match="a defect"):
        loop.turn(0.0)
    loop.turn(0.0)
    assert [each.starts for each in here] == [0] + [1] * STARTS_AT_ONCE + [0] * STARTS_AT_ONCE
    loop.turn(0.0)
    assert [each.starts for each in here] == [0] + [1] * 2 * STARTS_AT_ONCE
    assert loop.calls == []


def test_a_full_house(valkey: StoreServer, tmp_path: Path) -> None:
    """With every place taken by unfinished bodies, a webhook gets 503, the operator his answer, and one more nothing;
    connections that are only open make room for honest ones."""
    with (
        serving(tmp_path, CONFIG.format(url=valkey.url), {"SECRET": "whs_test"}) as gateway,
        contextlib.ExitStack() as kept,
    ):
        edge = gateway.gateway.edge.connections
        given: list[None] = []
        edge._give_cpu = lambda: given.append(None)
        for _ in range(40):
            kept.enter_context(gateway.connect())
        body = fresh()
        eventually(lambda: gateway.post("/in/br", body, signed(body)).status == 200)
        assert len(edge) <= 16 + LEAST_SPARE
        kept.close()
        eventually(lambda: len(edge) == 0)

        for _ in range(16):
            kept.enter_context(gateway.connect()).sendall(PART)
        eventually(lambda: len(edge) == 16)
        eventually(lambda: len(given) >= (40 + 16 + 16) // GIVES_WAY_EVERY)  # for what is sent, as for connections
        eventually(lambda: not any(each.is_unused() for each in edge._all))
        answer = gateway.post("/in/br", body, signed(body))
        assert (answer.status, answer.problem(), answer.headers["retry-after"]) == (503, "unavailable", "5")
        answer = gateway.post("/healthz", method="GET")
        assert answer.status == 200
        kept.close()
        eventually(lambda: gateway.post("/in/br", body, signed(body)).status == 200)


def test_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the connections need; where the system allows fewer, fewer connections."""
    limits = [1_024, 8_192]
    monkeypatch.setattr(resource, "getrlimit", lambda _which: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, both: limits.__setitem__(slice(None), both))
    assert (open_files_for(500), limits) == (500, [1_024, 8_192])
    assert (open_files_for(4_096), limits) == (4_096, [4_096 + 204 + 256, 8_192])
    possible = open_files_for(1_000_000)
    assert (limits, 7_000 < possible < 8_192 - 256) == ([8_192, 8_192], True)
    assert connections.OTHER_FILES + possible * 1.05 <= 8_192


def test_a_line_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    """The first warning comes at once; of what follows, one line with the number, until it ends. Each source by itself.

    Story: with the store away, each refused request wrote a line, and the disk filled."""

    async def check() -> None:
        noise = Noise(every_s=0.05)
        for number in range(100):
            noise.warn("intake.unavailable", "a", request=f"req_{number}")
        noise.warn("intake.unavailable", "b", request="req_b")
        await asyncio.sleep(0.2)

    asyncio.run(check())
    lines = [line for line in capsys.readouterr().out.splitlines() if "intake.unavailable" in line]
    assert ["requests=1 " in line for line in lines] == [True, True, False]
    assert "requests=99" in lines[2]
    assert "req_99" in lines[2]


def test_a_new_connection_without_a_place(valkey: StoreServer, tmp_path: Path) -> None:
    """Beyond the spare places a connection is told so, without being read, and ends."""
    with (
        serving(tmp_path, CONFIG.format(url=valkey.url), {"SECRET": "whs_test"}) as gateway,
        contextlib.ExitStack() as kept,
    ):
        edge = gateway.gateway.edge.connections
        for _ in range(16 + LEAST_SPARE):
            kept.enter_context(gateway.connect()).sendall(PART.replace(b"POST /in/br", b"POST /api/x"))
        eventually(lambda: len(edge) == 16 + LEAST_SPARE)
        eventually(lambda: not any(each.is_unused() for each in edge._all))
        with gateway.connect() as connection:
            assert read_all(connection).startswith(b"HTTP/1.1 503")
        assert edge.refused == 1
