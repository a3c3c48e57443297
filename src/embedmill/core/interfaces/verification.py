"""What `embedmill verify` asks of stores and tables, and how it has them mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from embedmill.core.damage import Finding
from embedmill.core.documents import DocumentState, StoredChunk
from embedmill.core.rows import Stored
from embedmill.core.vectors import Vector


class CheckedDocuments(Protocol):
    """A store that can be checked and mended. The methods that change something need it to be open for writing.

    A `Finding` that is given back is one that `verify` has given, or one about a chunk of a document that it knows: its
    `name` and `index` say which.
    """

    def ledger(self) -> Iterator[DocumentState]:
        """The ledger's entries of all documents that are durably stored, by name; in bounded memory.

        The store may be used meanwhile.
        """

    def not_cut(self) -> list[str]:
        """The documents of which the ledger says that they have no chunks, though they are not empty; by name.

        No failure is of them: their texts are blank, or their chunks are lost.
        """

    def read_chunks(self, found: Sequence[Finding]) -> list[StoredChunk | None]:
        """The chunk of each finding, as it stands in its complete document; None where there is none.

        Its text is as it is stored, and its vector of any shape, empty where there is none.
        """

    def rewrite(self, vectors: Sequence[tuple[Finding, Vector]]) -> None:
        """Put vectors in the place of those that the chunks of these findings have, all in one transaction.

        Parts of their documents that are staged, and not seen, go.
        """

    def discard(self, found: Sequence[Finding]) -> None:
        """Remove what is wrong, as far as it is of no use: rows that belong to nothing, chunks, failures, an index.

        A document that lacks chunks then is to be stored again, which finds the sound vectors that it has.
        """

    def written_by_others(self) -> bool:
        """Whether a run is writing just now that is not this store's own."""


class CheckedStore(CheckedDocuments, Protocol):
    """The same of documents that are known by their ids."""

    def verify(self, look: Callable[[StoredChunk], None] = lambda _: None) -> Iterator[Finding]:
        """What is wrong with what is stored; nothing where all is well. In bounded memory.

        Looks at one state of the store, whatever is written meanwhile. `look` is given each chunk that is sound as far
        as can be told without the model.
        """


class CheckedTable(Protocol):
    """A table that can be checked and mended."""

    def verify(self, look: Callable[[Stored], None] = lambda _: None) -> Iterator[Finding]:
        """What is wrong with the rows' vectors, as far as embedmill has written them; in bounded memory.

        Empty where nothing is known of the table. Rows that runs hold just now are left out, and while any run lives
        those too that only wait for one. `look` is given each row that is sound as far as can be told without the
        model, and those whose vector is of unknown origin (`Stored.written` says which).
        """

    def put_back(self, found: Sequence[Finding]) -> None:
        """Have the next run embed the rows of these findings anew; an index that is not valid is dropped."""
