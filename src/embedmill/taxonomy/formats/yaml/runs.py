"""Long lists, taken out of a source before it is parsed: a parser needs 40 microseconds for each scalar.

Of such a list the parser sees the first line and the last, with empty lines between. If it finds both of them as
neighbours in one list or mapping, then so are the lines between them; if not, as in a block of text, the source is
parsed whole. Long comments are taken out as well, and come back where a comment is found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from embedmill.taxonomy.formats.signs import content
from embedmill.taxonomy.formats.yaml.layout import COMMENT_GAP, Layout, Scalar
from embedmill.taxonomy.formats.yaml.open_collections import OpenCollection
from embedmill.taxonomy.tree import Branch, Term

NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})

Kind = Literal["term", "item", "key"]
"""What each line of a run is: `- term`, `- key: term` or `key: term`."""

_SHORTEST: Final = 32  # lines
_LONG: Final = 100  # characters of a comment
_LONGEST_KEY: Final = 500  # characters; parsers refuse a key of more than 1,024
_ODD: Final = r"\x7f-\x9f\u2028\u2029\ufeff"  # ends a line, or is refused
_SCALAR: Final = rf"([^\W_][^:#\s{_ODD}]*(?: [^:#\s{_ODD}]+)*|'[^'{_ODD}]+'|\"[^\"\\{_ODD}]+\")"
_LINE: Final = re.compile(rf"( *)(- +)?(?:{_SCALAR}(: +))?{_SCALAR}(?:( +)(#[^{_ODD}]*))?")
_COMMENT: Final = re.compile(rf"^( *)(#[^\n{_ODD}]{{{_LONG},}})$", re.MULTILINE)
_MARK: Final = "\ue000"  # of private use: no file has it, or its comments stay


@dataclass(frozen=True, slots=True)
class Run:
    """Lines of one kind, without escapes; the first and the last are in the thinned source, too."""

    first: int
    """A line's number, from 0."""
    kind: Kind
    lines: list[str]

    @property
    def last(self) -> int:
        """The number of the last line."""
        return self.first + len(self.lines) - 1


class Thinned(NamedTuple):
    """A source as the parser sees it, with what is not in it."""

    source: str
    runs: dict[int, Run]
    """By the number of their first line."""
    comments: dict[str, str]
    """Long comments, by what stands in their place."""


class Misread(Exception):
    """What was taken out of the source is not what it seemed to be."""


@dataclass(slots=True)
class RunPassage:
    """Where the parser is among the runs of a thinned source."""

    left: dict[int, Run]
    """Those whose first line has not been seen."""
    _open: tuple[Run, OpenCollection] | None = field(default=None, init=False)

    @property
    def is_open(self) -> bool:
        """Whether what has been parsed last is the first line of a run."""
        return self._open is not None

    def begin(self, line: int, kind: Kind, frame: OpenCollection) -> None:
        """Something of this kind has been read from a line: it may be the first of a run, of which the frame is."""
        run = self.left.get(line)
        if run and run.kind == kind and not frame.flow:
            self._open = self.left.pop(line), frame

    def end(self, line: int, kind: Kind, frame: OpenCollection | None) -> list[Branch | Term]:
        """What stands before what begins on this line, since the last event: nothing, or the inside of a run.

        Raises `Misread` where that is not the run's last line.
        """
        if self._open is None:
            return []
        (run, begun), self._open = self._open, None
        if frame is not begun or kind != run.kind or line != run.last:
            raise Misread
        return [_child(line, joined=frame.kind == "item") for line in run.lines[1:-1]]


def _child(line: str, *, joined: bool) -> Branch | Term:
    found = _LINE.fullmatch(line)
    assert found
    indent, dash, key, _, value, gap, comment = found.groups()
    space, beside = len(gap) if comment else COMMENT_GAP, content(comment) if comment else ""
    if key is None:
        return Term(_plain(value), beside, written=Scalar(_plain(value), value, len(indent), None, space))
    column = len(indent) + len(dash or "")
    term = Term(_plain(value), written=Scalar(_plain(value), value, column))
    layout = Layout(Scalar(_plain(key), key, column), "scalar", gap=space, joined=joined)
    return Branch(_plain(key), [term], beside, written=layout)


def _plain(raw: str) -> str:
    return raw[1:-1] if raw[0] in ("'", '"') else raw


def thin(source: str) -> Thinned:
    """The source with empty lines inside its long lists, and short lines for its long comments."""
    lines = source.split("\n")
    runs: dict[int, Run] = {}
    first: int = 0
    kept: tuple[Kind, str] | None = None
    for number, line in enumerate([*lines, ""]):
        begins = _beginning(line)
        if begins and begins == kept:
            continue
        if kept and number - first >= _SHORTEST:
            runs[first] = Run(first, kept[0], lines[first:number])
        first, kept = number, begins
    for run in runs.values():
        lines[run.first + 1 : run.last] = [""] * (run.last - run.first - 1)
    comments: dict[str, str] = {}

    def shorten(found: re.Match[str]) -> str:
        short = f"#{_MARK}{len(comments)}"
        comments[short] = found[2]
        return found[1] + short

    thinned = "\n".join(lines)
    return Thinned(thinned if _MARK in source else _COMMENT.sub(shorten, thinned), runs, comments)


def _beginning(line: str) -> tuple[Kind, str] | None:
    """Of a line that may stand in a run, its kind and what stands before its scalars."""
    found = _LINE.fullmatch(line)
    if not found:
        return None
    indent, dash, key, _, value, _, _ = found.groups()
    if key is None:
        return ("term", indent + dash) if dash else None
    if len(key) > _LONGEST_KEY or value in NULLS:
        return None
    return ("item", indent + dash) if dash else ("key", indent)
