"""Where secrets come from: ``env:NAME``, ``file:path``, ``credential:name``. Never from the configuration file itself.

``env:`` looks into the real environment first, then into the ``.env`` beside the file. ``credential:`` is systemd's
``LoadCredential=``: a file of that name in ``$CREDENTIALS_DIRECTORY``. No message of this module holds a value.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from gateway.config_file.values import Wrong

_MAX_FILE_BYTES = 64 * 1024
_REFERENCE = re.compile(r"(env|file|credential):(.+)", re.DOTALL)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CREDENTIAL = re.compile(r"[A-Za-z0-9_.-]+")
_ENV_NAME = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)")
_ENV_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_ENV_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def is_reference(value: object) -> bool:
    """Whether ``value`` has the form of a reference (and so may be shown)."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


class References:
    """Resolves references for one configuration file."""

    def __init__(self, base: Path, env: Mapping[str, str], dotenv: Mapping[str, str]) -> None:
        self._base, self._env, self._dotenv = base, env, dotenv

    def resolve(self, reference: object) -> bytes:
        """The bytes a reference stands for, without the newline that ends a file. Raises ``Wrong``."""
        match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        if match is None:
            raise Wrong(
                "holds something else than a reference; secrets do not stand in this file",
                'a reference: "env:NAME", "file:path" or "credential:name"',
            )
        where, name = match.groups()
        if where == "env":
            return self._variable(name)
        if where == "file":
            return _content(self._base / name, f"file:{name}")
        if not _CREDENTIAL.fullmatch(name) or name in {".", ".."}:
            raise Wrong(f"names the credential {name!r}, which is not a file name", "credential:name")
        directory = self._env.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise Wrong(
                f"refers to credential:{name}, but $CREDENTIALS_DIRECTORY is not set",
                "LoadCredential= in the systemd unit, or env:NAME here",
            )
        return _content(Path(directory) / name, f"credential:{name}")

    def origin(self, reference: str) -> str:
        """Where the value of a reference is read from, in words."""
        where, _, name = reference.partition(":")
        if where == "env":
            return "environment" if self._env.get(name) else ".env"
        return where

    def _variable(self, name: str) -> bytes:
        if not _VARIABLE.fullmatch(name):
            raise Wrong("does not name an environment variable", "env: and letters, digits or _")
        value = self._env.get(name) or self._dotenv.get(name)
        if not value:
            state = "empty" if name in self._env or name in self._dotenv else "not set"
            raise Wrong(
                f"refers to env:{name}, but the variable {name} is {state}, in the environment and in .env",
                f"{name}=… into .env beside the file, or set it in the environment",
            )
        return value.encode("utf-8", "surrogateescape")


def _content(path: Path, shown: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Wrong(
            f"refers to {shown}, which cannot be read ({error.strerror})", "the path of a readable file"
        ) from None
    except ValueError:  # a NUL in the path
        raise Wrong("refers to a path no file can have", "file: and a path") from None
    if len(content) > _MAX_FILE_BYTES:
        raise Wrong(f"refers to {shown}, which is larger than 64 KiB", "the path of a file with only the secret in it")
    if not (content := content.rstrip(b"\r\n")):
        raise Wrong(f"refers to {shown}, which is empty", "the secret into that file")
    return content


def parse_dotenv(text: str) -> tuple[dict[str, str], list[int]]:
    """Read ``NAME=value`` lines; also returns the numbers of the lines that are neither that, nor comment, nor blank.

    ``'…'`` is literal, in ``"…"`` a backslash escapes, a bare value ends before white space and ``#``; ``export`` in
    front is passed over. Nothing is expanded: a ``$`` in a secret is a ``$``.
    """
    values: dict[str, str] = {}
    bad: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not (line := line.strip()) or line.startswith("#"):
            continue
        left, equals, right = line.partition("=")
        name = _ENV_NAME.fullmatch(left.strip())
        value = _env_value(right.strip())
        if not equals or name is None or value is None:
            bad.append(number)
        else:
            values[name[1]] = value
    return values, bad


def _env_value(right: str) -> str | None:
    if right.startswith('"'):
        match = _ENV_DOUBLE.fullmatch(right)
        return match and re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), match[1])
    if right.startswith("'"):
        match = _ENV_SINGLE.fullmatch(right)
        return match and match[1]
    return re.split(r"(?:^|\s)#", right, maxsplit=1)[0].rstrip()
