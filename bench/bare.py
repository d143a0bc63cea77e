"""The bare handler: what a Python process can answer at all on this core, with none of our work.

It reads the body and answers 200 with as many bytes as the gateway's acceptance has, under the same server with the
same settings. No framework, no proof, no mapping, no store: the number to which intake is compared.
"""

import socket
from typing import Any

import uvicorn

ANSWER = (
    b'{"status":"accepted","request":"req_00112233445566778899",'
    b'"events":[{"id":"evt_hdvgbpm7wgvb2yt2wqsgnew4cu","type":"message.received","status":"logged"}]}'
)

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())],
}
_BODY = {"type": "http.response.body", "body": ANSWER}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the whole body, answer 200."""
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    b"".join(parts)
    await send(_START)
    await send(_BODY)


def main() -> None:
    """Serve on a free loopback port until SIGTERM; the first line printed is that port."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)  # before anybody learns the port
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(  # as gateway/cli/serve.py has it
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        server_header=False,
        date_header=False,
        log_level="warning",
        timeout_keep_alive=75,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
