"""Signing secrets that the gateway makes for subscribers: one file each in the data directory, for its owner alone."""

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from gateway.config_file.written import SECRETS

SECRET_BYTES = 32


def new_whsec(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """A ``whsec_`` secret of 256 random bits."""
    return "whsec_" + base64.b64encode(random_bytes(SECRET_BYTES)).decode("ascii")


def write_secret(data_dir: Path, name: str, secret: str) -> str:
    """Keep a secret of the subscriber ``name``. Returns the reference to it. Raises ``OSError``.

    The file has a name of its own each time, so that of two who make the same subscriber at once, neither overwrites
    the other's secret.
    """
    folder = data_dir / SECRETS
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{name}.{secrets.token_hex(4)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    return f"file:{SECRETS}/{path.name}"


def remove_secrets(data_dir: Path, name: str, references: object) -> None:
    """Remove those of ``references`` that ``write_secret`` made for the subscriber ``name``. Others stay."""
    if not isinstance(references, list):
        return
    for reference in references:
        prefix = f"file:{SECRETS}/{name}."
        if isinstance(reference, str) and reference.startswith(prefix) and "/" not in reference[len(prefix) :]:
            (data_dir / SECRETS / reference.removeprefix(f"file:{SECRETS}/")).unlink(missing_ok=True)
