"""A look at the spool's folder: what lies there beside the files that this process has. It blocks."""

from collections.abc import Container, Mapping
from pathlib import Path

import msgspec

from gateway.errors import SpoolFormat, SpoolRefused, SpoolUnreadable
from gateway.intake.spool_database import Held
from gateway.intake.spool_file import SUFFIX, UNREADABLE, SpoolFile
from gateway.intake.spool_folder import held_by, tidy


class Look(msgspec.Struct):
    """What was found."""

    orphans: list[SpoolFile] = []
    """Files whose process has ended, locked by this one now."""
    peers: dict[Path, Held] = {}
    """Those of other processes."""
    troubles: dict[str, str] = {}
    """Name of a file → why it is not drained."""


def look_at(
    folder: Path, *, ours: Container[Path], refused: Mapping[Path, str], counted: Mapping[Path, Held | None]
) -> Look:
    """Look at all files but ``ours``, and adopt what has become an orphan.

    ``refused``: orphans that could not be used a moment ago, and why; they are not tried. ``counted``: files of others
    of which it is known what they hold, but for the row that comes next. What one file has wrong is among the
    ``troubles``. Raises ``OSError`` where the folder itself cannot be read.
    """
    found = Look()
    tidy(folder)
    for path in folder.glob(f"*{UNREADABLE}"):
        found.troubles[path.name] = "it is damaged, and was set aside"
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path in ours:
            continue
        if path in refused:
            found.troubles[path.name] = refused[path]
            continue
        try:
            orphan = SpoolFile.adopt(path)
            if orphan is not None:
                found.orphans.append(orphan)
            else:
                found.peers[path] = held_by(path, counted.get(path))
        except SpoolUnreadable as error:
            found.troubles[path.with_suffix(UNREADABLE).name] = str(error)
        except (SpoolRefused, SpoolFormat, OSError) as error:
            found.troubles[path.name] = str(error)
    return found
