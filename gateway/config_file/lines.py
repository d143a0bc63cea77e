"""Which line a key of a TOML file stands on: a scanner beside ``tomllib``, which says only where it failed.

The text is known to be valid (``tomllib`` has read it), so the scanner only has to follow the structure: it skips what
values say and remembers where they begin.
"""

import tomllib
from bisect import bisect_left

KeyPath = tuple[str | int, ...]
"""``("subscribers", "crm", "types", 1)``: names of tables and keys, positions in arrays."""


class Lines:
    """The line of every key, table and array element of a valid TOML text."""

    def __init__(self, text: str) -> None:
        self._found: dict[KeyPath, int] = {}
        _Scanner(text, self._found).document()

    def line(self, path: KeyPath) -> int:
        """The line (from 1) where ``path`` begins; where it is not written, that of the nearest table around it."""
        for length in range(len(path), 0, -1):
            if (line := self._found.get(path[:length])) is not None:
                return line
        return 1

    def __contains__(self, path: KeyPath) -> bool:
        return path in self._found

    def paths(self) -> set[KeyPath]:
        """Every path that was found."""
        return set(self._found)


class _Scanner:
    def __init__(self, text: str, found: dict[KeyPath, int]) -> None:
        self.text = text.replace("\r\n", "\n")
        self.at = 0
        self.newlines = [index for index, char in enumerate(self.text) if char == "\n"]
        self.found = found
        self.array_sizes: dict[KeyPath, int] = {}
        """Arrays of tables so far: a later ``[a.b]`` means the last element of ``[[a]]``."""

    def document(self) -> None:
        table: KeyPath = ()
        while self._skip_blank():
            if self._take("[["):
                table = self._header(is_element=True)
            elif self._take("["):
                table = self._header(is_element=False)
            else:
                self._pair(table)

    def _header(self, *, is_element: bool) -> KeyPath:
        start = self.at
        parts = self._key()
        path: KeyPath = ()
        for part in parts[:-1]:
            path = self._last_element((*path, part))
            self._note(path, start)
        path = (*path, parts[-1])
        if is_element:
            self._note(path, start)
            self.array_sizes[path] = self.array_sizes.get(path, 0) + 1
        path = self._last_element(path)
        self._note(path, start)
        self._skip_spaces()
        self._take("]]" if is_element else "]")
        return path

    def _last_element(self, path: KeyPath) -> KeyPath:
        return (*path, self.array_sizes[path] - 1) if path in self.array_sizes else path

    def _pair(self, table: KeyPath) -> None:
        start = self.at
        path = table
        for part in self._key():
            path = (*path, part)
            self._note(path, start)
        self._skip_spaces()
        self._take("=")
        self._skip_spaces()
        self._value(path)

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip_spaces()
            start = self.at
            if self.text[self.at] in "\"'":
                self._string()
                quoted = self.text[start : self.at]
                parts.append(next(iter(tomllib.loads(f"{quoted} = 0"))))
            else:
                while self.text[self.at].isalnum() or self.text[self.at] in "_-":
                    self.at += 1
                parts.append(self.text[start : self.at])
            self._skip_spaces()
            if not self._take("."):
                return parts

    def _value(self, path: KeyPath) -> None:
        self._note(path, self.at)
        char = self.text[self.at]
        if char in "\"'":
            self._string()
        elif char == "[":
            self.at += 1
            index = 0
            while self._skip_blank(","):
                if self._take("]"):
                    return
                self._value((*path, index))
                index += 1
        elif char == "{":
            self.at += 1
            while self._skip_blank(","):
                if self._take("}"):
                    return
                self._pair(path)
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\n":
                self.at += 1

    def _string(self) -> None:
        """Pass over a string of any of the four kinds."""
        quote = self.text[self.at]
        multiline = self.text.startswith(quote * 3, self.at)
        end = quote * 3 if multiline else quote
        self.at += len(end)
        while not self.text.startswith(end, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(end)
        if multiline:  # up to two quotes may belong to the content just before the closing three
            for _ in range(2):
                self._take(quote)

    def _note(self, path: KeyPath, position: int) -> None:
        if path not in self.found:
            self.found[path] = bisect_left(self.newlines, position) + 1

    def _take(self, literal: str) -> bool:
        if self.text.startswith(literal, self.at):
            self.at += len(literal)
            return True
        return False

    def _skip_spaces(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1

    def _skip_blank(self, also: str = "") -> bool:
        """Pass over white space, newlines, comments and ``also``; whether anything is left."""
        while self.at < len(self.text):
            if self.text[self.at] == "#":
                while self.at < len(self.text) and self.text[self.at] != "\n":
                    self.at += 1
            elif self.text[self.at] in " \t\n" or self.text[self.at] in also:
                self.at += 1
            else:
                return True
        return False
