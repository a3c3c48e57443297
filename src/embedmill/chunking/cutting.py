"""Cuts a stretch of text into pieces of about a wanted size."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from embedmill.chunking.boundaries import Level, boundary

_NOT_SPACE = re.compile(r"\S")
_DEEPEST_INDENT = 256  # characters; what is deeper is no indentation


def no_spans() -> array[int]:
    """No stretches of text that are better not cut: start and end of each will follow, in order, not overlapping."""
    return array("Q")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a text that is cut for itself, with what decides where."""

    start: int
    end: int
    levels: Sequence[Level]
    keep_indent: bool = False  # a piece that begins a line begins with the line's indentation
    spans: array[int] = field(default_factory=no_spans)  # that are better not cut: fenced blocks of code


def first_ink(text: str, start: int, end: int) -> int:
    """Where the first character that is no white space stands; `end` where there is none."""
    match = _NOT_SPACE.search(text, start, end)
    return match.start() if match else end


def last_ink(text: str, start: int, end: int) -> int:
    """Where the white space at the end of ``text[start:end]`` begins."""
    while end > start:
        block = max(start, end - 4096)
        ink = len(text[block:end].rstrip())
        if ink:
            return block + ink
        end = block
    return start


def cut(
    text: str, stretch: Stretch, start: int, end: int, room: Callable[[int, int], int]
) -> Iterator[tuple[int, int]]:
    """The pieces of ``text[start:end]``, a part of the stretch: start and end, without white space around.

    ``room(start, end)`` says how many characters a piece that starts there may have: it gets half to all.
    """
    end = last_ink(text, start, end)
    while (ink := first_ink(text, start, end)) < end:
        begin = _line_start(text, start, ink) if stretch.keep_indent else ink
        size = room(ink, end)
        if end - ink <= size:
            yield begin, end
            return
        start = _next_boundary(text, stretch, ink, end, size)
        yield begin, last_ink(text, ink, start)


def _next_boundary(text: str, stretch: Stretch, ink: int, end: int, size: int) -> int:
    low = ink + max(1, size // 2)
    high = max(low, min(ink + size, end - size // 4))  # a last piece is no scrap
    if not stretch.spans:
        return boundary(text, ink, low, high, end, stretch.levels)

    def whole(place: int) -> bool:
        span = _around(stretch.spans, place)
        return span is not None and span[0] > ink + size // 8 and span[1] - span[0] <= size

    if whole(high):
        high = _around(stretch.spans, high)[0]  # type: ignore[index]  # it is within one
        low = min(low, high)
    return boundary(text, ink, low, high, end, stretch.levels, whole)


def _around(spans: array[int], place: int) -> tuple[int, int] | None:
    """The span that a cut at this place would part."""
    index = bisect_left(spans, place)
    return (spans[index - 1], spans[index]) if index % 2 and spans[index] > place else None


def _line_start(text: str, start: int, ink: int) -> int:
    """Where the line of `ink` starts, if there is nothing but blanks from there, and not before `start`."""
    line = text.rfind("\n", start, ink) + 1
    if not line:
        if start and text[start - 1] != "\n":
            return ink
        line = start
    return line if ink - line <= _DEEPEST_INDENT else ink
