"""Tables as terminals of any width show them."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from gateway.cli.drawing import Rows

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
