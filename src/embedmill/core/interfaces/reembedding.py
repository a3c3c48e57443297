"""Stores and tables whose vectors may become another model's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol, runtime_checkable

from embedmill.core.documents import Chunk, StoredChunk
from embedmill.core.interfaces.store import Store
from embedmill.core.interfaces.table import Table
from embedmill.core.rows import Stored
from embedmill.core.spaces import Fingerprint

MOST_FAILED: Final = 0.1
"""Share of chunks, or rows, without a vector above which nothing is swapped: then it is the model, not some texts."""


@runtime_checkable
class ReembeddableStore(Store, Protocol):
    """A store beside which a second one may be filled with another model's vectors, and put in its place.

    The second one is a store of its own, for one who writes: searches of the first go on meanwhile. What has the first
    open for searches when they change places raises `SpaceMismatch` from then on, and has to be opened anew.
    """

    def sample_chunks(self, limit: int) -> list[StoredChunk]:
        """At most so many chunks of complete documents, chosen at random."""

    def rebind(self, fingerprint: Fingerprint, model: str) -> None:
        """Note that the vectors, as they are, are those of this space, by this name of the model.

        Recipes of documents name the space from then on, so that what is unchanged is not read again. Whoever calls
        this has made sure that it is so. Raises `SpaceMismatch` for a space that differs in more than the digests of
        the model's files.
        """

    def chunks_of(self, document: str) -> Iterator[Chunk]:
        """The chunks of a complete document that have a vector, in their order; without it."""

    def second(self) -> ReembeddableStore | None:
        """The second store, opened as this one is; None where none was begun. To be closed."""

    def begin_second(self) -> ReembeddableStore:
        """The same, begun where there is none: it holds nothing yet, and knows the folders that this one knows."""

    def swap(self) -> None:
        """Put the second store, which nobody has open for writing, in the place of this one, in one transaction."""

    def drop_second(self) -> None:
        """Remove the second store, if there is one; nobody has it open for writing."""


@runtime_checkable
class ReembeddableTable(Table, Protocol):
    """A table whose column of vectors may be taken over by another name of its model, or change names with another."""

    def sample_rows(self, limit: int) -> list[Stored]:
        """At most so many rows, chosen at random, that embedmill has filled and whose text is still the same.

        Their vectors are of the space and model that `noted` tells; empty where nothing is known of the table.
        """

    def rebind(self, fingerprint: Fingerprint, model: str) -> None:
        """As `ReembeddableStore.rebind`, of the vectors that embedmill has written; before a run begins."""

    def like_it(self) -> Mapping[str, Any]:
        """What `open_table` is to be told so that a second column is filled as this one is: key, text, type, index."""

    def swap(self, column: str) -> None:
        """Give the column that this run has filled the name of another, and that one its name, in one transaction.

        The run is over then: nothing is asked of the table any more but `close`. Raises `StoreError` where other runs
        are at work, or the columns are not what they were when the run began.
        """
