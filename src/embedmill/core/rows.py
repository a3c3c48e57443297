"""Tables whose rows get vectors: frozen values, as in `embedmill.core.documents`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from embedmill.core.checks import whole_number
from embedmill.core.documents import text_hash
from embedmill.core.errors import UsageError
from embedmill.core.vectors import Cause, Vector

Key = tuple[str | int | float | bytes, ...]
"""What tells a row: the values of its key columns. PostgreSQL gives them as text, SQLite as they are."""

UNMANAGED: Final = "vector of unknown origin"
"""Why a row was left out that has a vector which embedmill did not write."""

EMPTY: Final = "empty text"
"""Why a row was left out that an earlier run has found to have no text but white space."""

LARGE_PAGE: Final = 4_000_000
"""Characters of a page of rows that is not to become larger: rows may hold whole books, and pages wait in memory."""


def shown(key: Key) -> tuple[str, ...]:
    """A key for people."""
    return tuple(f"x'{value.hex()}'" if isinstance(value, bytes) else str(value) for value in key)


@dataclass(frozen=True, slots=True)
class Row:
    """A row that this run has claimed."""

    tracking_id: int  # of the row's tracking row: what the database knows it by, whatever its key is made of
    key: Key
    text: str
    cause: Cause | None = None  # why it cannot be embedded; its text is empty then

    @property
    def hash(self) -> bytes:
        """SHA-256 of the text: its key in the cache, and in the tracking row."""
        return text_hash("", self.text)


def too_long(size: int, most: int) -> Cause:
    """Why a text of so many characters is not embedded."""
    return Cause("TooLong", f"the text has {size:,} characters, at most {most:,} are taken: retry-failed --max-text N")


@dataclass(frozen=True, slots=True)
class Metrics:
    """What is counted of one text."""

    characters: int  # code points
    words: int  # separated by white space
    tokens: int | None  # of the model's tokenizer, special tokens included, not cut; None without a tokenizer
    digest: bytes  # 16 bytes: equal for texts that are the same but for case, width and white space


@dataclass(frozen=True, slots=True)
class Filled:
    """A row with what is to be written of it."""

    row: Row
    vector: Vector
    metrics: Metrics | None  # None where none are wanted


@dataclass(frozen=True, slots=True)
class Stored:
    """A row as it stands in the table, whose vector is that of its present text."""

    key: Key
    text: str
    vector: Vector  # (dimension,) float32, as the column gives it back
    name: str = ""  # what the database knows the row by
    written: bool = True  # by embedmill; else the vector is of unknown origin


@dataclass(frozen=True, slots=True)
class Counts:
    """How a table stands."""

    rows: int  # that have a text
    left: int  # of these, to be embedded; what a live run holds counts too
    without_text: int  # the text is NULL
    foreign: int  # have a vector that embedmill did not write, and that stays
    failures: int  # on record, and not to be tried again by themselves
    empty: int = 0  # of these failures, rows whose text is empty: told of by the run that found them

    @property
    def unchanged(self) -> int:
        """Rows that have the vector of their present text; 0 where others work at the table while it is counted."""
        return max(self.rows - self.left - self.failures - self.foreign, 0)


@dataclass(frozen=True, slots=True)
class RowFailure:
    """A row that has no vector of its present text, and why."""

    key: tuple[str, ...]  # for people
    cause: Cause
    attempts: int


DISTANCES: Final = {"cosine": "cosine", "l2": "l2", "inner-product": "ip"}
"""What searches will sort by -> that part of the name of pgvector's operator class."""


INDEX_METHODS: Final = ("auto", "hnsw", "none")
"""What index is built; auto: hnsw after the first fill of a large table."""


LINKS: Final = (2, 100)
"""Least and most links of each vector in an index."""

CANDIDATES: Final = (4, 1000)
"""Least and most candidates looked at for each link while an index is built."""


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What index is wanted. The defaults are pgvector's own (its README, «HNSW»)."""

    method: str = field(default="auto", metadata={"choices": INDEX_METHODS})
    m: int = field(default=16, metadata={"range": LINKS})
    ef_construction: int = field(default=64, metadata={"range": CANDIDATES})
    distance: str = field(default="cosine", metadata={"choices": tuple(DISTANCES)})

    def __post_init__(self) -> None:
        if self.method not in INDEX_METHODS:
            raise UsageError(f"--index: {self.method!r} does not fit: expected auto, hnsw or none")
        whole_number("m", self.m)
        whole_number("ef_construction", self.ef_construction)
        if not LINKS[0] <= self.m <= LINKS[1]:
            raise UsageError(f"--m: {self.m} does not fit: expected a whole number from {LINKS[0]} to {LINKS[1]}")
        least, most = max(CANDIDATES[0], 2 * self.m), CANDIDATES[1]
        if not least <= self.ef_construction <= most:
            raise UsageError(
                f"--ef-construction: {self.ef_construction} does not fit: expected a whole number from "
                f"{least} (twice --m) to {most:,}"
            )
        if self.method == "none" and (self.m, self.ef_construction, self.distance) != (16, 64, "cosine"):
            raise UsageError("--index none builds no index: leave --m, --ef-construction and --distance out")
        if self.distance not in DISTANCES:
            raise UsageError(f"--distance: {self.distance!r} does not fit: expected {', '.join(DISTANCES)}")


@dataclass(frozen=True, slots=True)
class Noted:
    """What earlier runs have noted of the vectors of a table; None for what is not known."""

    model: str | None = None
    space: str | None = None
    document_prompt: str | None = None
    query_prompt: str | None = None


DIGEST_SIZE = 16
"""Bytes. Two different texts of a billion share a digest with a probability of 1e-21."""
