"""Sending a prepared request over real HTTP, the way providers do: with a deadline, and again if it was not taken."""

import logging
from collections.abc import Callable, Iterator

import httpx

from gateway.simulator.requests import Answer, Prepared, read_answer

RETRY_AFTER_S = (0.5, 1.0, 2.0, 4.0)
"""How long the simulated provider waits before each repetition; real ones wait longer, and a demo has no hours."""


def make_client() -> httpx.Client:
    """A client that goes where it is told and nowhere else: no proxy from the environment, no redirects."""
    for name in ("httpx", "httpcore"):  # they log whole URLs at INFO, and a URL may hold a path token
        logging.getLogger(name).setLevel(logging.WARNING)
    return httpx.Client(trust_env=False, follow_redirects=False, limits=httpx.Limits(max_keepalive_connections=4))


def post(client: httpx.Client, url: str, request: Prepared, timeout_s: float) -> Answer:
    """Make one attempt. No answer within ``timeout_s``, or no connection, is an ``Answer`` too."""
    try:
        response = client.post(url, content=request.body, headers=request.headers, timeout=timeout_s)
    except httpx.TimeoutException:
        return Answer(status=None, outcome="unanswered", detail=f"no answer within {timeout_s:g} s")
    except httpx.HTTPError as error:
        return Answer(status=None, outcome="unanswered", detail=f"{type(error).__name__}: {error}".rstrip(": "))
    return read_answer(response.status_code, response.headers.get("retry-after"), response.content)


def attempts(send: Callable[[], Answer], wait: Callable[[float], bool]) -> Iterator[tuple[int, Answer, bool]]:
    """Send, and repeat while that is worth it: (attempt from 1, answer, whether it is the last).

    ``wait(seconds)`` returns whether to stop instead of going on.
    """
    for attempt, wait_s in enumerate((*RETRY_AFTER_S, None), start=1):
        answer = send()
        final = wait_s is None or not answer.worth_retrying
        yield attempt, answer, final
        if wait_s is None or final or wait(max(wait_s, min(answer.retry_after_s or 0.0, 10.0))):
            return
