"""Tables as terminals of any width show them."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from gateway.cli.drawing import Rows, print_behind, print_event, setting

CELLS = ("generic-chat-of-the-north", "generic_chat", "1234567", "2026-02-03T12:00:00Z", "it refuses the connection")


def drawn(width: int) -> list[str]:
    """The lines of a table of two rows."""
    rows = Rows("source", "adapter", "received#", "latest event", "state")
    rows.add_row(Text(CELLS[0], "bold"), *CELLS[1:])
    rows.add_row("chat", "generic_chat", "8", "–", "up to date")
    out = io.StringIO()
    Console(width=width, file=out).print(rows)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_no_word_of_a_table_is_broken(width: int) -> None:
    """Whatever the width, names and times stand whole, and no line is wider than the terminal."""
    lines = drawn(width)
    assert all(len(line) <= width for line in lines)
    words = " ".join(lines).split()
    for cell in CELLS:
        assert all(word in words for word in cell.split())


def test_a_row_without_room_is_told_on_lines_of_its_own() -> None:
    """A wide table is one; a narrow one has a row's name alone, then each value with the name of its column."""
    assert drawn(120)[0].split() == ["source", "adapter", "received", "latest", "event", "state"]
    assert [line.strip() for line in drawn(60)][:4] == [
        "generic-chat-of-the-north",
        "adapter generic_chat · received 1234567",
        "latest event 2026-02-03T12:00:00Z",
        "state it refuses the connection",
    ]


EVENT = {
    "received_at": "2026-02-03T12:00:00.000Z",
    "id": "evt_fc7ib4vjkr67kgakb5nbvngxqq",
    "source": "chat",
    "type": "message.received",
    "channel": "whatsapp",
    "ordering_key": "a-key-that-goes-on-and-on-for-quite-some-time",
    "origin": "live",
}


def console_of(*, terminal: bool) -> tuple[Console, io.StringIO]:
    """A console of 80 columns, and what was written to it."""
    out = io.StringIO()
    return Console(width=80, file=out, force_terminal=terminal, color_system=None), out


def test_an_event_is_one_line_of_a_terminal() -> None:
    """It is cut where the terminal ends; into a pipe it goes whole."""
    terminal, shown = console_of(terminal=True)
    pipe, written = console_of(terminal=False)
    print_event(terminal, EVENT)
    print_event(pipe, EVENT)
    (line,) = shown.getvalue().splitlines()
    assert len(line) <= 80
    assert line.endswith("…")
    assert written.getvalue().endswith("  whatsapp  a-key-that-goes-on-and-on-for-quite-some-time\n")


def test_a_long_sentence_goes_on_below_itself() -> None:
    """On a terminal under its own first word, no line too wide; into a pipe on one line."""
    words = "waits behind a failed\N{NO-BREAK SPACE}event with the same key; its next attempt, the third, is due then"
    terminal, shown = console_of(terminal=True)
    pipe, written = console_of(terminal=False)
    print_behind(terminal, Text("  2026-02-03T12:00:00.000 held          "), words)
    print_behind(pipe, Text("  held  "), words)
    first, *rest = shown.getvalue().splitlines()
    assert first.startswith("  2026-02-03T12:00:00.000 held          waits behind")
    assert rest
    assert all(line.startswith(" " * 40) and line[40] != " " for line in rest)
    assert all(len(line) <= 80 for line in [first, *rest])
    assert " ".join(shown.getvalue().split()).endswith(words.replace("\N{NO-BREAK SPACE}", " "))
    assert "failed event" in shown.getvalue()
    assert written.getvalue() == f"  held  {words}\n".replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["file:secrets/a"], '["file:secrets/a"]'),
        (True, "true"),
        ({"x-team": "crm", "n": [1, 2.5]}, '{ x-team = "crm", n = [1, 2.5] }'),
        ({}, "{}"),
        ("https://a.example/", "https://a.example/"),
        (None, "–"),
        (["\x1b[2J"], '["\\u001b[2J"]'),
    ],
)
def test_a_setting_is_shown_as_the_file_has_it(value: object, words: str) -> None:
    """Lists, tables, true and false as in TOML; a text of its own stands without quotes."""
    assert setting(value) == words
