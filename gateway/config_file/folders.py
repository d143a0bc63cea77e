"""Where the spool may lie: found out from the path and what is there, without changing anything."""

import os
import stat
from pathlib import Path

from gateway.config_file.values import Wrong

_NO_DISK = (Path("/proc"), Path("/sys"), Path("/dev"))


def check_spool(spool: Path, data_dir: Path | None) -> None:
    """Raise ``Wrong`` where a spool cannot be, or must not: ``data_dir`` is the embedded store's. Both are absolute."""
    for place in _NO_DISK:
        if spool.is_relative_to(place):
            raise Wrong(f"lies in {place}, where nothing is kept on a disk", 'a folder of its own, like "./spool"')
    if (found := nearest(spool)) is not None and not stat.S_ISDIR(found.stat().st_mode):
        raise Wrong(f"cannot be a folder: {found} is none", 'a folder of its own, like "./spool"')
    if data_dir is not None and (spool.is_relative_to(data_dir) or data_dir.is_relative_to(spool)):
        where = "is" if spool == data_dir else "lies in" if spool.is_relative_to(data_dir) else "holds"
        raise Wrong(
            f"{where} the data directory {data_dir}, which a restore must find empty",
            'a folder beside it, like "./spool"',
        )


def nearest(path: Path) -> Path | None:
    """The path itself, or of those above it the first that is there; ``None`` where this user cannot see that."""
    for each in (path, *path.parents):
        try:
            each.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
        return each
    return None


def is_refused(spool: Path) -> Path | None:
    """The folder in which this user may not write, so that there would be no spool; ``None`` if there is none.

    Judged only where the spool or the folder above it is there: elsewhere the file may be for another machine.
    """
    found = nearest(spool)
    if found in (spool, spool.parent) and found is not None and not os.access(found, os.W_OK | os.X_OK):
        return found
    return None
