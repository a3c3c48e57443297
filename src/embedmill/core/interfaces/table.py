"""A user's table whose rows get vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from embedmill.core.interfaces.verification import CheckedTable
from embedmill.core.rows import Counts, Filled, Key, Metrics, Noted, Row, RowFailure
from embedmill.core.spaces import Fingerprint
from embedmill.core.table_reports import TableStatus
from embedmill.core.vectors import Cause


class MetricsTable(Protocol):
    """``<table>_metrics``: what is counted of each row's text. `write` may be called from several threads."""

    def check(self) -> None:
        """Raise `StoreError` where there can be none, since its name is taken."""

    def prepare(self) -> None:
        """Create it where there is none. Raises `StoreError` where its name is taken, or this user may not."""

    def missing(self, after: Key | None, limit: int) -> list[tuple[Key, str]]:
        """The next rows, behind this key, whose metrics are missing or of an older text."""

    def write(self, rows: Sequence[tuple[Key, bytes, Metrics]]) -> None:
        """Write the metrics of these rows; each comes with the hash of the text that they are of."""

    def finish(self) -> None:
        """Count how often each text stands in the table; forget rows that are gone."""


class Table(CheckedTable, Protocol):
    """A table whose rows get vectors. Several runs, on several machines, may work at it at once.

    A run claims the rows that it embeds. What a run that died has claimed is anybody's again. `write`, `fail`,
    `take_locked` and `counts` may be called from several threads, the others from one at a time.
    """

    @property
    def url(self) -> str:
        """The database, for people: without a password."""

    @property
    def name(self) -> str:
        """The table, for people."""

    @property
    def columns(self) -> tuple[str, str]:
        """The columns that are read and filled."""

    @property
    def metrics(self) -> MetricsTable:
        """The table's metrics; another object once a run has begun."""

    def check(self, fingerprint: Fingerprint, model: str, *, overwrite: bool = False) -> None:
        """Raise what `bind` would raise for vectors of this space; changes nothing."""

    def bind(self, fingerprint: Fingerprint, model: str, *, overwrite: bool = False, again: bool = False) -> None:
        """Begin a run that fills the column with vectors of this space.

        `overwrite` takes rows with vectors too, whoever wrote these before it began, `again` those that have failed
        before this run. An overwriting that did not come to its end is gone on with.
        Raises `SpaceMismatch` where the column holds vectors of another space or dimension.
        """

    def finish_within(self, seconds: float) -> None:
        """From now on nothing is waited for longer than this, and nothing long is begun; for signal handlers.

        Whatever only reads, `prune` and `metrics.finish` raise `Stopped` then.
        """

    def counts(self) -> Counts:
        """How the table stood when the run began, or stands where none has; reads all of it."""

    def noted(self) -> Noted:
        """What earlier runs have noted of its vectors."""

    def status(self) -> TableStatus:
        """What is known of the table; reads all of it."""

    def sample(self, limit: int) -> list[str]:
        """Its first texts, in the order of their keys."""

    def claim(self, after: Key | None, limit: int) -> list[Row]:
        """The next rows that need a vector, behind this key, in the order of keys; they are this run's now."""

    def claimed_by_others(self) -> int:
        """How many rows other runs have claimed, and not finished: dead ones have left theirs to this run."""

    def write(self, rows: Sequence[Filled]) -> int:
        """Write these rows' vectors and metrics, all in one transaction, or none.

        Returns how many were left out, because their text has changed meanwhile or they are gone; rows that others have
        locked are left out too (see `take_locked`). Raises `RowsRefused` where the database refuses the data.
        """

    def take_locked(self, rows: Sequence[Row]) -> set[int]:
        """The tracking ids of those rows that `write` or `fail` left as they were, since others have locked them.

        They are still this run's, and may be given again.
        """

    def lockers(self, *, runs: bool = False) -> str:
        """Who holds locks on the table, or which other `runs` are at work, for people; "" where that is not known."""

    def fail(self, failures: Sequence[tuple[Row, Cause]]) -> None:
        """Put on record why these rows have no vector; they are not tried again by themselves."""

    def prune(self) -> int:
        """Forget rows that are gone; take the vectors of those whose text is NULL now. Returns how many rows went."""

    def build_index(self, show: Callable[[str, float | None], None], stopped: Callable[[], bool]) -> str:
        """Build the index that was asked for; what became of it, in a few words, "" for nothing.

        `show` is told what is being done, and how much of that. When `stopped` says so, it is given up.
        """

    def mark_complete(self) -> None:
        """Note that a run has come to its end."""

    def failures(self) -> Iterator[RowFailure]:
        """The rows that have failed, in the order of their keys."""

    def close(self) -> None:
        """End the run: what it holds is given back. May be called twice."""
