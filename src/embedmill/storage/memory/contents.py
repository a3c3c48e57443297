"""What a store in memory holds, shared by all who have it open."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from embedmill.core.documents import DocumentState, Failure, Record
from embedmill.core.errors import StoreError
from embedmill.core.spaces import Space
from embedmill.core.vectors import Vectors
from embedmill.storage.roots import Root


@dataclass(slots=True)
class Version:
    """A document's rows; `state` is None as long as they are staged."""

    name: str
    precision: str
    records: list[Record]
    state: DocumentState | None = None

    @property
    def size(self) -> int:
        """Bytes of the document."""
        return self.state.size if self.state else 0


@dataclass(slots=True)
class Contents:
    """Documents by name, in the order in which they were stored. To be used under its lock."""

    url: str
    lock: threading.RLock = field(default_factory=threading.RLock)
    has_writer: bool = False
    bound: tuple[Space, str] | None = None  # with the model's name
    documents: dict[str, Version] = field(default_factory=dict)
    staged: list[Version] = field(default_factory=list)
    failures: dict[tuple[str, int], Failure] = field(default_factory=dict)
    roots: dict[int, Root] = field(default_factory=dict)
    last_root: int = 0
    given: dict[str, str] = field(default_factory=dict)
    rows: tuple[list[tuple[Version, Record]], Vectors] | None = None  # of all documents; None after a change

    def names(self) -> set[str]:
        """Those of documents, and of what could not be read."""
        return self.documents.keys() | {name for name, _ in self.failures}

    def check(self, records: Sequence[Record], before: Sequence[Record] = ()) -> None:
        """Raise `StoreError`, or `ValueError`, where these cannot be stored behind those `before`."""
        if records and self.bound is None:
            raise StoreError("the store is not bound to a model: call bind first")
        for record in records if self.bound else ():
            dimension = self.bound[0].dimension if self.bound else 0
            if record.vector.shape != (dimension,):
                raise ValueError(
                    f"a vector of shape {record.vector.shape} in a store of dimension {dimension}: this is a bug"
                )
        if len({each.chunk.index for each in (*before, *records)}) < len(before) + len(records):
            raise StoreError(f"store {self.url}: a document has two chunks of one index")

    def fail(self, failures: Iterable[Failure], before: Mapping[tuple[str, int], Failure]) -> None:
        """Put failures on record, each with one attempt more than `before`."""
        for failure in failures:
            key = failure.document, failure.index
            attempts = before[key].attempts if key in before else 0
            self.failures[key] = replace(failure, attempts=attempts + 1)

    def remove(self, names: Collection[str]) -> None:
        """Remove documents and their failures."""
        self.documents = {name: version for name, version in self.documents.items() if name not in names}
        self.failures = {key: failure for key, failure in self.failures.items() if key[0] not in names}
        self.rows = None

    def rename(self, old: str, new: str) -> None:
        """Give the names of one scope to another. Of two documents with one name the one that has it stays."""

        def renamed(name: str) -> str:
            return new + name[len(old) :] if inside(name, [old]) else name

        def keep(name: str, taken: Collection[object], moved: object) -> bool:
            return not inside(name, [old]) or moved not in taken

        documents = [each for each in self.documents.values() if keep(each.name, self.documents, renamed(each.name))]
        for version in (*documents, *self.staged):
            version.name = renamed(version.name)
            version.state = version.state and replace(version.state, id=version.name)
        self.documents = {version.name: version for version in documents}
        self.failures = {
            (renamed(name), index): replace(failure, document=renamed(name))
            for (name, index), failure in self.failures.items()
            if keep(name, self.failures, (renamed(name), index))
        }
        self.given = {
            renamed(scope): text for scope, text in self.given.items() if keep(scope, self.given, renamed(scope))
        }
        self.rows = None

    def matrix(self) -> tuple[list[tuple[Version, Record]], Vectors]:
        """The rows of all documents, those stored earlier first, and their vectors: ``(n, dimension)``."""
        if self.rows is None:
            rows = [(version, record) for version in self.documents.values() for record in version.records]
            self.rows = rows, np.array([record.vector for _, record in rows], np.float32)
        return self.rows


def inside(name: str, scopes: Sequence[str]) -> bool:
    """Whether a name is one of these, or lies in one that ends in "/"."""
    return any(name == scope or (scope.endswith("/") and name.startswith(scope)) for scope in scopes)
