"""Markdown's parts, as text that is read and embedded: nothing is escaped but what a table's shape needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_LOOKS_LIKE_A_BLOCK = re.compile(r"^(?=\ {0,3}(?:\#{1,6}(?:\s|$)|`{3}|~{3}|(?:=+|-+)[ \t]*$))", re.MULTILINE)


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells as a table, the first as its head; rows without any text are left out."""
    kept = [[cell_text(cell) for cell in row] for row in rows if any(cell.strip() for cell in row)]
    if not kept:
        return ""
    width = max(map(len, kept))
    lines = ["| " + " | ".join([*row, *[""] * (width - len(row))]) + " |" for row in kept]
    lines.insert(1, "|" + " --- |" * width)
    return "\n".join(lines)


def cell_text(text: str) -> str:
    """A cell's text on one line; its bars are escaped, since each would begin another cell."""
    return " ".join(text.split()).replace("|", "\\|")


def plain(text: str) -> str:
    """Plain text as part of a Markdown document: lines that would begin a heading or a fence are indented."""
    return _LOOKS_LIKE_A_BLOCK.sub(INDENT, text)


INDENT = "    "


def marked(text: str, mark: str) -> str:
    """The text with a mark before each line that `plain` would indent."""
    return _LOOKS_LIKE_A_BLOCK.sub(mark, text)


def fenced(code: str, language: str = "") -> str:
    """Code between fences that it does not contain itself."""
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{code.strip(chr(10))}\n{fence}"
