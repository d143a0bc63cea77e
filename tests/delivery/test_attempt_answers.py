"""What an answer means: 2xx is delivered, everything else a failure with its status, body and Retry-After."""

import asyncio
import time

import pytest

from gateway.delivery.outcome import explain, parse_retry_after
from tests.support.attempting import HOST, WALL_MS, attempt, post, sending
from tests.support.servers import OK, answering, response, serving


@pytest.mark.parametrize(
    "status", ["200 OK", "201 Created", "202 Accepted", "204 No Content", "226 IM Used", "299 Fine"]
)
def test_any_2xx_is_delivered(status: str) -> None:
    """Success is 2xx."""
    assert attempt(answering(response(status)))[0].delivered


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        ("300 Multiple Choices", "redirect"),
        ("304 Not Modified", "redirect"),
        ("400 Bad Request", "http_400"),
        ("404 Not Found", "http_404"),
        ("410 Gone", "gone"),
        ("500 Internal Server Error", "http_500"),
        ("599 Own", "http_599"),
        ("600 Beyond", "protocol"),
        ("999 Beyond", "protocol"),
    ],
)
def test_any_other_status_is_a_failure_with_its_answer(status: str, cause: str) -> None:
    """The cause names the status, and what the subscriber wrote is kept."""
    outcome, _ = attempt(answering(response(status, b"" if status.startswith("304") else b"why")))
    assert (outcome.delivered, outcome.cause, outcome.status) == (False, cause, int(status[:3]))
    assert outcome.answer in (b"why", b"")
    assert outcome.disables == (cause == "gone")


def test_a_redirect_to_metadata_is_a_failure_and_is_not_followed() -> None:
    """Redirects of every kind are failures, wherever they lead; the server they lead to sees nothing."""

    async def scenario() -> None:
        async with serving(answering(OK)) as inner:
            for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"):
                for place in ("http://169.254.169.254/latest/meta-data/", f"http://127.0.0.1:{inner.port}/", "/again"):
                    async with (
                        serving(answering(response(status, location=place))) as server,
                        sending(f"http://{HOST}:{server.port}/") as sender,
                    ):
                        outcome = await post(sender)
                        assert (outcome.cause, outcome.status) == ("redirect", int(status[:3]))
                        assert len(server.requests) == 1
            assert inner.connections == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "value", "expected_s"),
    [
        ("429 Slow Down", "120", 120.0),
        ("503 Busy", "0", 0.0),
        ("429 Slow Down", "9" * 5000, 86_400.0),
        ("429 Slow Down", "86401", 86_400.0),
        ("503 Busy", "Fri, 15 Jan 2027 08:01:30 GMT", 90.0),
        ("503 Busy", "Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("503 Busy", "Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ("503 Busy", "Friday, 15-Jan-27 08:01:30 GMT", 90.0),
        ("503 Busy", "Fri, 15 Jan 2027 08:01:30 -0000", 90.0),
        ("429 Slow Down", "-5", None),
        ("429 Slow Down", "soon", None),
        ("429 Slow Down", "1e3", None),
        ("429 Slow Down", "", None),
        ("500 Oops", "120", None),
    ],
)
def test_retry_after(status: str, value: str, expected_s: float | None) -> None:
    """Seconds and dates count on 429 and 503, at most 24 h; nonsense and other statuses count as none."""
    outcome, _ = attempt(answering(response(status, retry_after=value)))
    assert outcome.retry_after_s == expected_s


@pytest.mark.parametrize(("status", "cause"), [("429 Slow Down", "http_429"), ("410 Gone", "gone")])
def test_a_retry_after_that_is_no_text_asks_for_nothing(status: str, cause: str) -> None:
    """Bytes beyond ASCII once hid the status behind a defect of ours, so that even a 410 was tried again."""
    head = f"HTTP/1.1 {status}\r\nretry-after: ".encode() + b"\xff\xfe\r\ncontent-length: 3\r\n\r\n"
    outcome, _ = attempt(answering(head + b"why"))
    assert (outcome.cause, outcome.retry_after_s, outcome.answer) == (cause, None, b"why")
    assert outcome.disables == (cause == "gone")


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        ("1 Jan 1 0:0:0 +99999999999999999999", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 86_400.0),
        ("Fri, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("\u0663", None),
    ],
)
def test_dates_that_no_calendar_has_ask_for_nothing(value: str, expected_s: float | None) -> None:
    """Whatever a subscriber writes, the answer is a wait of at most a day or none."""
    assert parse_retry_after(value, WALL_MS) == expected_s


def test_a_date_without_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """``-0000`` means UTC, wherever the gateway runs."""
    monkeypatch.setenv("TZ", "America/Sao_Paulo")
    time.tzset()
    try:
        assert parse_retry_after("Fri, 15 Jan 2027 08:01:30 -0000", WALL_MS) == 90.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_message_that_holds_the_url_is_not_shown() -> None:
    """Where the client's only words are a URL, the explanation does without them."""
    failure = explain(
        ["error sending request for url (https://crm.example/?token=hunter2)"], timed_out=False, where="x", timeout_s=1
    )
    assert failure.cause == "protocol"
    assert "hunter2" not in failure.detail


def test_the_clients_own_look_up_would_be_told_apart() -> None:
    """The client never looks names up, since it is pinned; if it ever does and fails, it is not called TLS."""
    messages = ["error sending request", "client error (Connect)", "dns error", "failed to lookup address information"]
    assert explain(messages, timed_out=False, where="x", timeout_s=1).cause == "dns"
