"""Documents, their chunks, and what a store holds of them: frozen values that the stages hand to one another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, Final

from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Cause, Vector


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


WRITTEN: Final = "00/"
"""What the ids of documents begin with that are no source's: their chunks were made elsewhere and written."""


def written_id(source_file: str) -> str:
    """The id of the document that chunks of this `source_file` are written to.

    No source has it, and no scope: it is not below any, and does not end in "/", whatever the `source_file` is.
    """
    return f"{WRITTEN}{source_file}."


def source_file_of(document: str) -> str:
    """What people know a document by: of one that was written its `source_file`, of others their id."""
    return document[len(WRITTEN) : -1] if document.startswith(WRITTEN) else document


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
    # Lone surrogates are kept: "a\ud800" and "a?" are two texts.
    return hashlib.sha256(embedding_input(context, text).encode("utf-8", "surrogatepass")).digest()


def embedding_input(context: str, text: str) -> str:
    """The text that is embedded: the context header, if there is one, on lines of its own before the text."""
    return f"{context}\n\n{text}" if context else text


@dataclass(frozen=True, slots=True)
class Provenance:
    """What an embedding is of, so that it is known when it is no longer that of its chunk."""

    fingerprint: Fingerprint
    model: str  # its name, for people
    hash: bytes  # `Chunk.hash` of what was embedded


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document's text, and its vector once it has one.

    Only `text` is needed. Where a chunk was cut from a document, ``document.text[start:end] == text``. What becomes of
    a chunk (`embedding` and all below it) counts neither for equality nor for its representation.
    """

    text: str
    source_file: str = ""  # Document.id: chunks of one source are told by their `chunk_index`
    source_category: str = ""
    document_date: str | date | None = None
    chunk_index: int = 0  # 0, 1, 2 ... within the document
    total_chunks: int | None = None  # of the document, where that is known
    token_count: int = 0  # what the model reads: context, prompt and special tokens included
    context: str = ""  # heading path, embedded before the text; "" for none
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)  # the user's own; JSON where it is stored
    start: int = 0  # characters (code points), inclusive
    end: int = 0  # characters, exclusive
    line: int = 0  # of the first character, from 1; 0 where that is not known
    end_line: int = 0  # of the last character, from 1
    page: int | None = None  # of the first character, from 1; None where the document has no pages
    embedding: Vector | None = field(default=None, compare=False, repr=False)
    provenance: Provenance | None = field(default=None, compare=False, repr=False)  # of `embedding`
    cause: Cause | None = field(default=None, compare=False, repr=False)  # why there is no `embedding`

    @property
    def input(self) -> str:
        """What the model is given (see `embedding_input`)."""
        return embedding_input(self.context, self.text)

    @property
    def hash(self) -> bytes:
        """SHA-256 of `input`: the chunk's key in the cache."""
        return text_hash(self.context, self.text)

    @property
    def hash_hex(self) -> str:
        """`hash` as 64 hex digits."""
        return self.hash.hex()

    def has_embedding_of(self, fingerprint: Fingerprint) -> bool:
        """Whether `embedding` is known to be what this fingerprint gives for the chunk as it is now."""
        known = self.provenance
        return (
            self.embedding is not None
            and known is not None
            and known.fingerprint == fingerprint
            and known.hash == self.hash
        )


def checked_list(chunks: Iterable[Chunk]) -> list[Chunk]:
    """The chunks as a list. Raises `TypeError` for what is no row of chunks, as a single one."""
    if isinstance(chunks, Chunk | str | bytes) or not isinstance(chunks, Iterable):
        raise TypeError(f"expected a list of chunks, not a {type(chunks).__name__}")
    listed = list(chunks)
    for number, chunk in enumerate(listed):
        if not isinstance(chunk, Chunk):
            raise TypeError(f"expected a list of chunks: number {number} is a {type(chunk).__name__}")
    return listed


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
    tokens: int = 0  # that the model has read; 0 where that was not asked for, as the line
    line: int = 0  # of the first character, from 1
    name: str = ""  # what the store itself knows the document by


@dataclass(frozen=True, slots=True)
class Failure:
    """A chunk, or a whole document (`index` -1), that has no vector, and why."""

    document: str
    index: int
    start: int
    end: int
    line: int
    cause: Cause
    attempts: int = 1  # added to those on record


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
    chunk: int  # Chunk.chunk_index
    start: int
    end: int
    line: int
    end_line: int
    score: float  # by the model's similarity: cosine, inner product, or the distance as a negative number
    text: str
    context: str
    page: int | None = None  # as in `Chunk`, as what follows
    source_category: str = ""
    document_date: str | date | None = None
    total_chunks: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


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
