"""An SQLite table as far as it is only read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from embedmill.core.damage import Finding
from embedmill.core.errors import UsageError
from embedmill.core.rows import Counts, IndexOptions, Key, RowFailure, Stored, shown
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import EMPTY_TEXT, Cause
from embedmill.storage import columns as naming
from embedmill.storage.catalog import CatalogEntry
from embedmill.storage.driver import TableRequest
from embedmill.storage.sqlite.connection import path_of
from embedmill.storage.sqlite.table import catalog, runs
from embedmill.storage.sqlite.table.carrying import CARRIED, carry
from embedmill.storage.sqlite.table.contents import (
    check_dimension,
    check_vectors,
    digest,
    first_vector,
    is_text,
)
from embedmill.storage.sqlite.table.database import PAGE, Database, key_of
from embedmill.storage.sqlite.table.identity import marks as marks_of
from embedmill.storage.sqlite.table.inspection import problems, put_back
from embedmill.storage.sqlite.table.metrics import MetricsStatements, SqliteMetrics
from embedmill.storage.sqlite.table.rows import FailureRow, RowState, Standing
from embedmill.storage.sqlite.table.statements import Statements
from embedmill.storage.sqlite.table.table_spec import TableSpec, find
from embedmill.storage.table_reader import TableReader

# Asked for each row: looked up in their class, as Python before 3.12 does it, they would take three times as long.
_WITHOUT_TEXT, _UNMANAGED, _HELD, _FAILED, _DUE, _WRITTEN, _ = RowState


class SqliteTableReader(TableReader):
    """A table of which nothing is changed. All reads are short, so that the application can write meanwhile.

    Every method waits up to `db_timeout` seconds for a lock that others hold, and then raises `StoreBusy`; it raises
    `StoreError` where the file cannot be read or written.
    """

    spec: TableSpec

    def __init__(self, url: str, name: str, asked: TableRequest) -> None:
        """Find the table; changes nothing yet."""
        if asked.halfvec:
            raise UsageError("--halfvec is for PostgreSQL: an SQLite table holds numbers of 32 bits; leave it out")
        _check_index(asked.index or IndexOptions())
        self._longest = asked.longest
        self._parameters: dict[str, Any] = {"run": 0, "space": None}
        self._overwrite = self._again = False
        self._redone_from = catalog.NO_RUN  # the first run of the overwriting that this one is part of
        self._database = Database(path_of(url), asked.db_timeout)
        try:
            with self._database.reading() as db:
                path = self._database.path
                self.spec = find(db, self.url, name, asked, lambda spec: catalog.find(db, path, spec))
        except BaseException:
            self._database.close()
            raise
        self._use_marks(marks_of(0))

    @property
    def url(self) -> str:
        """``sqlite:PATH``."""
        return self._database.url

    def check(self, fingerprint: Fingerprint, model: str, *, overwrite: bool = False) -> None:
        """Raise what `bind` would raise for vectors of this space; changes nothing."""
        check_dimension(self.spec, fingerprint.space.dimension, model)
        if not overwrite:
            check_vectors(self._database, self._statements, fingerprint.space.dimension, model)
            known = self._known()
            if known is not None:
                with self._database.reading() as db:
                    catalog.check(db, self.spec, known, self._statements.marks, fingerprint, model)

    def counts(self) -> Counts:
        """How the table stood when the run began, or stands where none has; reads all of it."""
        rows = left = without = foreign = failures = empty = 0
        this_run = self._parameters["run"]
        for page in self._standings(None, PAGE):
            for row in page:
                state = row.state
                if state == _WITHOUT_TEXT:
                    without += 1
                    continue
                rows += 1
                # What this run has done already counts as left: so it was when the run began.
                if state == _HELD or row.run == this_run or self._is_due(row):
                    left += 1
                elif state == _UNMANAGED:
                    foreign += 1
                elif state == _FAILED:
                    failures += 1
                    empty += row.cause == EMPTY_TEXT
        return Counts(rows, left, without, foreign, failures, empty)

    def _is_due(self, row: Standing) -> bool:
        state = row.state
        if state == _WRITTEN:
            return digest(row.content) != row.hash or row.run < self._redone_from
        if state == _FAILED:
            tried = row.run == self._parameters["run"]
            return (self._again and not tried) or digest(row.content) != row.hash
        return state == _DUE or (state == _UNMANAGED and self._overwrite)

    def _standings(self, after: Key | None, first: int) -> Iterator[list[Standing]]:
        """How the rows behind a key stand (see `embedmill.storage.sqlite.table.statements.Statements.standings`)."""
        known = self._known() is not None
        statements = self._statements
        statement = partial(statements.standings, dead=self._dead()) if known else statements.bare_standings
        return self._database.pages(statement, after, Standing, first=first, values=self._parameters)

    def _dead(self) -> list[int]:
        """The runs that have held rows when they died: these are anybody's. Who is dead remains so."""
        table = self._entry.id if self._entry else 0
        holders = [number for (number,) in self._database.fetch(self._statements.holders, self._parameters)]
        return [number for number in holders if not runs.lives(self._database.path, table, number)]

    def sample(self, limit: int) -> list[str]:
        """Its first texts, in the order of their keys."""
        found = self._database.fetch(self._statements.sample, {"limit": limit})
        return [text for (text,) in found if is_text(text)]

    def verify(self, look: Callable[[Stored], None] = lambda _: None) -> Iterator[Finding]:
        """See `CheckedTable`; each row as it is when it is read."""
        entry = self._known()
        if entry is not None and entry.space is not None:
            yield from problems(self._database, self._statements, entry, self._dead(), self._longest, look)

    def put_back(self, found: Sequence[Finding]) -> None:
        """See `CheckedTable`; nothing is done where the next run carries the marks over to other keys first."""
        entry = self._known()
        if entry is not None and entry.fits:
            put_back(self._database, self._statements, found, self._dead())

    def failures(self) -> Iterator[RowFailure]:
        """The rows that have failed, in the order of their keys."""
        if self._known() is None:
            return
        for page in self._database.pages(self._statements.failures, None, FailureRow):
            for row in page:
                yield RowFailure(shown(key_of(row)), Cause(row.cause, row.message), row.attempts)

    def _stored_dimension(self) -> int | None:
        kind, size = first_vector(self._database, self._statements)
        return self.spec.dimension or (size // 4 if kind == "blob" else None)

    def _index_names(self) -> str:
        return ""

    def _known(self) -> CatalogEntry | None:
        if self._entry is None and self.spec.vector and not self.spec.missing:
            with self._database.reading() as db:
                found = self._entry = catalog.find(db, self._database.path, self.spec)
            if found is not None:
                if not found.fits:
                    carry(self._database, self.spec, found)
                self._use_marks(marks_of(found.id) if found.fits else CARRIED)
                self._parameters["space"] = found.space
        return self._entry

    def finish_within(self, seconds: float) -> None:
        """From now on locks of others are waited for no longer than this; what need not be done now is not."""
        self._database.finish_within(seconds)

    def close(self) -> None:
        """May be called twice."""
        self._database.close()

    def _use_marks(self, marks: str) -> None:
        names = (self.spec, marks, naming.metrics_name(self.spec.name))
        self._statements = Statements(*names)
        before = self._entry.before if self._entry else None
        self.metrics = SqliteMetrics(self._database, MetricsStatements(*names), before and before[1])


def _check_index(wanted: IndexOptions) -> None:
    """Raise `UsageError` where something is asked of an index: there is none here."""
    default = IndexOptions()
    given = {
        "--index hnsw": wanted.method == "hnsw",
        "--m": wanted.m != default.m,
        "--ef-construction": wanted.ef_construction != default.ef_construction,
        "--distance": wanted.distance != default.distance,
    }
    for option, is_given in given.items():
        if is_given:
            raise UsageError(f"{option} is for PostgreSQL: an SQLite table has no index of vectors; leave it out")
