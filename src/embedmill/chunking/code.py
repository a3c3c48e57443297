"""What a source file says it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LOOKED_AT = 4096  # characters from the file's beginning: what comes later says something else

_DOCSTRING = re.compile(
    r"""(?:[ \t\r]*+(?:\#[^\n]*+)?+\n)*+          # blank lines and comments
        (?:__doc__[ ]*+=[ ]*+)?+[rRuU]?+
        (?P<quote>\"{3}|'{3})(?P<said>.*?)(?P=quote)""",
    re.VERBOSE | re.DOTALL,
)
# One comment and the blank lines around it. What stands right above a definition speaks of that; a package's
# comment (Go) stands right above its name.
_COMMENT = re.compile(
    r"""\s*+(?P<said>/\*(?:[^*]|\*(?!/))*+\*/(?=[ \t\r]*+\n)
                    |(?:[ \t]*+(?:\#(?![\w!\[])|//|--(?!\w)|;|%)[^\n]*+\n)++)
        (?P<apart>[ \t\r]*+\n|[ \t]*+(?:package|module)\b)?+""",
    re.VERBOSE,
)
_SHEBANG = re.compile(r"\ufeff?(?:\#![^\n]*+\n)?+")
_MARKS = re.compile(r"^[ \t]*+(?:\#++|//[/!]?+|--++|;++|%++|/\*[*!]?+|\*(?!/))?+|\*/\s*+\Z", re.MULTILINE)
_PARAGRAPH_END = re.compile(r"\n[ \t\r]*+\n")
_ABOUT_THE_FILE = re.compile(
    r"copyright|\(c\)|©|licen[cs]e|spdx|rights reserved|warranty|author|@\w|-\*-|vim?:|(?:es|py)lint|noqa|type: ?ignore"
    r"|shellcheck|redistribut|generated|do not edit|coding[:=]",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"\S*\w\S*\s+(?:\S+\s+)*?[a-z]{2,}")  # two words at least, one of them in small letters


def summary(text: str) -> tuple[str, int]:
    """The first paragraph of the file's docstring, or of its opening comments, on one line; and where it ends.

    ``("", 0)`` where there is none. Licences, authors and editors' settings are passed over.
    """
    head = text[:_LOOKED_AT]
    start = _SHEBANG.match(head).end()  # type: ignore[union-attr]  # matches the empty text, too
    docstring = _DOCSTRING.match(head, start)
    spans = [docstring.span("said")] if docstring else _comments(head, start)
    for begin, end in spans:
        for first, last in _paragraphs(head, begin, end):
            said = " ".join(_MARKS.sub("", head[first:last]).removeprefix("\\").split())
            if _SENTENCE.match(said) and not _ABOUT_THE_FILE.search(said):
                return said, last
    return "", 0


def _comments(head: str, start: int) -> Iterator[tuple[int, int]]:
    while (comment := _COMMENT.match(head, start)) and comment["apart"] is not None:
        yield comment.span("said")
        start = comment.end()


def _paragraphs(head: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Stretches between lines that hold nothing but a comment's marks."""
    bare = _MARKS.sub(lambda marks: " " * len(marks[0]), head[start:end])
    begin = 0
    for gap in _PARAGRAPH_END.finditer(bare):
        yield start + begin, start + gap.start()
        begin = gap.end()
    yield start + begin, end
