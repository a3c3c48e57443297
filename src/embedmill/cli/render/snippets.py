"""The few lines of a chunk that show best why it was found."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from typing import Final

LINES: Final = 3

_IN_ONE_LINE: Final = 160  # characters; a terminal or an editor's list shows about as much

_WORD: Final = re.compile(r"\w{3,}")


def snippet(text: str, query: str, lines: int = LINES) -> list[str]:
    """The lines, at most `lines` in a row, that have most of the query's words; without common indentation.

    Among equals those that begin with a line that has some.
    """
    found = [line.rstrip() for line in textwrap.dedent(text.expandtabs(4)).splitlines() if line.strip()]
    wanted = set(_words(query))
    shared = [wanted.intersection(_words(line)) for line in found]
    starts = range(max(len(found) - lines, 0) + 1)

    def worth(start: int) -> tuple[int, int]:
        return len(set().union(*shared[start : start + lines])), len(shared[start]) if shared else 0

    best = max(starts, key=worth)  # the first of several
    return textwrap.dedent("\n".join(found[best : best + lines])).splitlines()


def in_one_line(text: str) -> str:
    """The beginning of the text, with every run of white space as one space."""
    joined = " ".join(text[: 4 * _IN_ONE_LINE].split())
    return joined if len(joined) <= _IN_ONE_LINE else joined[: _IN_ONE_LINE - 1] + "…"


def clipped(text: str, width: int) -> str:
    """As much of the text as fits into so many cells of a terminal; "…" stands for what does not."""
    if width < 2:
        return ""
    if text.isascii():
        return text if len(text) <= width else text[: width - 1] + "…"
    cells = 0
    fitting = 0  # characters that leave room for the "…"
    for index, character in enumerate(text):
        cells += _cells(character)
        if cells > width:
            return text[:fitting] + "…"
        if cells < width:
            fitting = index + 1
    return text


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
