"""What a store in memory holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from embedmill.core.damage import Finding
from embedmill.core.documents import DocumentState, Failure, Record, StoredChunk
from embedmill.core.errors import StoreError
from embedmill.core.spaces import Space
from embedmill.core.vectors import Vector, Vectors
from embedmill.runtime.paths import within
from embedmill.storage.checksums import checksum_of
from embedmill.storage.roots import Root

K = TypeVar("K")
V = TypeVar("V")


@dataclass(eq=False, slots=True)
class Version:
    """A document's rows; `state` is None as long as they are staged."""

    precision: str
    records: list[Record] = field(default_factory=list)
    state: DocumentState | None = None
    checksums: dict[int, int] = field(default_factory=dict)  # of the vectors, by the chunks' indexes

    def add(self, records: Sequence[Record]) -> None:
        """Add rows that have been checked (see `Contents.check`)."""
        self.records += records
        self.checksums |= {row.chunk.chunk_index: checksum_of(row.hash, row.vector) for row in records}

    def put(self, index: int | None, vector: Vector) -> None:
        """Give the chunk of this index this vector."""
        for place, row in enumerate(self.records):
            if row.chunk.chunk_index == index:
                self.records[place] = replace(row, vector=vector)
                self.checksums[index] = checksum_of(row.hash, vector)

    def drop(self, index: int | None) -> None:
        """Remove the chunk of this index."""
        self.records = [row for row in self.records if row.chunk.chunk_index != index]


@dataclass(slots=True)
class Contents:
    """What a store holds, shared by all who have it open, by the documents' names. To be used under its lock."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    has_writer: bool = False
    bound: tuple[Space, str] | None = None  # with the model's name
    documents: dict[str, Version] = field(default_factory=dict)  # in the order in which they were stored
    staged: list[tuple[str, Version]] = field(default_factory=list)
    failures: dict[tuple[str, int], Failure] = field(default_factory=dict)  # by document and index
    roots: dict[int, Root] = field(default_factory=dict)
    last_root: int = 0
    given: dict[str, str] = field(default_factory=dict)
    rows: tuple[list[tuple[str, str, Record]], Vectors] | None = None  # see `matrix`; None after a change
    second: Contents | None = None  # beside these, until they are put in their place

    def names(self) -> set[str]:
        """Those of documents, and of what could not be read."""
        return self.documents.keys() | {name for name, _ in self.failures}

    def check(self, records: Sequence[Record], before: Sequence[Record], url: str) -> None:
        """Raise `StoreError`, or `ValueError`, where these cannot be stored behind those `before`."""
        if records and self.bound is None:
            raise StoreError("the store is not bound to a model: call bind first")
        dimension = self.bound[0].dimension if self.bound else 0
        for record in records:
            if record.vector.shape != (dimension,):
                raise ValueError(
                    f"a vector of shape {record.vector.shape} in a store of dimension {dimension}: this is a bug"
                )
        if len({each.chunk.chunk_index for each in (*before, *records)}) < len(before) + len(records):
            raise StoreError(f"store {url}: a document has two chunks of one index")

    def fail(self, document: str, failures: Sequence[Failure], before: Mapping[tuple[str, int], Failure]) -> None:
        """Put failures on record, adding the attempts of those `before`."""
        for failure in failures:
            key = document, failure.index
            attempts = before[key].attempts if key in before else 0
            self.failures[key] = replace(failure, attempts=attempts + failure.attempts)

    def remove(self, names: Collection[str]) -> None:
        """Remove documents and their failures."""
        self.documents = {name: version for name, version in self.documents.items() if name not in names}
        self.failures = {key: failure for key, failure in self.failures.items() if key[0] not in names}
        self.rows = None

    def rename(self, old: str, new: str) -> None:
        """Give the names of one scope to another."""

        def renamed(name: str) -> str:
            return new + name[len(old) :] if within(name, [old]) else name

        self.documents = _with_keys(self.documents, renamed)
        self.failures = _with_keys(self.failures, lambda key: (renamed(key[0]), key[1]))
        self.given = _with_keys(self.given, renamed)
        self.staged = [(renamed(name), version) for name, version in self.staged]
        self.rows = None

    def become(self, other: Contents) -> None:
        """Hold what the other holds, in place of all that is here."""
        self.bound, self.documents, self.staged, self.failures = (
            *(other.bound, other.documents),
            *(other.staged, other.failures),
        )
        self.roots, self.last_root, self.given, self.rows = other.roots, other.last_root, other.given, None

    def chunk(self, found: Finding) -> StoredChunk | None:
        """The chunk that a finding is about."""
        version = self.documents.get(found.name)
        for row in version.records if version else ():
            if version and row.chunk.chunk_index == found.index:
                where = found.document, found.index, row.chunk.input, row.vector
                return StoredChunk(*where, version.precision, name=found.name)
        return None

    def put(self, found: Finding, vector: Vector | None) -> None:
        """Give the chunk that a finding is about this vector; None: remove it. What is staged of its document goes."""
        version = self.documents.get(found.name)
        if version is not None and vector is not None:
            version.put(found.index, vector)
        elif version is not None:
            version.drop(found.index)
        self.staged = [(name, staged) for name, staged in self.staged if name != found.name]
        self.rows = None

    def matrix(self) -> tuple[list[tuple[str, str, Record]], Vectors]:
        """The rows of all documents, with names and precisions, those stored earlier first; ``(n, dimension)``."""
        if self.rows is None:
            rows = [(name, held.precision, record) for name, held in self.documents.items() for record in held.records]
            self.rows = rows, np.array([record.vector for *_, record in rows], np.float32)
        return self.rows


def _with_keys(table: Mapping[K, V], renamed: Callable[[K], K]) -> dict[K, V]:
    """The table with other keys. Of two entries that would have one key the one that has it stays."""
    names = {key: renamed(key) for key in table}
    return {names[key]: value for key, value in table.items() if names[key] == key or names[key] not in table}
