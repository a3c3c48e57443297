"""The nouns of embedmill: frozen values that the stages hand to one another.

Nothing here does I/O. The words are those of the glossary in ``docs/design.md``.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""Shape ``(n, dimension)``, C-contiguous."""

Vector = NDArray[np.float32]
"""Shape ``(dimension,)``."""

TokenIds = NDArray[np.int32]
"""Shape ``(tokens,)``: one text's token ids, special tokens included."""


_LONGEST_MESSAGE = 1_000  # characters of an error's message that are kept: some repeat the whole text
_LONGEST_TRACE = 20_000


class Kind(StrEnum):
    """How a document's text is cut into chunks."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Entry:
    """One unit of a source, listed but not yet read."""

    id: str  # stable and unique within the store; for a file its absolute path
    size: int  # bytes
    mtime_ns: int  # nanoseconds since the epoch; 0 where the source has no times
    ctime_ns: int = 0  # of the inode's last change, which no program can set; 0 where the source has none
    inode: int = 0
    reading: str = ""  # how its bytes are to be read, where not as usual: an encoding


@dataclass(frozen=True, slots=True)
class Document:
    """One unit of a source with its text."""

    id: str
    text: str  # holds no lone surrogates
    kind: Kind
    content_hash: bytes  # SHA-256 of the bytes that the text was read from
    size: int  # bytes
    mtime_ns: int  # 0: do not trust size and time next time, compare the hash
    ctime_ns: int = 0  # as in `Entry`; -1: do not trust it next time
    inode: int = 0
    paged: bool = False  # a form feed stands in the text before each page but the first
    guessed: bool = False  # it does not say which encoding it is in, and is not in UTF-8


@dataclass(frozen=True, slots=True)
class DocumentState:
    """The ledger's entry: which content, embedded how, is durably in the store."""

    id: str
    size: int
    mtime_ns: int
    content_hash: bytes
    recipe: str  # all else that decides the document's rows: fingerprint and chunking
    ctime_ns: int = 0
    inode: int = 0


def text_hash(context: str, text: str) -> bytes:
    """SHA-256 of what the model is given for a chunk, without the model's own prompt."""
    return hashlib.sha256(embedding_input(context, text).encode("utf-8", "replace")).digest()


def embedding_input(context: str, text: str) -> str:
    """The text that is embedded: the context header, if there is one, on lines of its own before the text."""
    return f"{context}\n\n{text}" if context else text


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document's text: ``document.text[start:end] == text``."""

    document: str  # Document.id
    index: int  # 0, 1, 2 ... within the document
    start: int  # characters (code points), inclusive
    end: int  # characters, exclusive
    line: int  # of the first character, from 1
    end_line: int  # of the last character, from 1
    text: str
    context: str = ""  # heading path, embedded before the text; "" for none
    tokens: int = 0  # what the model reads: context, prompt and special tokens included
    page: int | None = None  # of the first character, from 1; None where the document has no pages

    @property
    def input(self) -> str:
        """What the model is given (see `embedding_input`)."""
        return embedding_input(self.context, self.text)

    @property
    def hash(self) -> bytes:
        """SHA-256 of `input`: the chunk's key in the cache."""
        return text_hash(self.context, self.text)


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts that one model call embeds, with their token ids."""

    texts: tuple[str, ...]
    ids: tuple[TokenIds, ...]

    @property
    def tokens(self) -> int:
        """True tokens, padding not counted."""
        return sum(len(ids) for ids in self.ids)

    def part(self, start: int, stop: int) -> Batch:
        """The texts from `start` on, `stop` not included."""
        return Batch(self.texts[start:stop], self.ids[start:stop])


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something has no vector: the error's type and its message, on one line and not without end."""

    type: str
    message: str
    trace: str = field(default="", compare=False, repr=False)  # as Python prints it; not stored

    @classmethod
    def of(cls, error: BaseException) -> Cause:
        """The cause that an exception stands for."""
        try:
            message = " ".join(str(error).split())
            trace = "".join(traceback.format_exception(error))[-_LONGEST_TRACE:]
        except Exception:  # whoever defines an exception may err in how it is told
            message, trace = "its message cannot be told", ""
        if len(message) > _LONGEST_MESSAGE:
            message = message[:_LONGEST_MESSAGE] + "..."
        return cls(type(error).__name__, message or "no message", trace)


@dataclass(frozen=True, slots=True)
class Embedded:
    """What an executor made of one batch."""

    batch: Batch
    vectors: Vectors  # (len(batch.texts), dimension); the rows of failed texts are NaN
    causes: Mapping[int, Cause] = field(default_factory=dict)  # row -> why it has no vector


@dataclass(frozen=True, slots=True)
class Record:
    """A chunk with its vector, ready to be stored."""

    chunk: Chunk
    hash: bytes  # chunk.hash, computed once
    vector: Vector


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as it stands in a store."""

    document: str
    index: int
    input: str  # what was embedded
    vector: Vector
    precision: str  # that the vector was computed in


@dataclass(frozen=True, slots=True)
class Failure:
    """A chunk, or a whole document (`index` -1), that has no vector, and why."""

    document: str
    index: int
    start: int
    end: int
    line: int
    cause: Cause
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Replacement:
    """A document's new rows. Those already staged for it come before `records`."""

    state: DocumentState
    precision: str
    records: Sequence[Record]
    failures: Sequence[Failure] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of a search."""

    document: str
    chunk: int  # Chunk.index
    start: int
    end: int
    line: int
    end_line: int
    score: float  # by the model's similarity: cosine, inner product, or the distance as a negative number
    text: str
    context: str
    page: int | None = None  # as in `Chunk`


@dataclass(frozen=True, slots=True)
class RootStatus:
    """A file or folder that was given, and that lies in no other."""

    path: str  # where it is, or was; behind "host:" on another machine
    state: str  # "here", "gone" or "elsewhere"
    documents: int


@dataclass(frozen=True, slots=True)
class GivenPath:
    """A file or folder that a run was given."""

    path: str  # its id; of a folder ending in "/"
    options: Mapping[str, Any]  # the settings by which it was taken


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What a store holds."""

    documents: int
    chunks: int
    failures: int
    model: str | None  # the name the space was first written under; None for an empty store
    space: str | None
    precision: tuple[str, ...]  # every precision that vectors in the store were computed with
    dimension: int | None
    bytes: int  # on disk, with the search matrix
    document_prompt: str | None = None  # put before each document; None where that is not known, as of an empty store
    query_prompt: str | None = None  # put before each query


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come."""

    documents: int  # finished, or found unchanged
    bytes: int  # of those documents, and of the finished chunks of others
    unchanged: int
    chunks: int  # read so far
    embedded: int
    cached: int
    duplicates: int
    failed: int
    tokens: int
    restarts: int
    seconds: float

    @property
    def done(self) -> int:
        """The chunks that have become something: what the speed is told in."""
        return self.embedded + self.cached + self.duplicates + self.failed

    @property
    def amount(self) -> int:
        """What a share of the whole is told by."""
        return self.bytes

    @property
    def counts(self) -> str:
        """For people."""
        return f"documents {self.documents:,}, chunks {self.done:,}"


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker's place in a pool, what was done there, and the process that has it now."""

    worker: int
    pid: int | None  # None while there is none
    state: str  # "starting", "idle", "busy", "missing" or "retired"
    documents: int  # texts finished by all processes that had this place
    batches: int
    tokens: int
    rss_mb: float  # of the process that has it now
    age_seconds: float
    restarts: int  # of this place
    causes: Mapping[str, int]  # of its restarts


@dataclass(frozen=True, slots=True)
class Report:
    """What one run did. Every chunk is exactly one of embedded, cached, duplicate or failed."""

    documents: int  # found and selected by the source; not what was left out when it was read
    unchanged: int
    removed: int
    chunks: int
    embedded: int
    cached: int  # vectors taken from the cache or the store
    duplicates: int  # equal to another chunk of the same run
    truncated: int
    failed: int
    tokens: int  # embedded ones, padding not counted
    seconds: float
    model: str
    space: str
    precision: str
    executor: str
    workers: int
    restarts: int
    retries: int
    store: str
    stages: Mapping[str, float]  # seconds of work in each stage; stages overlap
    skipped: Mapping[str, int]  # left out by the source: reason -> files
    failures: int  # in the store when the run ended, earlier runs' included
    worker_stats: Sequence[WorkerStats] = ()  # of worker processes, when the run ended
    health: Sequence[str] = ()  # what was wrong with the workers then, a line each
    tuning: str = ""  # why it had so many workers, where that was measured
    deselected: int = 0  # still there and left out by this run's options: what an earlier run stored of them stays
    vanished: Mapping[str, int] = field(default_factory=dict)  # roots that are gone: path -> documents in the store
    missing: Sequence[str] = ()  # paths that were given, and are not there
    interrupted: bool = False  # stopped before the end; what was finished is stored
    unknown: int = 0  # chunks read by this run that have no token which the model knows; they are stored all the same
    dry_run: bool = False
    estimated_seconds: float | None = None  # dry run only
    guessed: int = 0  # documents whose encoding was guessed, of those that were read
    encoded_characters: int = 0  # base64, hex and the like in what was read, which is in no chunk

    @property
    def tokens_per_second(self) -> float:
        """Embedded tokens over the whole run's wall time; 0 of a dry run."""
        return self.tokens / self.seconds if self.seconds and not self.dry_run else 0.0

    @property
    def chunks_per_second(self) -> float:
        """Embedded chunks over the whole run's wall time; 0 of a dry run."""
        return self.embedded / self.seconds if self.seconds and not self.dry_run else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The report as it appears under ``--json``."""
        return asdict(self) | {
            "tokens_per_second": round(self.tokens_per_second, 1),
            "chunks_per_second": round(self.chunks_per_second, 1),
        }
