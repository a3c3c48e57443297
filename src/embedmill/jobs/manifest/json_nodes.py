"""A manifest in JSON, as nodes with places, which Python's own parser does not tell."""

from __future__ import annotations

import re
from json import JSONDecodeError, JSONDecoder
from typing import Final

from embedmill.jobs.manifest.nodes import DEEPEST, ManifestNode, NotRead, Pair, Place, number

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_STRINGS: Final = JSONDecoder()  # it knows all escapes
_WORDS: Final = {"true": True, "false": False, "null": None}


def read_json(text: str, file: str) -> ManifestNode | None:
    """The value of a text; None where it is blank. Raises `NotRead`, with the place, for what is no JSON."""
    reading = _Reading(text, file)
    if reading.at_end():
        return None
    node = reading.value(0)
    if not reading.at_end():
        raise reading.wrong("something follows after its end")
    return node


class _Reading:
    """A text, and how far it has been read."""

    def __init__(self, text: str, file: str) -> None:
        self._text, self._file, self._at = text, file, 0
        self._line, self._line_start = 1, 0  # of the place that was asked for last: places only go on

    def place(self) -> Place:
        """Where the next character stands."""
        breaks = self._text.count("\n", self._line_start, self._at)
        if breaks:
            self._line += breaks
            self._line_start = self._text.rfind("\n", 0, self._at) + 1
        return Place(self._file, self._line, self._at - self._line_start + 1)

    def wrong(self, what: str) -> NotRead:
        """The error for the next character."""
        return NotRead(f"is no JSON: {what}", self.place())

    def at_end(self) -> bool:
        """Whether nothing but space is left."""
        self._skip()
        return self._at == len(self._text)

    def value(self, depth: int) -> ManifestNode:
        """The next value."""
        self._skip()
        place = self.place()
        if depth > DEEPEST:
            raise NotRead(f"is nested more than {DEEPEST} deep: a manifest has `defaults`, `jobs` and `matrix`", place)
        if self._takes("{"):
            return ManifestNode(tuple(self._pairs(depth + 1)), place, "mapping")
        if self._takes("["):
            return ManifestNode(tuple(self._items(depth + 1)), place, "list")
        if self._text.startswith('"', self._at):
            return ManifestNode(self._string(), place, "scalar")
        if found := _NUMBER.match(self._text, self._at):
            self._at = found.end()
            return ManifestNode(number(found[0], place), place, "scalar")
        for word, value in _WORDS.items():
            if self._takes(word):
                return ManifestNode(value, place, "scalar")
        raise self._unexpected("a value")

    def _items(self, depth: int) -> list[ManifestNode]:
        found: list[ManifestNode] = []
        while not self._ends("]", first=not found):
            found.append(self.value(depth))
        return found

    def _pairs(self, depth: int) -> list[Pair]:
        found: list[Pair] = []
        while not self._ends("}", first=not found):
            place = self.place()
            if not self._text.startswith('"', self._at):
                raise self._unexpected("a key in double quotes")
            key = self._string()
            self._skip()
            if not self._takes(":"):
                raise self._unexpected("':'")
            found.append(Pair(key, place, self.value(depth)))
        return found

    def _ends(self, sign: str, *, first: bool) -> bool:
        """Whether a list or mapping ends here; else what comes before its next value is passed."""
        self._skip()
        if self._takes(sign):
            return True
        if not first and not self._takes(","):
            raise self._unexpected(f"',' or '{sign}'")
        self._skip()
        return False

    def _string(self) -> str:
        try:
            decoded, self._at = _STRINGS.raw_decode(self._text, self._at)
        except JSONDecodeError as error:
            self._at = max(error.pos, self._line_start)
            raise self.wrong(error.msg.lower().removesuffix(" at")) from None
        found = str(decoded)
        if any("\ud800" <= character <= "\udfff" for character in found):
            raise self.wrong("half of a character (a lone surrogate) stands before this")
        return found

    def _takes(self, sign: str) -> bool:
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        return True

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _unexpected(self, wanted: str) -> NotRead:
        if self._at == len(self._text):
            return self.wrong(f"it ends where {wanted} is expected: is the file cut?")
        return self.wrong(f"{wanted} is expected, and {self._text[self._at]!r} stands there")
