"""Chunks against the text of their document, as its file has it: each where it is said to stand, and none missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from embedmill.chunking.encoded import encoded_runs, without
from embedmill.chunking.options import Chunking
from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import Chunk, Document, DocumentState, Entry, text_hash
from embedmill.core.errors import SourceError
from embedmill.core.interfaces.store import Store
from embedmill.sources.files.source import FileSource

_ALGORITHM: Final = Chunking(1).key.rpartition("-")[0]
"""What the keys begin with of documents that were cut as this version cuts."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a chunk, or a failure, is said to stand; without its text, of which there may be much."""

    index: int
    start: int
    end: int
    line: int
    page: int | None
    hash: bytes | None  # of its text; None for a failure, which has none


class TextCheck:
    """Compares what a store has of documents with their texts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._failed: dict[str, list[_Place]] = {}
        for failure in store.failures():
            if failure.index >= 0:
                place = _Place(failure.index, failure.start, failure.end, failure.line, None, None)
                self._failed.setdefault(failure.document, []).append(place)

    def compare(
        self, source: FileSource, entries: Sequence[Entry], states: Mapping[str, DocumentState]
    ) -> Iterator[Finding]:
        """What is wrong with the chunks of these documents; nothing for those whose text cannot be had, or has changed.

        Time grows with the texts, which are read, and converted, one by one.
        """
        places: dict[str, list[_Place]] = {}
        for chunk in self._store.read([entry.id for entry in entries]):
            places.setdefault(chunk.source_file, []).append(_place(chunk))
        for entry in entries:
            try:
                document = source.read(entry)
            except SourceError:  # it cannot be read just now
                continue
            state = states[entry.id]
            if document is not None and document.content_hash == state.content_hash:
                yield from _compare(document, state, places.get(entry.id, []), self._failed.get(entry.id, []))


def _place(chunk: Chunk) -> _Place:
    return _Place(chunk.chunk_index, chunk.start, chunk.end, chunk.line, chunk.page, text_hash("", chunk.text))


def _compare(
    document: Document, state: DocumentState, chunks: Sequence[_Place], failed: Sequence[_Place]
) -> Iterator[Finding]:
    text, line, page, counted = document.text, 1, 1, 0
    for place in sorted(chunks, key=lambda each: each.start):
        # A line ends with "\n", and a form feed stands before each page but the first, as where chunks are cut.
        line += text.count("\n", counted, place.start)
        page += text.count("\f", counted, place.start)
        counted = place.start
        detail = ""
        if text_hash("", text[place.start : place.end]) != place.hash:
            detail = f"its document has another text at characters {place.start:,} to {place.end:,}"
        elif (place.line, place.page) != (line, page if document.paged else None):
            where = f"line {line:,}" + (f" of page {page:,}" if document.paged else "")
            said = f"line {place.line:,}" + (f" of page {place.page:,}" if place.page else "")
            detail = f"it stands at {where} of its document, and is said to stand at {said}"
        if detail:
            yield Finding(DamageKind.CHUNK_PLACE, detail, document.id, place.index)
    if state.recipe.partition("/")[2].startswith(f"{_ALGORITHM}-"):
        lost = [span for span in _left(document, [*chunks, *failed]) if text[slice(*span)].strip()]
        if lost:
            detail = "characters {:,} to {:,} of its text are in no chunk, nor in a failure".format(*lost[0])
            yield Finding(DamageKind.CHUNK_MISSING, detail, document.id, count=len(lost))


def _left(document: Document, places: Sequence[_Place]) -> Iterator[tuple[int, int]]:
    """What chunks, failures and encoded data leave of a text."""
    text = document.text
    apart = [*encoded_runs(text), *((place.start, place.end) for place in places)]
    yield from without(0, len(text), sorted(apart))
