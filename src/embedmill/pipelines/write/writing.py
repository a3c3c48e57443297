"""Chunks that were made elsewhere into a store: what differs from what it has of them, in one transaction."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Final

import numpy as np

from embedmill.core.attributes import attributes_of
from embedmill.core.documents import Chunk, DocumentState, Failure, Record, Replacement, written_id
from embedmill.core.interfaces.embedder import HasFingerprint
from embedmill.core.interfaces.store import Store
from embedmill.core.reports import WriteReport
from embedmill.core.vectors import Cause
from embedmill.pipelines.write.checks import checked_chunks

_PLACE: Final = attrgetter("token_count", "start", "end", "line", "end_line")


def write_chunks(
    store: Store, chunks: Sequence[Chunk], *, embedder: HasFingerprint | None = None, create_index: bool = True
) -> WriteReport:
    """Store chunks with their vectors, and the causes of those that have none; all of the call or nothing.

    Errors are those of `checked_chunks`, and what `Store.bind` and `Store.replace` raise.
    """
    started = time.perf_counter()
    given = checked_chunks(chunks, embedder)
    if given.origin is not None:
        store.bind(given.origin.fingerprint, given.origin.model)
    sources = {record.chunk.source_file for record, _ in given.records} | {chunk.source_file for chunk in given.failed}
    documents = _stored(store, sources)
    counts = {"inserted": 0, "updated": 0, "unchanged": 0, "failed": 0}
    for record, precision in given.records:
        counts[documents[record.chunk.source_file].put(record, precision)] += 1
    for chunk in given.failed:
        counts[documents[chunk.source_file].fail(chunk)] += 1
    changed = [document.replacement() for document in documents.values() if document.changed]
    if changed:
        store.replace(changed)
    stored = time.perf_counter()
    created = store.prepare_search() if create_index else False
    ended = time.perf_counter()
    return WriteReport(
        **counts,
        index_created=created,
        index_seconds=round(ended - stored, 3) if create_index else 0.0,
        seconds=round(ended - started, 3),
    )


@dataclass(slots=True)
class _Document:
    """A written document as the store has it, and as it is to become."""

    id: str
    records: dict[int, Record] = field(default_factory=dict)  # by index
    failures: dict[int, Failure] = field(default_factory=dict)
    precisions: dict[int, str] = field(default_factory=dict)  # of its vectors, by index
    changed: bool = False

    def put(self, record: Record, precision: str) -> str:
        """Take a chunk with its vector; which of the report's counts that is."""
        index = record.chunk.chunk_index
        before = self.records.get(index)
        if before is not None and _is_same(before, record):
            return "unchanged"
        self.changed = True
        self.records[index] = record
        self.precisions[index] = precision
        self.failures.pop(index, None)
        return "inserted" if before is None else "updated"

    def fail(self, chunk: Chunk) -> str:
        """Take a chunk that has no vector. What the store has of it goes, unless it is the vector of the same text."""
        index = chunk.chunk_index
        before = self.records.get(index)
        if before is not None and isinstance(chunk.text, str) and before.hash == chunk.hash:
            return "unchanged"
        failure = _failure(chunk)
        known = self.failures.get(index)
        if before is not None or known is None or replace(known, attempts=1) != failure:
            self.changed = True
            self.records.pop(index, None)
            self.precisions.pop(index, None)
            self.failures[index] = failure
        return "failed"

    def replacement(self) -> Replacement:
        """The whole document, as `Store.replace` takes it."""
        records = [self.records[index] for index in sorted(self.records)]
        digest = hashlib.sha256()
        for record in records:
            chunk = record.chunk
            place = chunk.chunk_index, *_PLACE(chunk), chunk.page or 0
            digest.update(record.hash + f"{place} {attributes_of(chunk)}\n".encode())
        size = sum(len(record.chunk.text.encode()) for record in records)
        state = DocumentState(self.id, size, 0, digest.digest(), "written")
        # A vector in f32 is as good as one in another precision; it is not so the other way round.
        precision = min(self.precisions.values(), default="f32", key=lambda each: each == "f32")
        return Replacement(state, precision, records, list(self.failures.values()))


def _stored(store: Store, sources: Collection[str]) -> Mapping[str, _Document]:
    """The documents of these `source_file`s as the store has them."""
    found = {each: _Document(written_id(each)) for each in sorted(sources)}
    by_id = {document.id: document for document in found.values()}
    for chunk in store.read(list(by_id)):
        assert chunk.embedding is not None and chunk.provenance is not None  # as of all that is read back
        document = by_id[chunk.source_file]
        bare = replace(chunk, embedding=None, provenance=None)
        document.records[chunk.chunk_index] = Record(bare, chunk.provenance.hash, chunk.embedding)
        document.precisions[chunk.chunk_index] = chunk.provenance.fingerprint.precision
    for failure in store.failures():
        if failure.document in by_id:  # none is added to the attempts of those that are kept
            by_id[failure.document].failures[failure.index] = replace(failure, attempts=0)
    return found


def _is_same(before: Record, record: Record) -> bool:
    """Whether nothing of a chunk has changed. Numbers of metadata are compared as they are written: 1 is not true."""
    old, new = before.chunk, record.chunk
    return (
        (old.text, old.context, *_PLACE(old)) == (new.text, new.context, *_PLACE(new))
        and (old.page or 0) == (new.page or 0)
        and attributes_of(old) == attributes_of(new)
        and np.array_equal(before.vector.view(np.int32), record.vector.view(np.int32))
    )


def _failure(chunk: Chunk) -> Failure:
    assert chunk.cause is not None  # as of all that `checked_chunks` calls failed
    kind, message = (text.encode("utf-8", "replace").decode() for text in (chunk.cause.type, chunk.cause.message))
    place = chunk.start, chunk.end, chunk.line
    return Failure(written_id(chunk.source_file), chunk.chunk_index, *place, Cause(kind, message))
