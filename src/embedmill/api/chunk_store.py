"""A store for those who have chunks of their own: written, read back and searched in one object."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

import numpy as np

from embedmill.api.read_settings import read_settings
from embedmill.api.settings import DatabaseOptions, StoreOptions, check_options
from embedmill.api.stores import open_chosen_store, refuse_db_timeout
from embedmill.core.checks import switches, whole_number
from embedmill.core.documents import Chunk, Failure, Hit, StoreStatus, checked_list, source_file_of, written_id
from embedmill.core.errors import UsageError
from embedmill.runtime.closing import Closing
from embedmill.sources.files.selection import Selection

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from embedmill.api.model_loader import ModelLoader
    from embedmill.core.interfaces.embedder import HasFingerprint
    from embedmill.core.interfaces.store import Store
    from embedmill.core.reports import WriteReport


class ChunkStore(Closing):
    """An open store. `open_store` gives one.

    Chunks that are written belong to documents of their own, by their `source_file`, which may be any text: no run of
    `index` changes or removes them, and no folder that moves or goes takes them along. A search finds both.

    Safe to use from several threads; of all processes one at a time has a store open for writing.
    """

    def __init__(self, url: str | None = None, *, write: bool = True, **options: Unpack[DatabaseOptions]) -> None:
        """Arguments and errors are those of `open_store`."""
        check_options(open_store, options, DatabaseOptions)
        switches(write=write)
        if url is not None and not isinstance(url, str):
            raise UsageError(f"url is {url!r}: give a store's URL, as text")
        given: StoreOptions = {**options, "store": url}
        chosen = read_settings(given, StoreOptions)
        refuse_db_timeout(given, chosen)
        self._writing = threading.Lock()
        self.store: Store = open_chosen_store(chosen, write=write)
        """What runs are given."""
        self.url = self.store.url  # without a password

    def write(
        self,
        chunks: Iterable[Chunk],
        create_index: bool = True,
        *,
        embedder: HasFingerprint | ModelLoader | None = None,
    ) -> WriteReport:
        """Store chunks with their embeddings, ``(dimension,)`` each: all of the call in one transaction, or nothing.

        A chunk is known by `source_file` and `chunk_index`. One that the store has as it is stays untouched; another
        text, embedding, place or metadata takes the place of what was there; chunks of a document that are not given
        stay. One without an embedding that has a `cause`, as `EmbeddingGenerator` leaves it, is put on record as a
        failure, and what the store has of another text of it goes.

        `embedder`, an embedder or a `ModelLoader`, says what made embeddings that have no `provenance`. `create_index`
        builds then what searches need, where that pays: in PostgreSQL an HNSW index, of more than 10,000 chunks; in
        SQLite the matrix, of more than 2,048 that it lacks. Without an index each search compares all rows. With
        False the next search, or the next call, does it.

        Raises `ChunksRefused`, which has the numbers of all chunks that cannot be stored; `SpaceMismatch` for
        embeddings of another model than the store's, or of two models; `StoreError` where the store cannot be written;
        and `TypeError` for anything but chunks.
        """
        from embedmill.api.model_loader import ModelLoader
        from embedmill.pipelines.write.writing import write_chunks

        switches(create_index=create_index)
        listed = checked_list(chunks)
        made_by = embedder.embedder if isinstance(embedder, ModelLoader) else embedder
        if made_by is not None and not hasattr(made_by, "fingerprint"):
            raise UsageError(f"embedder is {made_by!r}: give what made the embeddings, as load_embedder does")
        with self._writing:
            return write_chunks(self.store, listed, embedder=made_by, create_index=create_index)

    def search(
        self, vector: ArrayLike, k: int = 10, *, glob: str | Sequence[str] | None = None, exact: bool = False
    ) -> list[Hit]:
        """The `k` chunks nearest to a vector, ``(dimension,)``, best first. For queries in words there is `Searcher`.

        `glob` and `exact` are those of `Searcher.search`. Raises `UsageError` for a vector that is not finite or of
        another dimension than the store's.
        """
        whole_number("k", k)
        switches(exact=exact)
        selection = None if glob is None else Selection([glob] if isinstance(glob, str) else glob)
        try:
            query = np.asarray(vector, np.float32)
            return self.store.search(query, k, selection.takes if selection else None, exact=exact)
        except (TypeError, ValueError) as error:
            raise UsageError(f"vector cannot be searched for: {error}: give numbers, as an embedder does") from None

    def chunks(self, *source_files: str) -> Iterator[Chunk]:
        """The chunks of these documents, none for all, with `embedding` and `provenance`; a document's in their order.

        Those that `index` has stored, by their absolute paths, and those that were written. In bounded memory; shows
        one state of the store throughout.
        """
        _check_source_files(source_files)
        documents = [document for each in source_files for document in (each, written_id(each))]
        found = self.store.read(documents if source_files else None)
        return (replace(chunk, source_file=source_file_of(chunk.source_file)) for chunk in found)

    def failures(self) -> Iterator[Failure]:
        """What has no vector, and why, in the order of documents and chunks."""
        return (replace(each, document=source_file_of(each.document)) for each in self.store.failures())

    def remove(self, *source_files: str) -> int:
        """Remove documents that were written, in one transaction. Returns how many of these there were.

        What `index` has stored is taken out by `embedmill.forget`.
        """
        _check_source_files(source_files)
        with self._writing:
            return self.store.forget([written_id(each) for each in source_files])

    def status(self) -> StoreStatus:
        """What the store holds."""
        return self.store.status()

    def vector_count(self) -> int:
        """How many vectors a search looks at."""
        return self.store.status().chunks

    def has_index(self) -> bool:
        """Whether a search uses an index: in PostgreSQL HNSW, in SQLite the matrix beside the file."""
        return self.store.has_index()

    def close(self) -> None:
        """Release the store; may be called twice."""
        self.store.close()


class ChunkInserter(ChunkStore):
    """A `ChunkStore` by another name: `insert` is its `write`."""

    insert = ChunkStore.write


def _check_source_files(source_files: Sequence[str]) -> None:
    for each in source_files:
        if not isinstance(each, str):
            raise UsageError(f"a source_file is {each!r}: give it as text")


def open_store(url: str | None = None, *, write: bool = True, **options: Unpack[DatabaseOptions]) -> ChunkStore:
    """Open a store to write chunks to it, read them back and search.

    `url` is ``sqlite:PATH``, ``postgresql://...`` or ``memory:NAME``; by default what the commands take: the setting
    `store` of environment and ``embedmill.toml``, else ``sqlite:.embedmill/index.db``. `write` begins a store where
    there is none, and keeps other writers out until `close`. `options` are `schema` and `db_timeout`, as of the
    commands.

    Raises `UsageError` for a URL that no store knows, `StoreBusy` where another run is writing, `StoreNotFound` where
    there is nothing to read, `MissingExtra`, and `StoreError` where the store cannot be used.
    """
    return ChunkStore(url, write=write, **options)
