"""Where documents and their vectors are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from embedmill.core.documents import (
    Chunk,
    DocumentState,
    Failure,
    GivenPath,
    Hit,
    Record,
    Replacement,
    RootStatus,
    StoredChunk,
    StoreStatus,
)
from embedmill.core.interfaces.verification import CheckedStore
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Vector


class StoredDocuments(Protocol):
    """What is kept of documents. Writes come from one thread at a time; reads may come from others meanwhile.

    A document that is staged, replaced, updated or has failed counts as seen.
    """

    url: str

    def bind(self, fingerprint: Fingerprint, model: str) -> None:
        """Bind a store without vectors to the fingerprint's space; one with vectors takes its prompt for queries.

        The model keeps the name that it was bound with. Raises `SpaceMismatch` where it holds vectors of another space.
        """

    def states(self, ids: Sequence[str]) -> dict[str, DocumentState]:
        """The ledger's entries of these documents; those that are not durably stored are missing."""

    def vectors(self, hashes: Sequence[bytes], precision: str) -> dict[bytes, Vector]:
        """Vectors already in the store, staged ones too: chunk hash -> ``(dimension,)`` float32."""

    def stage(self, document: str, records: Sequence[Record], precision: str) -> None:
        """Keep part of a large document durably but unseen, until `replace` makes it whole.

        What earlier runs have staged serves `vectors`, and goes with the next `replace` or `remove_unseen`.
        """

    def replace(self, replacements: Sequence[Replacement]) -> None:
        """Put whole documents in place of what the store has of them, failures too, all in one transaction.

        The `attempts` of a failure are added to those on record. Of two versions of one document the last counts.
        """

    def fail(self, document: str, failures: Sequence[Failure]) -> None:
        """Record failures of a document, counting attempts, and leave its rows: it is kept as it was read before."""

    def update_stats(self, states: Sequence[DocumentState]) -> None:
        """Note new sizes and times where the content hash is as before; the recipe stays, a failure to read goes."""

    def mark_seen(self, ids: Sequence[str]) -> None:
        """Note that these documents still exist (for `remove_unseen`)."""

    def forget_seen(self) -> None:
        """Begin anew to note what exists, as a store does that was just opened: for a further run."""

    def remove_unseen(self, scopes: Sequence[str], keep: Sequence[str] = ()) -> int:
        """Remove the documents of these scopes (see `Source.scopes`) not seen since the store was opened.

        Documents of the `keep` scopes stay. Returns how many went. Raises `Stopped` where the run is stopped before
        it is done.
        """

    def unseen(self, scopes: Sequence[str], keep: Sequence[str] = ()) -> Iterator[Sequence[str]]:
        """The documents that `remove_unseen` would remove, in pages; between two of them `mark_seen` may be called."""

    def failures(self) -> Iterator[Failure]:
        """All failures, in the order of documents and chunks."""

    def failed_documents(self) -> list[str]:
        """The documents that have failures, in order."""

    def status(self) -> StoreStatus:
        """What the store holds."""

    def chunks(self) -> Iterator[StoredChunk]:
        """All chunks of complete documents as they stood when it began, in bounded memory and in no certain order."""

    def read(self, documents: Sequence[str] | None = None) -> Iterator[Chunk]:
        """The chunks of these documents, None for all, with vectors: as `chunks`, each document's in order."""

    def prepare_search(self) -> bool:
        """Do now what the first search would have to do before it can answer; whether an index was built.

        Raises `Stopped` where the run is stopped before it is done.
        """

    def has_index(self) -> bool:
        """Whether a search looks into an index, and not at every row where it lies."""

    def finish_within(self, seconds: float) -> None:
        """From now on nothing is waited for longer than this, and nothing long is begun; for signal handlers."""

    def close(self) -> None:
        """Release the store; may be called twice."""


class Store(StoredDocuments, CheckedStore, Protocol):
    """Where records go and are read back. Finds documents again after they, or itself, have moved."""

    def register(self, given: Sequence[str], options: str = "{}") -> None:
        """Make known what a run takes: ids, those of folders ending in "/"; and, as JSON, how it takes them."""

    def given_as(self, document: str) -> GivenPath | None:
        """What a run was given that the document was taken by, and its options; None where that is not known."""

    def given_paths(self) -> list[GivenPath]:
        """All that runs were given, and by which options each was taken last."""

    def root_list(self) -> list[RootStatus]:
        """What was given: where it is, and how many documents the store has of it."""

    def vanished(self) -> dict[str, int]:
        """The paths of `root_list` that are gone from this machine, and how many documents the store has of each."""

    def holds(self, scopes: Sequence[str]) -> bool:
        """Whether there is any document, or failure, in these scopes, wherever it is."""

    def forget(self, scopes: Sequence[str]) -> int:
        """Remove what lies in these scopes, wherever it is: documents and failures. Returns how many documents."""

    def search(
        self, vector: Vector, k: int, fits: Callable[[str], bool] | None = None, *, exact: bool = False
    ) -> list[Hit]:
        """The `k` best chunks by the model's own similarity, best first; ties in the order in which they were stored.

        Only of documents whose id `fits`, where that is given. An approximate index is used unless `exact`.
        """
