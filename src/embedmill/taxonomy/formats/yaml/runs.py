"""Long lists of terms, taken out of a source before it is parsed: a parser needs 40 microseconds for each.

Of such a list the parser sees the first line and the last, with empty lines between. If it finds both of them as
neighbours in one list, then so are the lines between them; if not, as in a block of text, the source is parsed whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from embedmill.taxonomy.formats.signs import content
from embedmill.taxonomy.formats.yaml.layout import COMMENT_GAP, Scalar
from embedmill.taxonomy.tree import Term

_SHORTEST: Final = 32  # lines
_ODD: Final = r"\x7f-\x9f\u2028\u2029\ufeff"  # ends a line, or is refused
_TERM: Final = re.compile(
    rf"( *-) +([^\W_][^:#\s{_ODD}]*(?: [^:#\s{_ODD}]+)*|'[^'{_ODD}]+'|\"[^\"\\{_ODD}]+\")(?:( +)(#[^{_ODD}]*))?"
)


@dataclass(frozen=True, slots=True)
class Run:
    """Lines of one list, each a term without escapes; the first and the last are in the thinned source, too."""

    first: int
    """A line's number, from 0."""
    lines: list[str]

    @property
    def last(self) -> int:
        """The number of the last line."""
        return self.first + len(self.lines) - 1

    def inner_terms(self) -> list[Term]:
        """The terms between the first and the last."""
        return [_term(line) for line in self.lines[1:-1]]


def _term(line: str) -> Term:
    found = _TERM.fullmatch(line)
    assert found
    dash, raw, gap, comment = found.groups()
    plain = raw[1:-1] if raw[0] in ("'", '"') else raw
    written = Scalar(plain, raw, len(dash) - 1, None, len(gap) if gap else COMMENT_GAP)
    return Term(plain, content(comment) if comment else "", written=written)


def thin(source: str) -> tuple[str, dict[int, Run]]:
    """The source with empty lines inside its long lists, and these by the number of their first line."""
    lines = source.split("\n")
    runs: dict[int, Run] = {}
    first, start = 0, ""
    for number, line in enumerate([*lines, ""]):
        found = _TERM.fullmatch(line)
        begins = line[: found.start(2)] if found else ""
        if begins and begins == start:
            continue
        if start and number - first >= _SHORTEST:
            runs[first] = Run(first, lines[first:number])
        first, start = number, begins
    for run in runs.values():
        lines[run.first + 1 : run.last] = [""] * (run.last - run.first - 1)
    return "\n".join(lines), runs
