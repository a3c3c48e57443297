"""The first half of a run: from a source to pieces of text that wait for their vectors."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from embedmill.chunking.options import Chunking
from embedmill.core.documents import Chunk, Document, DocumentState, Entry, Failure, Record
from embedmill.core.errors import SourceError
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.interfaces.source import Source
from embedmill.core.interfaces.store import Store
from embedmill.core.vectors import Cause, TokenIds
from embedmill.engine.unread import is_unread
from embedmill.runtime.stages import Stages

_LOOKED_UP_AT_ONCE = 256
"""Entries whose ledger is read in one query."""

_EXAMPLE = 100  # characters

GROUP = 64
"""Pieces handed over at once: fewer cost more switches between threads, more delay the model's start."""


@dataclass(slots=True, eq=False)
class Pending:
    """A document that has been read and whose vectors are on their way."""

    state: DocumentState
    outstanding: int = 1  # pieces without a vector, and one for the reader until it is done with the text
    records: list[Record] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    bytes_done: int = 0  # about: characters stand for bytes until the document is whole


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A chunk with all that is needed to embed it."""

    document: Pending
    chunk: Chunk
    hash: bytes
    ids: TokenIds

    @property
    def input(self) -> str:
        """What the model is given."""
        return self.chunk.input


@dataclass(frozen=True, slots=True)
class Listed:
    """Documents that exist. Those that did not change are finished; of some only size or time are new."""

    ids: Sequence[str]
    touched: Sequence[DocumentState] = ()


Event = Piece | Pending | Listed | Failure
"""A document itself comes behind its last piece, a failure for one that ought to be readable and is not."""


def _same(state: DocumentState, entry: Entry) -> bool:
    """Whether an entry is what was stored, as far as can be told without reading it.

    Any program can set the time of a file back; the inode's own change none can, and a file put in its place is
    another inode.
    """
    stored = (state.size, state.mtime_ns, state.ctime_ns, state.inode)
    return stored == (entry.size, entry.mtime_ns, entry.ctime_ns, entry.inode)


class PieceReader(ABC):
    """What makes pieces of documents, wherever their texts come from. Counts as it goes."""

    def __init__(self, embedder: TokenEmbedder, stages: Stages | None = None) -> None:
        self._embedder = embedder
        self._ids: dict[str, TokenIds] = {}  # of inputs measured and not yet handed over
        self.documents = 0
        self.unchanged = 0
        self.passed_bytes = 0  # of entries that need no work
        self.truncated = 0
        self.unknown = 0
        self.unknown_example = ""  # the first such text
        self.unreadable = 0
        self.guessed = 0  # documents whose encoding was guessed
        self.encoded_characters = 0  # of encoded data, which is in no chunk
        self.stages = Stages() if stages is None else stages

    @abstractmethod
    def events(self) -> Iterator[list[Event]]:
        """What becomes of each document, in groups of bounded size."""

    def _piece(self, part: Chunk, pending: Pending) -> Piece:
        pending.outstanding += 1
        text = part.input
        ids = self._ids.pop(text, None)
        if ids is None or len(ids) > self._embedder.max_tokens:
            (ids,) = self._embedder.encode([text])
            if len(ids) < part.token_count:
                self.truncated += 1
                part = replace(part, token_count=len(ids))
        if is_unread(self._embedder, ids):
            self.unknown += 1
            self.unknown_example = self.unknown_example or part.text[:_EXAMPLE]
        return Piece(pending, part, part.hash, ids)

    def _measure(self, inputs: Sequence[str]) -> list[int]:
        """Count tokens, and keep the ids for the model: each text is tokenised once."""
        encoded = self._embedder.encode(inputs, truncate=False)
        self._ids.update(zip(inputs, encoded, strict=True))
        return [len(ids) for ids in encoded]


class Reader(PieceReader):
    """Reads what has changed in a source and cuts it into pieces."""

    def __init__(
        self,
        source: Source,
        store: Store | None,
        embedder: TokenEmbedder,
        chunking: Chunking,
        *,
        again: Collection[str] = (),
        force: bool = False,
        stages: Stages | None = None,
    ) -> None:
        super().__init__(embedder, stages)
        self._source = source
        self._store = store
        self._chunking = chunking
        self._again = again
        self._force = force
        self._recipe = f"{embedder.fingerprint.key}/{chunking.key}"

    def events(self) -> Iterator[list[Event]]:
        """In the source's order."""
        entries = self._source.entries()
        while batch := list(itertools.islice(entries, _LOOKED_UP_AT_ONCE)):
            yield from self._entries(batch)

    def _entries(self, entries: Sequence[Entry]) -> Iterator[list[Event]]:
        states = self._store.states([entry.id for entry in entries]) if self._store else {}
        listed: list[str] = []
        touched: list[DocumentState] = []
        for entry in entries:
            self.documents += 1
            state = states.get(entry.id)
            recipe = f"{self._recipe}/{entry.reading}" if entry.reading else self._recipe
            if state is not None and (state.recipe != recipe or entry.id in self._again):
                state = None
            if state is not None and entry.mtime_ns and _same(state, entry) and not self._force:
                self._skip(entry)
                listed.append(entry.id)
                continue
            started = time.perf_counter()
            try:
                document = self._source.read(entry)
            except SourceError as error:
                self.unreadable += 1
                self.passed_bytes += entry.size
                yield [Failure(entry.id, -1, 0, 0, 0, Cause.of(error))]
                listed.append(entry.id)
                continue
            finally:
                self.stages.add("read", time.perf_counter() - started)
            if document is None:  # left out after all: what the store has of it goes
                self.documents -= 1
                continue
            listed.append(entry.id)
            self.guessed += document.guessed
            new = DocumentState(
                document.id,
                document.size,
                document.mtime_ns,
                document.content_hash,
                recipe,
                document.ctime_ns,
                document.inode,
            )
            if state is not None and state.content_hash == document.content_hash:
                self._skip(entry)
                touched.append(new)
                continue
            yield from self._pieces(document, Pending(new))
        yield [Listed(listed, touched)]

    def _skip(self, entry: Entry) -> None:
        self.unchanged += 1
        self.passed_bytes += entry.size

    def _pieces(self, document: Document, pending: Pending) -> Iterator[list[Event]]:
        from embedmill.chunking.chunker import chunk  # where nothing has changed its patterns are not needed
        from embedmill.chunking.encoded import encoded_runs

        encoded = encoded_runs(document.text)
        self.encoded_characters += sum(end - start for start, end in encoded)
        chunks = chunk(document, self._measure, self._chunking, encoded)
        while True:
            started = time.perf_counter()
            group: list[Event] = [self._piece(part, pending) for part in itertools.islice(chunks, GROUP)]
            self.stages.add("chunk", time.perf_counter() - started)
            if len(group) < GROUP:
                yield [*group, pending]
                self._ids.clear()
                return
            yield group
