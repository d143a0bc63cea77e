"""The README as data: fenced blocks, tables, links, each with the heading it stands under."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"

_PROMPT = "$ "


class Block(NamedTuple):
    """A fenced block."""

    heading: str
    language: str
    text: str
    line: int
    """Of its first line, in the file."""

    @property
    def first_line(self) -> str:
        """What a listing begins with: its file's name, in a comment."""
        return self.text.partition("\n")[0]


class Step(NamedTuple):
    """A command and what the README shows of its output."""

    command: str
    shown: tuple[str, ...]
    line: int


class Document(NamedTuple):
    """The README, read."""

    text: str
    blocks: tuple[Block, ...]
    tables: dict[str, list[list[list[str]]]]
    """Heading → tables, each a list of rows without the head, each row a list of cells without backticks."""
    headings: tuple[str, ...]

    @property
    def steps(self) -> list[Step]:
        """Every command with a prompt, in order."""
        return [step for block in self.blocks if block.language == "console" for step in _steps(block)]

    def block(self, language: str, beginning: str) -> Block:
        """The one block of that language that begins so."""
        (found,) = [each for each in self.blocks if each.language == language and each.text.startswith(beginning)]
        return found


def read(text: str) -> Document:
    """Read Markdown, as far as the README uses it."""
    blocks: list[Block] = []
    tables: dict[str, list[list[list[str]]]] = {}
    headings: list[str] = []
    fence: list[str] | None = None
    language, heading, began, in_table = "", "", 0, False
    for number, line in enumerate(text.splitlines(), 1):
        if fence is not None:
            if line == "```":
                blocks.append(Block(heading, language, "\n".join(fence) + "\n", began))
                fence = None
            else:
                fence.append(line)
        elif line.startswith("```"):
            fence, language, began = [], line[3:].strip(), number + 1
        elif line.startswith("#"):
            heading = line.lstrip("#").strip().replace("`", "")
            headings.append(heading)
        elif line.startswith("|"):
            if not in_table:
                tables.setdefault(heading, []).append([])
            elif not line.startswith("|---"):
                tables[heading][-1].append([cell.strip() for cell in line.strip("|").split("|")])
        in_table = fence is None and line.startswith("|")
    assert fence is None, "a block has no end"
    return Document(text, tuple(blocks), tables, tuple(headings))


def _steps(block: Block) -> list[Step]:
    steps: list[Step] = []
    for number, line in enumerate(block.text.splitlines(), block.line):
        if line.startswith(_PROMPT):
            steps.append(Step(line.removeprefix(_PROMPT), (), number))
        else:
            assert steps, f"line {number}: a console block begins with a prompt"
            steps[-1] = steps[-1]._replace(shown=(*steps[-1].shown, line))
    return steps


def bare(cell: str) -> str:
    """A cell without its backticks."""
    return cell.replace("`", "")


def quoted(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def anchor(heading: str) -> str:
    """The anchor that a heading gets where the file is shown."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
