"""What a source file says of itself."""

from __future__ import annotations

import re

_LOOKED_AT = 4096  # characters from the file's beginning: a summary that comes later is none

# Python's docstring behind comments; Rust's inner comment; Go's comment on its package. Licences stand in plain
# comments, which are no summary.
_SUMMARY = re.compile(
    r"""\A\ufeff?
    (?:(?:[ \t\r]*+(?:\#[^\n]*+)?+\n)*+ [rRuU]?+ (?P<quote>\"{3}|'{3}) (?P<docstring>.*?) (?P=quote)
      |(?:[ \t\r]*+(?://(?!!)[^\n]*+)?+\n)*+ (?P<rust>(?://![^\n]*+\n?+)++)
      |(?:[ \t\r]*+(?://(?![ ]Package[ ])[^\n]*+)?+\n)*+ (?P<go>//[ ]Package[ ][^\n]*+\n(?://[^\n]*+\n)*+)package\b)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"^//!?", re.MULTILINE)
_PARAGRAPH_END = re.compile(r"\n[ \t\r]*+\n")


def summary(text: str) -> tuple[str, int]:
    """The first paragraph of what the file says it is for, on one line, and where the whole saying ends.

    ``("", 0)`` where it says nothing. Looks at the file's beginning only.
    """
    match = _SUMMARY.match(text[:_LOOKED_AT])
    if not match:
        return "", 0
    said = match["docstring"]
    if said is None:
        said = _COMMENT_MARK.sub("", match[match.lastgroup or 0])
    paragraph = _PARAGRAPH_END.split(said.strip(), maxsplit=1)[0]
    return " ".join(paragraph.removeprefix("\\").split()), match.end()
