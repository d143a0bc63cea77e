"""Sound itself, but one of its cases does not say what its id comes from."""

from pathlib import Path

from msgspec.structs import replace

from tests.broken_adapters import sound

ADAPTER = replace(sound.ADAPTER)


def spoil(folder: Path) -> None:
    about = folder / "note.added__one" / "about.toml"
    about.write_text(about.read_text().replace('["note.added", "acme-1", "note_1"],', ""))
