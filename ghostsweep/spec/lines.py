"""Where the keys of a TOML file stand: tomllib, which reads the values, does not say."""

import bisect
import re
from collections.abc import Mapping

MAX_DEPTH = 12
"""Parts of a key beyond which it is not looked for."""
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[^,\]}#\n]*")
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_FLAT = re.compile(r"[^\[\]{}\"'#,]*")
_STRINGS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}(?!")', re.DOTALL),
    re.compile(r"'''.*?'{3,5}(?!')", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)
_Path = tuple[str | int, ...]


def lines_of(text: str) -> Mapping[str, int]:
    """Lines, from 1, by key as messages write them: `run.epochs`, `axes[1].seed`, `quick.phases[0].axes.confidence`.

    Of an array of one table also without its [0]. A key that is written like another one, as "a.b" is, is left out, as
    are all keys of what cannot be followed. The text is one that tomllib has read.
    """
    try:
        return _Scan(text).read()
    except (ValueError, IndexError, RecursionError):
        return {}


class _Scan:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.starts = [match.end() for match in re.finditer("\n", text)]
        self.found: dict[_Path, int] = {}
        self.count: dict[_Path, int] = {}

    def read(self) -> dict[str, int]:
        table: _Path = ()
        while self._space() < len(self.text):
            start = self.at
            brackets = 2 if self.text.startswith("[[", start) else int(self.text[start] == "[")
            self.at += brackets
            name = self._key()
            if not brackets:
                self._pair((*table, *name), start)
                continue
            table = ()
            for part in name[:-1]:
                table = self._last((*table, part))
            table = (*table, name[-1])
            if brackets == 2:
                self._note(table, start)
                table = (*table, self._next(table))
            self._note(table, start)
            self._expect("]" * brackets)
        return self._named()

    def _last(self, path: _Path) -> _Path:
        """A table, or of an array of tables the last one so far."""
        return (*path, self.count[path] - 1) if path in self.count else path

    def _next(self, array: _Path) -> int:
        self.count[array] = self.count.get(array, 0) + 1
        return self.count[array] - 1

    def _note(self, path: _Path, start: int) -> None:
        if len(path) <= MAX_DEPTH:
            self.found.setdefault(path, bisect.bisect_right(self.starts, start) + 1)

    def _pair(self, path: _Path, start: int) -> None:
        self._note(path, start)
        self._expect("=")
        self._space()
        self._value(path)

    def _space(self) -> int:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at

    def _expect(self, sign: str) -> None:
        self._space()
        if not self.text.startswith(sign, self.at):
            raise ValueError(f"no {sign} at {self.at}")
        self.at += len(sign)

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._space()
            quoted = self.text[self.at : self.at + 1] in ("'", '"')
            if quoted:
                start, end = self.at, self._string()
                part = self.text[start + 1 : end - 1]
                if "\\" in part and self.text[start] == '"':
                    part = f"{part}\\"  # like no other key: escapes are not followed
                parts.append(part)
            elif match := _KEY.match(self.text, self.at):
                parts.append(match.group())
                self.at = match.end()
            else:
                raise ValueError(f"no key at {self.at}")
            if not self.text.startswith(".", self._space()):
                return parts
            self.at += 1

    def _string(self) -> int:
        for pattern in _STRINGS:
            if match := pattern.match(self.text, self.at):
                self.at = match.end()
                return self.at
        raise ValueError(f"no string at {self.at}")

    def _value(self, path: _Path) -> None:
        first = self.text[self.at : self.at + 1]
        if first in ("'", '"') and first:
            self._string()
        elif first == "[":
            self.at += 1
            index = 0
            while not self.text.startswith("]", self._space()):
                if self.text[self.at] in "[{'\"":
                    if self.text[self.at] == "{":
                        self._note((*path, index), self.at)
                        self.count[path] = index + 1
                    self._value((*path, index))
                elif match := _FLAT.match(self.text, self.at):
                    self.at = match.end()
                if self.text[self._space()] not in ",]":
                    raise ValueError(f"no , or ] at {self.at}")
                index += self.text.startswith(",", self._space())
                self.at += self.text.startswith(",", self.at)
            self.at += 1
        elif first == "{":
            self.at += 1
            while not self.text.startswith("}", self._space()):
                start = self.at
                self._pair((*path, *self._key()), start)
                self.at += self.text.startswith(",", self._space())
            self.at += 1
        elif match := _BARE.match(self.text, self.at):
            self.at = match.end()

    def _named(self) -> dict[str, int]:
        named: dict[str, int] = {}
        twice: set[str] = set()
        for path, line in self.found.items():
            for name in {self._written(path, True), self._written(path, False)}:
                if named.setdefault(name, line) != line:
                    twice.add(name)
        return {name: line for name, line in named.items() if name not in twice}

    def _written(self, path: _Path, indexed: bool) -> str:
        text = ""
        for end, part in enumerate(path):
            if isinstance(part, int):
                text += f"[{part}]" if indexed or self.count.get(path[:end]) != 1 else ""
            else:
                text += f".{part}" if text else part
        return text
