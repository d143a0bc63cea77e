"""The bare client: what a Python process can POST at all from this core, with none of our work.

``python -m bench.bare_client URL BODY_FILE CONCURRENCY WINDOW_S`` posts the same body over and over, ``CONCURRENCY`` at
once, and prints ``{"delivered": …, "failed": …, "elapsed_s": …, "cpu_s": …}``. No log, no signature, no settling: the
number to which delivery is compared. The client library is the gateway's own, pyreqwest.
"""

import asyncio
import sys
import time
from pathlib import Path

import msgspec
import uvloop
from pyreqwest.client import ClientBuilder
from pyreqwest.http import Url


class Posted(msgspec.Struct, frozen=True):
    """What the loop did."""

    delivered: int
    failed: int
    elapsed_s: float
    cpu_s: float
    """Processor time of the loop, the client's threads included."""


async def post(url: str, body: bytes, concurrency: int, window_s: float) -> Posted:
    """POST ``body`` to ``url`` for ``window_s`` seconds, ``concurrency`` at once."""
    delivered = failed = 0
    target = Url(url)
    headers = {"content-type": "application/json"}
    client = ClientBuilder().follow_redirects(False).no_proxy().default_headers(headers).build()
    async with client:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        end_s = start_s + window_s

        async def worker() -> None:
            nonlocal delivered, failed
            while time.perf_counter() < end_s:
                response = await client.post(target).body_bytes(body).build().send()
                if 200 <= response.status < 300:
                    delivered += 1
                else:
                    failed += 1

        await asyncio.gather(*(worker() for _ in range(concurrency)))
        return Posted(delivered, failed, time.perf_counter() - start_s, time.process_time() - start_cpu_s)


def main() -> None:
    """Read the arguments, post, print."""
    url, body_file, concurrency, window_s = sys.argv[1:5]
    posted = uvloop.run(post(url, Path(body_file).read_bytes(), int(concurrency), float(window_s)))
    print(msgspec.json.encode(posted).decode())


if __name__ == "__main__":
    main()
