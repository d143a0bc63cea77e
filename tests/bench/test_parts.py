"""The instruments themselves: what they count is what happened."""

import os
import socket
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from bench.__main__ import disturbed
from bench.belief import RefusedError, believable, check, problem_with
from bench.disk import fsync_cost, percentile
from bench.load import Requests, Sent, make_requests, send
from bench.machine import Neighbours, cores, missing_tools
from bench.measuring import QUICK, Bench, Budget, Row, judge, result
from bench.process import BenchError, Child, command_name, move
from bench.report import ok
from bench.sink import Sink
from bench.subject import StoreFacts

needs_tools = pytest.mark.skipif(bool(missing_tools()), reason=f"Debian packages missing: {', '.join(missing_tools())}")

WINDOW_S = 0.4


def sent(*, ok: int = 10, not_ok: int = 0, socket_errors: int = 0, unanswered: int = 0) -> Sent:
    """A client's summary."""
    return Sent(ok + not_ok + unanswered, ok, not_ok, socket_errors, 1.0, 3.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def facts(*, log_length: int = 10, appendfsync: str = "always") -> StoreFacts:
    """A store's answers."""
    return StoreFacts("Valkey 9", appendfsync, log_length, 0, 0, 0)


def no_words(_: str) -> None:
    """A quiet benchmark."""


def test_a_round_is_believed_when_the_log_is_as_long_as_the_200s() -> None:
    """The positive control of every refusal below."""
    assert problem_with([sent(ok=4), sent(ok=6)], facts(log_length=10)) is None
    check([sent()], facts())
    assert believable(sent()).per_s == 5.0


@pytest.mark.parametrize("length", [9, 11])
def test_a_log_of_another_length_refuses_the_row(length: int) -> None:
    """An event too few was acknowledged and lost, one too many was logged without an answer."""
    with pytest.raises(RefusedError, match=f"the log holds {length} events, the client counted 10"):
        check([sent()], facts(log_length=length))


def test_an_answer_that_is_not_200_refuses_the_row() -> None:
    """A server that answers 503 quickly must not look fast."""
    assert "1 answers were not 200" in str(problem_with([sent(not_ok=1)], facts()))
    with pytest.raises(RefusedError):
        believable(sent(not_ok=1))
    with pytest.raises(RefusedError):
        believable(sent(socket_errors=1))


def test_a_request_without_an_answer_refuses_the_row() -> None:
    """What hung when the client ended may be in the log or not."""
    assert "1 requests had no answer" in str(problem_with([sent(unanswered=1)], facts()))
    with pytest.raises(RefusedError):
        believable(sent(unanswered=1))


def test_a_store_that_does_not_fsync_refuses_the_row() -> None:
    """A durable rate without fsyncs would be a lie."""
    assert "appendfsync is everysec" in str(problem_with([sent()], facts(appendfsync="everysec")))


def test_floors_and_aims_are_judged_both_ways_round() -> None:
    """More is better for rates, less for times."""
    more, less = Budget(0.4, 0.55), Budget(2.5, 1.2, "s", less=True)
    assert [judge(value, more) for value in (0.39, 0.4, 0.55)] == ["MISSED", "floor held", "aim reached"]
    assert [judge(value, less) for value in (2.6, 2.5, 1.2)] == ["MISSED", "floor held", "aim reached"]


def test_percentiles_are_values_that_were_measured() -> None:
    """The nearest rank, never a value between two."""
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (50.0, 99.0, 100.0)
    assert percentile([7.0], 99) == 7.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_the_fsync_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    """It times real fsyncs of the size asked for and removes its file."""
    cost = fsync_cost(tmp_path, 4096, count=5, within_s=5)
    assert cost.count == 5
    assert 0 < cost.p50_ms <= cost.p99_ms
    assert list(tmp_path.iterdir()) == []


def test_requests_are_distinct_and_dealt_to_every_thread(tmp_path: Path) -> None:
    """No two requests are the same event, and each slice holds its share."""
    made = make_requests(tmp_path / "load", 10, threads=3)
    records = [record for thread in range(3) for record in _records(tmp_path / f"load-{thread}.http")]
    assert made.count == len(records) == len(set(records)) == 10
    assert all(record.startswith(b"POST /in/bench HTTP/1.1\r\n") for record in records)
    assert all(b"x-enviaai-signature: sha256=" in record.lower() for record in records)


def test_a_child_is_pinned_ends_with_its_block_and_shows_its_last_words(tmp_path: Path) -> None:
    """The benchmark leaves no process behind and says why one failed."""
    core = cores().measured
    argv = [sys.executable, "-c", "import time; print('last words', flush=True); time.sleep(60)"]
    with Child(argv, log=tmp_path / "log", cores=core) as child:
        child.until(lambda: child.output() or None, what="words", within_s=10)
        assert os.sched_getaffinity(child.pid) == core
        move(child.pid, cores().every)
        assert os.sched_getaffinity(child.pid) == cores().every
        assert command_name(child.pid) != ""
        with pytest.raises(BenchError, match=r"no miracle within 0 s\nlast words"):
            child.until(lambda: None, what="miracle", within_s=0)
    assert child.process.poll() is not None


@pytest.mark.alone
def test_neighbours_are_who_is_neither_us_nor_our_children(tmp_path: Path) -> None:
    """Work of our own ended children is not blamed on others; work of a child still running is, until it ends."""
    burn = "import time\nwhile time.process_time() < 0.4: pass\nprint('burnt', flush=True)"
    neighbours = Neighbours()
    with Child([sys.executable, "-c", burn + "\ntime.sleep(60)"], log=tmp_path / "log") as child:
        child.until(lambda: child.output() or None, what="burning", within_s=30)
        while_it_runs = neighbours.part()
    assert 0 <= neighbours.part() < while_it_runs


def test_a_row_measured_beside_others_counts_for_nothing() -> None:
    """Neighbours can make a ratio look good as well as bad; a quiet run and a number of bytes keep their verdict."""
    timed = Row("rate", "a rate", Budget(0.4, 0.55), lambda bench, row: result(row, [0.6], ours="", bare="", store=""))
    size = msgspec.structs.replace(timed, timed=False)

    def verdict(row: Row, part: float) -> str:
        found = disturbed(result(row, [0.6], ours="", bare="", store=""), row, part)
        return f"{found.verdict}, {'ok' if ok([found]) else 'not ok'}"

    assert verdict(timed, 0.02) == "aim reached, ok"
    assert verdict(timed, 0.5) == "NOISY, not ok"
    assert verdict(size, 0.5) == "aim reached, ok"


@needs_tools
@pytest.mark.alone
def test_the_client_counts_what_the_bare_server_answered(tmp_path: Path) -> None:
    """Every request that was sent was answered 200 and counted, at full speed and at a held rate."""
    bench = Bench(tmp_path, cores(), QUICK, no_words)
    requests = make_requests(tmp_path / "few", 500)
    with bench.bare(None) as server:
        port = server.port
        all_of_them = send(port, requests, window_s=WINDOW_S, connections=8, log=tmp_path / "log", cores=None)
        assert (all_of_them.sent, all_of_them.ok, all_of_them.not_ok) == (500, 500, 0)
        again = send(port, requests, window_s=WINDOW_S, connections=8, log=tmp_path / "log", cores=None, wrap=True)
        assert again.sent == again.ok > 500
        assert again.elapsed_s == pytest.approx(WINDOW_S, rel=0.25)
        held = send(
            port, requests, window_s=WINDOW_S, connections=16, log=tmp_path / "log", cores=None, rate_per_s=200.0
        )
        assert held.sent == held.ok
        assert held.per_s == pytest.approx(200, rel=0.2)


@needs_tools
def test_the_client_does_not_take_another_answer_for_a_200(tmp_path: Path) -> None:
    """The sink answers 204 to everything, so nothing is counted as 200; and the sink counts as many as the client."""
    with Sink(tmp_path / "nginx", None) as sink:
        before = sink.received()
        answered = send(
            sink.port,
            make_requests(tmp_path / "few", 300),
            window_s=WINDOW_S,
            connections=4,
            log=tmp_path / "log",
            cores=None,
        )
        assert (answered.ok, answered.not_ok) == (0, 300)
        # nginx also counts what a connection begins, so as not to be in flight at the end: one byte at most for each
        assert 300 <= sink.received() - before <= 300 + 4


@needs_tools
@pytest.mark.alone
def test_the_client_waits_for_answers_that_are_on_their_way(tmp_path: Path) -> None:
    """A server that answers late, after sending has ended, has all its answers counted."""
    answered = 0
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            nonlocal answered
            listener.accept()[0].close()  # wrk tries the address before it begins
            connection, _ = listener.accept()
            with connection:
                while connection.recv(65_536).startswith(b"POST"):
                    time.sleep(WINDOW_S / 4)  # the behaviour of the server, not a wait of the test
                    answered += 1
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        server = threading.Thread(target=serve)
        server.start()
        requests: Requests = make_requests(tmp_path / "few", 50)
        port = listener.getsockname()[1]
        late = send(port, requests, window_s=WINDOW_S, connections=1, log=tmp_path / "log", cores=None)
        server.join(10)
    assert not server.is_alive()
    assert late.ok == late.sent == answered > 0


def _records(path: Path) -> list[bytes]:
    data, found = path.read_bytes(), []
    while data:
        length = int(data[:6])
        found.append(data[6 : 6 + length])
        data = data[6 + length :]
    return found
