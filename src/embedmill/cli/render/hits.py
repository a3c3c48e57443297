"""What a search has found, for programs, pipes and terminals."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Final

from embedmill.cli.output import one_line
from embedmill.cli.render.wording import place
from embedmill.core.documents import Hit

LINES: Final = 3

_IN_ONE_LINE: Final = 160  # characters; a terminal or an editor's list shows about as much

_WORD: Final = re.compile(r"\w{3,}")


def json_object(hit: Hit) -> dict[str, object]:
    """A hit for programs."""
    return {
        "document": hit.document,
        "chunk": hit.chunk,
        "start": hit.start,
        "end": hit.end,
        "line": hit.line,
        "end_line": hit.end_line,
        "page": hit.page,
        "score": hit.score,
        "text": hit.text,
        "context": hit.context,
    }


def for_pipes(hits: Sequence[Hit]) -> str:
    """A line a hit: ``path:line: score text``."""
    return "\n".join(
        f"{place(hit.document, hit.line, page=hit.page)}: {hit.score:.3f} {one_line(in_one_line(hit.text))}"
        for hit in hits
    )


def for_people(hits: Sequence[Hit], query: str) -> str:
    """Each hit with some of its lines, for a terminal."""
    width = shutil.get_terminal_size().columns
    coloured = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if coloured and text else text

    blocks = []
    for hit in hits:
        name = one_line(place(hit.document, hit.line, page=hit.page))
        context = clipped(one_line(hit.context.replace("\n", " > ")), width - len(name) - 9)
        head = f"{paint(name, '1;36')}  {paint(f'{hit.score:.3f}', '33')}"
        lines = [f"{head}  {paint(context, '1')}" if context else head]
        lines += [paint(clipped("    " + one_line(line), width), "2") for line in snippet(hit.text, query)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


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
