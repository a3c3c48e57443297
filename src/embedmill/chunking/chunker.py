"""Cuts by estimate, measures, and cuts again only what turns out too long."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from embedmill.chunking.boundaries import LEVELS
from embedmill.chunking.code import summary
from embedmill.chunking.cutting import Stretch, cut, first_ink
from embedmill.chunking.encoded import Run, encoded_runs, without
from embedmill.chunking.estimate import estimate, room, shortened
from embedmill.chunking.markdown import Section, heading_path, passages
from embedmill.chunking.options import Chunking
from embedmill.core.documents import Chunk, Document, Kind, embedding_input

Measure = Callable[[Sequence[str]], Sequence[int]]
"""True token counts of full inputs (context and text), special tokens and the prompt included."""

_AT_ONCE = 64  # pieces for one call of `Measure`: enough for a tokenizer's threads, little to hold
_SPECIAL = 2  # tokens around a text in nearly every model; a longer prompt costs some pieces a second cut
_CONTEXT_SHARE = 4  # at most a quarter of the limit goes to the context
_RECUT = 0.85  # a piece that is too long is cut to this much of the limit, since tokens are not spread evenly
_CONTEXT_PATIENCE = 2  # a context that keeps a piece from fitting after so many cuts is given up
_UNMEASURED = -1
_PAGE_BREAK = re.compile("\f")


@dataclass(frozen=True, slots=True)
class _Passage:
    """A stretch of text with the context that its pieces get."""

    stretch: Stretch
    budget: float  # estimated tokens for a piece's own text
    starts: Sequence[int] = ()  # of the sections; what comes before the first has no context
    above: Sequence[str] = ()  # context of a piece that begins a section, with its heading in Markdown
    within: Sequence[str] = ()  # context of a piece further on

    def context(self, start: int) -> str:
        index = bisect_right(self.starts, start) - 1
        if index < 0:
            return ""
        return self.above[index] if start == self.starts[index] else self.within[index]


@dataclass(slots=True)
class _Piece:
    start: int
    end: int
    context: str
    passage: _Passage
    cuts: int = 0  # made after it was measured
    tokens: int = _UNMEASURED


def chunk(
    document: Document, measure: Measure, chunking: Chunking, encoded: Sequence[Run] | None = None
) -> Iterator[Chunk]:
    r"""Cut a document into chunks of at most `chunking.max_tokens` measured tokens, in order.

    Every character that is no white space is in exactly one chunk, but for runs of encoded data (`encoded`, by
    default what `encoded_runs` finds), which are in none. No chunk goes on over the end of a page. Only a single
    grapheme that is over the limit by itself makes a longer chunk. Markdown's chunks carry the path of the headings
    above them as context; a chunk that begins with its own heading does not repeat it. Code carries what its file
    says it is for, the first paragraph of its docstring or opening comment: so a function is found by what its
    module is about. No definition's line stands there, since a rename would change the hashes of all that is
    inside. A line ends with ``\n``; a lone ``\r`` ends none.

    Holds some 64 chunks at a time, whatever the document's size. Time grows with the length.
    """
    text = document.text
    apart = encoded_runs(text) if encoded is None else encoded
    if document.paged:  # a chunk lies on one page, lest a hit name the page before
        apart = sorted([*apart, *(found.span() for found in _PAGE_BREAK.finditer(text))])
    pieces = _pieces(text, document.kind, chunking.max_tokens, apart)
    index, line, page, counted = 0, 1, 1, 0
    while group := list(islice(pieces, _AT_ONCE)):
        for piece in _fitted(text, group, measure, chunking.max_tokens):
            own = text[piece.start : piece.end]
            line += text.count("\n", counted, piece.start)
            page += text.count("\f", counted, piece.start) if document.paged else 0
            counted = piece.start
            yield Chunk(
                source_file=document.id,
                chunk_index=index,
                start=piece.start,
                end=piece.end,
                line=line,
                end_line=line + own.count("\n"),
                text=own,
                context=piece.context,
                token_count=piece.tokens,
                page=page if document.paged else None,
            )
            index += 1


def _pieces(text: str, kind: Kind, max_tokens: int, apart: Sequence[Run]) -> Iterator[_Piece]:
    """The document cut by estimate. What is measured later never moves these boundaries."""
    for passage in _passages(text, kind, max_tokens):
        size, stretch = partial(room, text, tokens=passage.budget), passage.stretch
        for part_start, part_end in without(stretch.start, stretch.end, apart):
            for start, end in cut(text, stretch, part_start, part_end, size):
                yield _Piece(start, end, passage.context(start), passage)


def _passages(text: str, kind: Kind, max_tokens: int) -> Iterator[_Passage]:
    budget = max(1.0, max_tokens - _SPECIAL)
    if kind is Kind.MARKDOWN:
        for group in passages(text, budget):
            yield _markdown_passage(group, max_tokens)
    elif kind is Kind.CODE:
        yield _code_passage(text, max_tokens)
    else:
        yield _Passage(Stretch(0, len(text), LEVELS[kind]), budget)


def _markdown_passage(group: Sequence[Section], max_tokens: int) -> _Passage:
    stretch = Stretch(group[0].start, group[-1].end, LEVELS[Kind.MARKDOWN])
    for section in group:
        stretch.spans.extend(section.fences)
    limit = max_tokens / _CONTEXT_SHARE
    above = [heading_path(section.above, limit) for section in group]
    within = [heading_path(section.within, limit) for section in group]
    budget = max(1.0, max_tokens - _SPECIAL - estimate(max(within, key=len)))
    return _Passage(stretch, budget, [section.start for section in group], above, within)


def _code_passage(text: str, max_tokens: int) -> _Passage:
    said, end = summary(text)
    context = shortened(said, max_tokens / _CONTEXT_SHARE)
    budget = max(1.0, max_tokens - _SPECIAL - estimate(context))
    stretch = Stretch(0, len(text), LEVELS[Kind.CODE], keep_indent=True)
    return _Passage(stretch, budget, [end], [context], [context])


def _fitted(text: str, pieces: list[_Piece], measure: Measure, max_tokens: int) -> list[_Piece]:
    """The pieces measured; those that are too long replaced by parts that fit."""
    while unmeasured := [piece for piece in pieces if piece.tokens == _UNMEASURED]:
        counts = measure([embedding_input(piece.context, text[piece.start : piece.end]) for piece in unmeasured])
        for piece, tokens in zip(unmeasured, counts, strict=True):
            piece.tokens = tokens
        pieces = [part for piece in pieces for part in _parts(text, piece, max_tokens)]
    return pieces


def _parts(text: str, piece: _Piece, max_tokens: int) -> list[_Piece]:
    """The piece itself where it fits or nothing can be done, else what it is cut into, to be measured."""
    if piece.tokens <= max_tokens:
        return [piece]
    passage, cuts = piece.passage, piece.cuts + 1
    length = piece.end - piece.start
    size = min(length - 1, int(length * _RECUT * max_tokens / piece.tokens)) or 1
    bounds = list(cut(text, passage.stretch, piece.start, piece.end, lambda start, end: size))
    if len(bounds) > 1:
        keeps = cuts <= _CONTEXT_PATIENCE
        return [_Piece(start, end, passage.context(start) if keeps else "", passage, cuts) for start, end in bounds]
    bare = first_ink(text, piece.start, piece.end)
    if piece.context or bare > piece.start:  # one grapheme: all that can still go is what stands before it
        return [_Piece(bare, piece.end, "", passage, cuts)]
    return [piece]
