"""What a source file says it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LOOKED_AT = 4096  # characters from the file's beginning: what comes later says something else

# No group here is possessive: where one fails in the midst of a repetition, Python before 3.11.5 goes on from there.
_DOCSTRING = re.compile(
    r"""(?:[ \t\r]*+(?:\#[^\n]*+)?\n)*            # blank lines and comments
        (?:__doc__[ ]*+=[ ]*+)?[rRuU]?+
        (?:(?P<quotes>\"{3}|'{3})(?P<said>.*?)(?P=quotes)
          |(?P<quote>["'])(?!use[ ]strict)(?P<short>[^"'\n;]++)(?P=quote)(?=[ \t\r]*+\n))""",
    re.VERBOSE | re.DOTALL,
)
# One comment with the lines around it that say nothing. What stands right above a definition speaks of that; but not
# what another comment follows, or a package's name (Go), nor what speaks of what is around it (Rust).
_COMMENT = re.compile(
    r"""(?:\s|['"]use[ ]strict['"];?+|<\?php|\#!\[[^\n]*+|\{-\#[^\n]*+|\#(?:ifndef|define|pragma|if)\b[^\n]*+)*
        (?P<said>/\*[^*]*+\*++(?:[^/*][^*]*+\*++)*/(?=[ \t\r]*+\n)|--\[\[.*?\]\](?=[ \t\r]*+\n)
                |(?:[ \t]*+(?:\#(?![\w!\[])|//|--(?![\w\[])|;|%)[^\n]*+\n)+)
        (?P<apart>[ \t\r]*+\n(?=[ \t\r]*+(?:\n|\Z)|[^\n]*\S)|(?=[ \t]*+(?:/\*|//|\#|--|(?:package|module)\b)))?""",
    re.VERBOSE | re.DOTALL,
)
_SHEBANG = re.compile(r"\ufeff?(?:\#![^\n]*+\n)?")
_MARKS = re.compile(
    r"^[ \t]*+(?:\#++|//[/!]?+|--\[\[|--++|;++|%++|/\*++!?+|\*++(?!/))?|\*++/\s*+\Z|\]\]\s*+\Z|[*=~#-]{3,}",
    re.MULTILINE,
)
_TAG = re.compile(r"(?:[@\\](?:file(?:overview)?|overview|brief|module)\b[ ]?+(?:[\w.-]+\.\w++)?\s*+)+", re.IGNORECASE)
_PARAGRAPH_END = re.compile(r"\n[ \t\r]*+\n")
_SENTENCE = re.compile(r"\S*\w\S*\s+(?:\S+\s+)*?[a-z]{2,}")  # two words at least, one of them in small letters
_SENTENCE_END = re.compile(r".*[.!?](?=\s|$)")
_OF_THE_FILE = re.compile(
    # Of its rights and its makers,
    r"copyright|\(c\)|©|licen[cs]e|spdx|rights reserved|warranty|permission is hereby|redistribut|free software"
    r"|part of|public domain|author|created (?:on|by)|@\w"
    # to editors, linters, compilers and other programs,
    r"|-\*-|vim?:|lint|noqa|type: ?ignore|shellcheck|generated|do not edit|coding[:=]|jshint|istanbul|<reference"
    r"|^(?:fmt|isort|mypy|typed|pragma|go:\w+|\+build|frozen_string_literal|warn_indent|global)\b\s*+[:!=\w]"
    # and of no purpose.
    r"|^(?:usage|todo|fixme|xxx|module dependencies)\b|^(?:import|from|use|using|var|let|const|return) \S+",
    re.IGNORECASE,
)


def summary(text: str) -> tuple[str, int]:
    """The first paragraph of the file's docstring, or of its opening comments, on one line; and where it ends.

    ``("", 0)`` where there is none. Licences, authors and what is meant for programs are passed over.
    """
    head = text[:_LOOKED_AT]
    start = _SHEBANG.match(head).end()  # type: ignore[union-attr]  # matches the empty text, too
    docstring = _DOCSTRING.match(head, start)
    said_in = [docstring.span("said" if docstring["quotes"] else "short")] if docstring else None
    for begin, end in said_in or _comments(head, start, program=start > 1):
        for first, last in _paragraphs(head, begin, end):
            said = _TAG.sub("", " ".join(_MARKS.sub("", head[first:last]).removeprefix("\\").split()))
            if other := _OF_THE_FILE.search(said):
                before = _SENTENCE_END.match(said[: other.start()])
                said = before[0] if before else ""
            if _SENTENCE.match(said):
                return said, last
    return "", 0


def _comments(head: str, start: int, *, program: bool) -> Iterator[tuple[int, int]]:
    """The comments that the file begins with; a program's first one, too, where code follows at once."""
    while comment := _COMMENT.match(head, start):
        if comment["apart"] is None and not program and not comment["said"].lstrip().startswith("//!"):
            return
        yield comment.span("said")
        start, program = comment.end(), False


def _paragraphs(head: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Stretches between lines that hold nothing but a comment's marks."""
    bare = _MARKS.sub(lambda marks: " " * len(marks[0]), head[start:end])
    begin = 0
    for gap in _PARAGRAPH_END.finditer(bare):
        yield start + begin, start + gap.start()
        begin = gap.end()
    yield start + begin, end
