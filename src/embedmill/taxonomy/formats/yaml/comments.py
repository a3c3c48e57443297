"""Comments of YAML: found between the parser's events, and given to what they are about.

YAML's parsers drop comments, or attach them to the token before, where they stay behind when the term after them is
moved. Here a line of comment belongs to what follows it, one at the end of a branch to that branch, and one beside a
value to what begins its line.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from embedmill.taxonomy.formats.signs import content
from embedmill.taxonomy.formats.yaml.layout import Scalar, layout_of
from embedmill.taxonomy.tree import Branch, Term

_BESIDE = re.compile(r"(?:(?<=\s)|^)#")


class _Line(NamedTuple):
    column: int
    text: str  # "" for an empty line


class EndedBranch(NamedTuple):
    """A branch that has ended."""

    branch: Branch
    column: int  # of its children


class Comments:
    """Goes along the source, from one event of the parser to the next."""

    def __init__(self, source: str, root: Branch, shortened: dict[str, str]) -> None:
        """`shortened` has comments by what stands for them in the source; each that is found is taken out of it."""
        self._source = source
        self._shortened = shortened
        self._root: Branch | None = root  # as long as nothing has begun
        self._end = 0  # where the last event ended
        self._beside: Branch | Term | None = None
        self._waiting: list[_Line] = []
        self._closed: list[EndedBranch] = []  # since the last event that began something, the innermost first

    def reach(self, start: int) -> None:
        """Collect the comments up to an event that starts here."""
        begun, self._end = self._end, start
        between = self._source[begun:start]
        if not between or (between.isspace() and "\n" not in between):
            return
        first, *lines = between.split("\n")
        if not begun or self._source[begun - 1] == "\n":
            lines.insert(0, first)  # the file begins, or a block of text has ended with its line
        elif found := _BESIDE.search(first):
            self._put_beside(first[found.start() :], found.start() - len(first[: found.start()].rstrip()))
        if start < len(self._source) or (lines and not lines[-1]):
            lines = lines[:-1]  # the event's own line
        self._waiting += [line for each in lines if (line := self._line(each)) is not None]

    def _put_beside(self, comment: str, gap: int) -> None:
        owner = self._beside
        if owner is None or owner.comment:
            self._waiting.append(_Line(-1, content(comment)))
            return
        owner.comment = content(comment)
        if isinstance(owner, Branch):
            layout_of(owner).gap = gap
        elif isinstance(owner.written, Scalar):
            old = owner.written
            owner.written = Scalar(old.text, old.raw, old.column, old.anchor, gap)

    def passed(self, end: int, owner: Branch | Term | None) -> None:
        """An event has ended here; what stands beside it belongs to `owner`."""
        self._end, self._beside = end, owner

    def skip(self, start: int) -> None:
        """Between the last event and this place there is nothing to be looked at, but on the line of that event."""
        line_end = self._source.find("\n", self._end, start)
        self.reach(line_end if line_end >= 0 else start)
        self._end = start

    def close(self, branch: Branch, column: int) -> None:
        """A branch whose children begin in this column has ended."""
        self._closed.append(EndedBranch(branch, column))

    def begin(self, begun: Branch | Term, column: int) -> None:
        """Give what has been collected to what begins in this column, and to the branches that ended before it."""
        if self._root:
            self._head(self._root)
            self._root = None
        if self._waiting:
            deeper = 0
            for place, line in enumerate(self._waiting if self._closed else ()):
                if line.text and line.column <= column:
                    break
                deeper = place + 1 if line.text else deeper
            self._end_branches(self._waiting[:deeper])
            begun.above += [line.text for line in self._waiting[deeper:]]
            self._waiting = []
        self._closed = []

    def _head(self, root: Branch) -> None:
        """Of what stands above all else, the part up to the last empty line is about the file."""
        empty = max((place for place, line in enumerate(self._waiting) if not line.text), default=-1)
        root.above, self._waiting = [line.text for line in self._waiting[: empty + 1]], self._waiting[empty + 1 :]

    def finish(self) -> None:
        """The file has ended: what is left belongs to the branches that ended with it."""
        self._end_branches(self._waiting)

    def _end_branches(self, lines: list[_Line]) -> None:
        """Give lines to the branches whose children begin in the same column, or as near to the left as there are."""
        upto, empty = 0, 0
        for line in lines:
            if not line.text:
                empty += 1
                continue
            fits = [place for place, each in enumerate(self._closed) if place >= upto and each.column <= line.column]
            columns = [self._closed[place].column for place in fits]
            upto = max(place for place in fits if self._closed[place].column == max(columns)) if fits else -1
            upto %= len(self._closed)
            self._closed[upto].branch.below += [""] * empty + [line.text]
            empty = 0
        if empty:
            self._closed[-1].branch.below += [""] * empty

    def _line(self, line: str) -> _Line | None:
        """A line between two events; None for one that has an indicator and no comment."""
        inner = line.lstrip(" \t")
        if not inner:
            return _Line(-1, "")
        if inner.startswith("#"):
            return _Line(len(line) - len(inner), content(self._shortened.pop(inner, inner)))
        found = _BESIDE.search(line)
        return _Line(-1, content(line[found.start() :])) if found else None
