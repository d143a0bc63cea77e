"""What a watcher reads."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from gateway.simulator.painting import equation, journey_line
from gateway.simulator.screen import PlainScreen, TerminalScreen
from gateway.simulator.story import Journey
from tests.simulator.test_story import ledger


def journey(**fields: object) -> Journey:
    known: dict[str, object] = {
        "at_ms": 0,
        "provider": "engium",
        "source": "engium",
        "provider_type": "conversation.message.received",
        "type": "message.received",
        "event_id": "evt_hdvgbpm7wgvb2yt2wqsgnew4cu",
        "outcome": "logged",
        "status": 200,
        "taken_ms": 4,
        "tries": [(1, 204)],
    }
    return Journey(**{**known, **fields})  # type: ignore[arg-type]  # the fields of a struct, by name


JOURNEYS = {
    "delivered": journey(),
    "again": journey(tries=[(1, 500), (2, 204)], taken_ms=1_030),
    "refused": journey(tries=[(1, 500)], taken_ms=None),
    "filtered": journey(outcome="filtered", type="channel.qr_updated", taken_ms=None, tries=[]),
    "duplicate": journey(outcome="duplicate", purpose="retry"),
    "rejected": journey(outcome="rejected", purpose="wrong_signature", status=401, type=None, event_id=None),
    "quarantined": journey(outcome="quarantined", purpose="not_json", type=None, event_id=None),
    "unanswered": journey(outcome="unanswered", status=None, type=None, event_id=None, detail="no answer within 5 s"),
}


@pytest.mark.parametrize("name", JOURNEYS)
@pytest.mark.parametrize("columns", [60, 80, 104, 120, 136, 200])
def test_no_line_is_wider_than_the_terminal(name: str, columns: int) -> None:
    """Every kind of journey fits, from 60 columns up, and says its outcome."""
    line = journey_line(JOURNEYS[name], columns)
    assert line.cell_len <= columns
    assert "engium" in line.plain


@pytest.mark.parametrize(
    ("name", "columns", "words"),
    [
        ("delivered", None, "conversation.message.received → message.received"),
        ("delivered", None, "evt_hdvgbp  proven · logged · delivered, 4 ms"),
        ("again", None, "proven · logged · 500 · delivered, attempt 2, 1.0 s"),
        ("refused", None, "proven · logged · 500 · will be tried again"),
        ("filtered", None, "filtered: holds a login"),
        ("duplicate", None, "sent again · proven · duplicate"),
        ("rejected", None, "→ no event"),
        ("rejected", None, "wrong signature · 401 rejected"),
        ("quarantined", None, "body breaks off · proven · quarantined"),
        ("unanswered", None, "no answer within 5 s"),
        ("delivered", 80, "…on.message.received → message.received hdvgbp delivered"),
        ("again", 80, "attempt 2 ✓"),
        ("refused", 80, "500, again"),
    ],
)
def test_lines_say_what_happened(name: str, columns: int | None, words: str) -> None:
    """Wide: the whole way; narrow: the last station, and the end of the provider's name rather than its beginning."""
    assert words in journey_line(JOURNEYS[name], columns).plain


def test_the_equation_shows_every_term_of_the_ledger() -> None:
    """Three lines of sums and what they leave over."""
    text = equation(ledger(duplicate=2, rejected=1, quarantined=1)).plain
    assert "5 received = 3 accepted + 0 ignored + 1 quarantined + 1 rejected" in text
    assert "3 produced = 1 logged + 2 duplicate + 0 spooled" in text
    assert "1 offered  = 1 delivered + 0 filtered + 0 dead + 0 discarded + 0 pending" in text
    assert "0 unaccounted" in text


def test_the_equation_breaks_before_a_plus() -> None:
    """On a narrow terminal no line is too long, and no word is torn from its number."""
    text = equation(ledger(logged=12_345, delivered=12_345), 80).plain
    assert max(map(len, text.splitlines())) <= 80
    assert " ".join(text.split()).count("12345 offered = 12345 delivered + 0 filtered + 0 dead + 0 discarded + 0") == 1
    assert any(line.lstrip().startswith("+ ") for line in text.splitlines())


def drawn(kind: type[PlainScreen], *, terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, color_system="standard" if terminal else None)
    screen = kind(console)
    screen.started("gateway", 1, 0.5)
    screen.ready(dashboard="http://127.0.0.1:1/login/x", config=Path("gateway.toml"), endless=True)
    screen.show([JOURNEYS["delivered"]], [JOURNEYS["refused"]] * 9, ledger())
    screen.finish(ledger(), ["something is wrong"])
    return file.getvalue()


def test_a_pipe_gets_whole_lines_without_any_control_character() -> None:
    """Nothing to colour, nothing overwritten, each thing once, only what is over."""
    text = drawn(PlainScreen, terminal=False)
    assert not any(ord(character) < 32 and character != "\n" for character in text)
    assert text.count("delivered, 4 ms") == 1
    assert "will be tried again" not in text
    assert "✗ something is wrong" in text


def test_a_terminal_shows_what_is_under_way_and_is_left_as_it_was_found() -> None:
    """Events under way stand below, at most six of them; the cursor is shown again at the end."""
    text = drawn(TerminalScreen, terminal=True)
    assert "and 3 more" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
