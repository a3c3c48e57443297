"""The rows that the statements of a run give (see `statements.py`); where several are given their key follows."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple


class RowState(IntEnum):
    """How a row stands."""

    WITHOUT_TEXT = 0
    UNMANAGED = 1  # has a vector that embedmill did not write
    HELD = 2
    FAILED = 3
    DUE = 4  # has no vector, or one of another space
    WRITTEN = 5  # of this space
    SUPERSEDED = 6  # of another space, by a run that began after this one: that run's to keep up to date


class Standing(NamedTuple):
    """A row of the table as it was when it was looked at, and what is known of it."""

    state: int  # a `RowState`
    content: Any  # as in `embedmill.storage.sqlite.table.contents`; None where it is not of interest
    tracking_id: int | None  # where there is no tracking row all that follows is None too
    run: int
    held: int
    hash: bytes
    cause: str | None


class CarriedRow(NamedTuple):
    """A row of the table that may be known by older marks."""

    content: Any
    vector: Any
    older_key: str | None  # as one text


class ValueRow(NamedTuple):
    """What stands in the vector column."""

    kind: str  # as SQLite's typeof tells
    size: int  # in bytes


class SampledRow(NamedTuple):
    """A row that has a vector of a space."""

    content: Any
    hash: bytes  # of what was embedded
    vector: bytes


class FailureRow(NamedTuple):
    """A failure on record."""

    cause: str
    message: str
    attempts: int


class TrackedRowContents(NamedTuple):
    """A row of the table with its vector, and what is known of both; where nothing is, that is None."""

    content: Any
    vector: Any
    kind: str  # of the vector, as SQLite's typeof tells
    tracking_id: int | None
    held: int | None  # by a run that lives
    written: int | None  # it is of the space that is asked for
    failed: int | None
    hash: bytes | None
    print: bytes | None
