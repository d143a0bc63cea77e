"""A stop that cannot wait any longer: what is unanswered then is ours to refuse, and the provider sends it again."""

import asyncio
import socket
import threading
from pathlib import Path

from tests.intake.served import DEADLINE_S, Answer, fresh, read_all, serving, signed
from tests.support.stores import running

CONFIG = """
[store]
url = "{url}"
[sources.br]
adapter = "enviaai"
secrets = ["env:SECRET"]
"""


def test_what_a_stop_cuts_off_is_answered_503(tmp_path: Path) -> None:
    """A body that is half here, and a request that waits for a store that hangs: both 503, and never a bare 500.

    Story: the server cancels what runs on, and answers for it "Internal Server Error" in plain text."""
    body = fresh()
    proof = str(signed(body)["x-enviaai-signature"])
    head = (
        f"POST /in/br HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-enviaai-signature: {proof}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with (
        running("valkey") as server,
        serving(tmp_path, CONFIG.format(url=server.url), {"SECRET": "whs_test"}) as gateway,
        gateway.connect() as half,
        gateway.connect() as waiting,
    ):
        assert gateway.post("/in/br", body, signed(body)).status == 200
        server.pause()
        half.sendall(head.encode() + body[:20])
        waiting.sendall(head.encode() + body)
        answers: list[Answer] = []

        def listen(connection: socket.socket) -> None:
            answers.append(Answer(read_all(connection)))

        listeners = [threading.Thread(target=listen, args=(each,)) for each in (half, waiting)]
        for each in listeners:
            each.start()
        while gateway.gateway.committers[0].queue_bytes or len(requests_running(gateway.run(tasks()))) < 2:
            pass
        gateway.run(cancel_requests())  # what the server does when the time for a graceful stop is over
        for each in listeners:
            each.join(DEADLINE_S)
        server.resume()
        assert [(answer.status, answer.problem()) for answer in answers] == [(503, "unavailable")] * 2
        assert {answer.headers["retry-after"] for answer in answers} == {"5"}


async def tasks() -> "set[asyncio.Task[object]]":
    """All tasks of the gateway's loop."""
    return asyncio.all_tasks()


def requests_running(found: "set[asyncio.Task[object]]") -> "list[asyncio.Task[object]]":
    """Those that serve a request."""
    return [task for task in found if "run_asgi" in repr(task.get_coro())]


async def cancel_requests() -> None:
    """End what is being served."""
    for task in requests_running(asyncio.all_tasks()):
        task.cancel()
