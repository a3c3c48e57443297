"""What may be wrong with what is stored: names for it, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DamageKind(StrEnum):
    """The kinds of damage, by the names that `embedmill verify` gives them: these stay as they are."""

    # The store as a whole
    FILE = "file-damaged"  # SQLite's own structure
    TYPE = "wrong-type"  # a column holds values of another type than the schema says
    BINDING = "binding"  # to a space, is missing or contradicts itself
    MATRIX = "matrix-differs"  # SQLite's file for searches is not what the store holds, or is damaged
    INDEX = "index-invalid"  # of PostgreSQL
    OPTIONS = "options-damaged"  # by which a folder was taken: they are no JSON

    # Documents, or rows, against the ledger
    DOCUMENT_CHANGED = "document-changed"  # on disk, since it was stored
    DOCUMENT_GONE = "document-gone"  # from disk
    DOCUMENT_MISSING = "document-missing"  # is on disk, and the store has neither it nor a failure
    ROOT_MISSING = "root-missing"  # of a document or failure: where it lies is not known
    LEDGER = "ledger-damaged"  # a document's entry lacks what it has to say, or says what cannot be
    ROW_CHANGED = "row-changed"  # its text, since it was embedded
    ROW_GONE = "row-gone"  # the ledger knows it, and the table has it, or its text, no more
    ROW_MISSING = "row-missing"  # has a text, and neither a vector nor a failure

    # The ledger against chunks
    COUNT = "chunk-count"  # the ledger says another number than there are
    CHUNK_MISSING = "chunk-missing"  # neither the chunk nor a failure is there
    CHUNK_DUPLICATE = "chunk-duplicate"  # two of one index, or at one place
    CHUNK_INDEX = "chunk-index"  # is negative, or no number
    CHUNK_ORPHAN = "chunk-orphan"  # belongs to no document
    CHUNK_PLACE = "chunk-place"  # where it stands, or its tokens, cannot be; or its document has another text there
    ATTRIBUTES = "attributes-damaged"  # what a chunk has of the user's own is no JSON object
    TEXT = "text-altered"  # is not that of the hash, or no text
    FAILURE_STRAY = "failure-stray"  # of what is stored all the same, or of nothing

    # Chunks, or rows, against vectors, and these against the validator and the model
    VECTOR_ORPHAN = "vector-orphan"  # belongs to no chunk, or to a row without a text
    VECTOR_MISSING = "vector-missing"
    VECTOR_DIMENSION = "vector-dimension"
    VECTOR_NOT_FINITE = "vector-not-finite"
    VECTOR_ZERO = "vector-zero"
    VECTOR_LENGTH = "vector-length"  # is not 1, though the model normalises
    VECTOR_CONSTANT = "vector-constant"  # all its numbers are the same
    VECTOR_ALTERED = "vector-altered"  # is not the one that was written
    VECTOR_WRONG = "vector-wrong"  # is not what the model makes of the text


RECOMPUTABLE = frozenset(
    {
        DamageKind.VECTOR_MISSING,
        DamageKind.VECTOR_DIMENSION,
        DamageKind.VECTOR_NOT_FINITE,
        DamageKind.VECTOR_ZERO,
        DamageKind.VECTOR_LENGTH,
        DamageKind.VECTOR_CONSTANT,
        DamageKind.VECTOR_ALTERED,
        DamageKind.VECTOR_WRONG,
    }
)
"""What a new vector of the chunk's stored text mends."""

NOT_TRUSTED = frozenset({DamageKind.TEXT, DamageKind.CHUNK_INDEX})
"""Of such chunks it is not known what they were: they go, and their document is read anew."""

USELESS = frozenset(
    {
        DamageKind.TYPE,
        DamageKind.MATRIX,
        DamageKind.INDEX,
        DamageKind.OPTIONS,
        DamageKind.ROOT_MISSING,
        DamageKind.CHUNK_ORPHAN,
        DamageKind.ATTRIBUTES,
        DamageKind.VECTOR_ORPHAN,
        DamageKind.FAILURE_STRAY,
    }
)
"""What goes, and nothing is read for it."""

READ_ANEW = NOT_TRUSTED | {
    DamageKind.LEDGER,
    DamageKind.COUNT,
    DamageKind.CHUNK_MISSING,
    DamageKind.CHUNK_DUPLICATE,
    DamageKind.CHUNK_PLACE,
    DamageKind.DOCUMENT_CHANGED,
    DamageKind.DOCUMENT_GONE,
    DamageKind.DOCUMENT_MISSING,
}
"""What is mended by reading the document again."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    kind: DamageKind
    detail: str  # what is wrong, for people, on one line
    document: str = ""  # its id, or the table and key of a row; "" where it is about none
    index: int | None = None  # of the chunk; None where it is about none
    name: str = ""  # what the store itself knows the document, or the row, by
    count: int = 1  # how often it was found

    def __str__(self) -> str:
        where = self.document if self.document.isprintable() else repr(self.document)
        if self.index is not None and where:
            where += f": chunk {self.index}"
        return f"{where}: {self.detail}" if where else self.detail
