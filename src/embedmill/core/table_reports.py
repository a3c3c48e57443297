"""How far a run over a table has come, what it did, and how a table stands."""

from __future__ import annotations

from dataclasses import dataclass

from embedmill.core.reports import Report
from embedmill.core.rows import Counts


@dataclass(frozen=True, slots=True)
class TableStatus:
    """What is known of a table that has been ingested."""

    store: str  # the database, without a password
    table: str
    text: str  # column
    vector: str  # column
    counts: Counts
    model: str | None
    space: str | None
    dimension: int | None
    index: str  # of the vectors: its name and method, or ""
    document_prompt: str | None = None  # put before each text; None where that is not known
    query_prompt: str | None = None  # to be put before each query


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """How far a run over a table has come."""

    rows: int  # written, or failed
    total: int | None  # rows to do in all; None until they are counted
    failed: int
    restarts: int
    seconds: float
    doing: str = ""  # what is done after the vectors, such as "building the index"; "" until then
    share: float | None = None  # of that, from 0 to 1

    @property
    def done(self) -> int:
        """What the speed is told in, and a share of the whole is told by."""
        return self.rows

    amount = done

    @property
    def counts(self) -> str:
        """For people."""
        left = "" if self.total is None else f", {self.total - self.rows:,} left"
        return f"rows {self.rows:,}{left}"


@dataclass(frozen=True, slots=True)
class IngestReport(Report):
    """What one run over a table did. `documents` and `chunks` are rows.

    `skipped` counts rows without a text, rows that have a vector of unknown origin, and rows whose text an earlier run
    has found to be empty. These are not among the `failures` any more.
    """

    table: str = ""
    text: str = ""  # the column that was read
    vector: str = ""  # the column that was filled
    last_key: str = ""  # of the last row that this run has written or failed
    changed: int = 0  # texts that changed while they were embedded: their vector was not written, but a newer one
    locked: int = 0  # rows that another session had locked until the end: they are left to the next run
    measured: int = 0  # rows whose metrics this run has written
    writers: int = 0  # connections that wrote at once, at most
    index: str = ""  # what became of the index; "" where nothing was to be done
    beside: str = ""  # where `swapped`: the column that has the vectors which `vector` had before
