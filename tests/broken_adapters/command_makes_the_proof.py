"""Sound itself, but the command of one of its cases reads a file that is not there."""

from pathlib import Path

from msgspec.structs import replace

from tests.broken_adapters import sound

ADAPTER = replace(sound.ADAPTER)


def spoil(folder: Path) -> None:
    about = folder / "note.added__one" / "about.toml"
    about.write_text(about.read_text().replace("-r body.raw", "-r boby.raw"))
