"""A Markdown document as sections, with the path of headings above each."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from embedmill.chunking.cutting import first_ink, no_spans
from embedmill.chunking.estimate import estimate, estimate_short, shortened

_LINE = r"""(?P<line>[ ]{0,3})
    (?:(?P<fence>`{3,}+(?=[^`\n]*+(?:\n|\Z))|~{3,}+)(?P<info>[^\n]*+)
      |(?P<atx>\#{1,6})(?!\S)(?P<title>[^\n]*+)
      |<(?P<raw>!--|!\[CDATA\[|\?|(?i:pre|script|style|textarea)(?=[\s>]))
      |(?P<setext>=++|--++)[ \t\r]*+(?=\n|\Z))"""
_FIRST_LINE = re.compile(_LINE, re.VERBOSE)
_NEXT_LINE = re.compile(r"\n" + _LINE, re.VERBOSE)
_RAW_ENDS = {"!--": "-->", "![cdata[": "]]>", "?": "?>"}
"""What ends a block of raw HTML (https://spec.commonmark.org/0.31.2/#html-blocks), besides the end tags of elements."""
_FRONT_MATTER_END = re.compile(r"\n(?:---|\.\.\.)[ \t\r]*+(?=\n|\Z)")

_LONGEST_TITLE = 200  # characters; what comes after them does not become context
_TINY = 6  # a section below a sixth of a chunk's room goes together with the next


@dataclass(slots=True)
class Section:
    """From one heading to the next, of whatever level."""

    start: int
    heading_end: int  # of the heading's last line
    level: int  # 1 to 6; 0 for what comes before the first heading
    title: str
    above: tuple[str, ...] = ()  # titles of the headings above, outermost first
    fences: array[int] = field(default_factory=no_spans)
    end: int = 0  # known when the section has been read, as the next is
    bare: bool = False  # a heading and nothing else

    @property
    def within(self) -> tuple[str, ...]:
        """The titles above and its own."""
        return (*self.above, self.title) if self.title else self.above

    @property
    def done(self) -> int:
        """Where its heading or its last fence ends: the lines before are no part of a heading below them."""
        return max(self.heading_end, self.fences[-1] if self.fences else 0)

    def ended(self, text: str, end: int) -> Section:
        """The section, which has been read to its end."""
        self.end = end
        self.bare = self.level > 0 and first_ink(text, self.heading_end, end) == end
        return self


def sections(text: str) -> Iterator[Section]:
    """The document's sections in order; together they are the whole text."""
    path: list[Section] = []
    section = Section(0, 0, 0, "")
    fence, fence_start = "", 0
    raw_end = 0  # of a comment or another block of raw HTML: what looks like a heading or a fence in it is neither
    unclosed: set[str] = set()
    for line in _lines(text):
        if line.start("line") < raw_end:
            continue
        if fence:
            if (line["fence"] or "").startswith(fence) and not line["info"].strip():
                section.fences.extend((fence_start, min(len(text), line.end() + 1)))
                fence = ""
        elif line["fence"]:
            fence, fence_start = line["fence"], line.start("line")
        elif line["raw"]:
            raw_end = _raw_end(text, line, unclosed)
        elif heading := _heading(text, line, max(section.done, raw_end)):
            if heading.start > section.start:
                yield section.ended(text, heading.start)
            while path and path[-1].level >= heading.level:
                path.pop()
            heading.above = tuple(each.title for each in path if each.title)
            path.append(heading)
            section = heading
    if fence:
        section.fences.extend((fence_start, len(text)))  # one that nothing closes goes on to the end
    yield section.ended(text, len(text))


def _lines(text: str) -> Iterator[re.Match[str]]:
    """The lines that may be a fence, a heading or the line below one, behind the front matter."""
    start = 0
    if text.startswith(("---\n", "---\r\n")) and (match := _FRONT_MATTER_END.search(text)):
        start = match.end()
    first = None if start else _FIRST_LINE.match(text)
    return chain([first] if first else [], _NEXT_LINE.finditer(text, start))


def _raw_end(text: str, line: re.Match[str], unclosed: set[str]) -> int:
    """The end of the line on which the block of raw HTML that this line begins is closed; 0 where nothing closes it.

    One that is never closed reaches to the document's end by the specification; more likely it was never meant.
    `unclosed` has those found so, lest each look through the whole document.
    """
    name = line["raw"].lower()
    if name in unclosed:
        return 0
    if name in _RAW_ENDS:
        closed = text.find(_RAW_ENDS[name], line.end("raw"))
    else:
        found = re.compile(rf"</{name}\s*>", re.IGNORECASE).search(text, line.end("raw"))
        closed = found.start() if found else -1
    if closed < 0:
        unclosed.add(name)
        return 0
    end = text.find("\n", closed)
    return len(text) if end < 0 else end


def _heading(text: str, line: re.Match[str], done: int) -> Section | None:
    """The section whose heading this line makes; what ends at `done` is no part of it."""
    if line["atx"]:
        return Section(line.start("line"), line.end(), len(line["atx"]), _title(line["title"]))
    start = text.rfind("\n", 0, line.start()) + 1
    title = text[start : min(line.start(), start + _LONGEST_TITLE)]
    above = text[max(0, start - 64) : max(0, start - 1)].rstrip(" \t\r")
    if start < done or not title.strip() or title.startswith((" ", "\t", ">", "|", "-", "*", "+")):
        return None
    if above and not above.endswith("\n"):
        return None  # the last line of a paragraph: more likely a rule than a heading of several lines
    return Section(start, line.end(), 1 if line["setext"][0] == "=" else 2, _title(title))


def _title(line: str) -> str:
    title = " ".join(line[:_LONGEST_TITLE].split())
    unclosed = title.rstrip("#")
    return unclosed.rstrip() if unclosed.endswith(" ") or not unclosed else title


def passages(text: str, tokens: float) -> Iterator[Sequence[Section]]:
    """Sections that are cut as one: most alone, tiny ones with what follows under the same heading.

    `tokens` is the room of a chunk, estimated.
    """
    group: list[Section] = []
    size = 0.0
    for section in sections(text):
        own = estimate_short(text, section.start, section.end, tokens)
        joins = (
            group
            and section.level >= group[0].level
            and size < tokens / _TINY
            and (size + own <= tokens or all(each.bare for each in group))
        )
        if not joins and group:
            yield group
            group, size = [], 0.0
        group.append(section)
        size += own
    if group:
        yield group


def heading_path(titles: Sequence[str], tokens: float) -> str:
    """``Guide > Install > Linux`` in about so many tokens: outer headings go first, then the end."""
    path = ""
    for outermost in range(len(titles)):
        path = " > ".join(titles[outermost:])
        if estimate(path) <= tokens:
            return path
    return shortened(path, tokens)
