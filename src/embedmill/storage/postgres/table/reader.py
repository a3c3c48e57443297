"""A PostgreSQL table as far as it is only read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from embedmill.core.damage import DamageKind, Finding
from embedmill.core.errors import UsageError
from embedmill.core.rows import Counts, IndexOptions, RowFailure, Stored
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import EMPTY_TEXT, Cause
from embedmill.storage import columns as naming
from embedmill.storage.catalog import CatalogEntry
from embedmill.storage.driver import TableRequest
from embedmill.storage.postgres import blocking
from embedmill.storage.postgres.connection import Connection, connect, redact_url
from embedmill.storage.postgres.server_errors import translate_errors
from embedmill.storage.postgres.table.catalog import Catalog
from embedmill.storage.postgres.table.index import VectorIndex
from embedmill.storage.postgres.table.inspection import problems, put_back, rebuild
from embedmill.storage.postgres.table.metrics import MetricsStatements, PostgresMetrics
from embedmill.storage.postgres.table.session import TableSession
from embedmill.storage.postgres.table.sql_parts import decoded
from embedmill.storage.postgres.table.statements import Statements
from embedmill.storage.postgres.table.table_spec import TableSpec, check_dimension, find
from embedmill.storage.table_reader import TableReader

from psycopg import sql  # isort: skip - after the module that says what to install
from psycopg.rows import args_row  # isort: skip


class PostgresTableReader(TableReader):
    """A table of which nothing is changed.

    Every method tries again for `db_timeout` seconds what fails for reasons that pass, and then raises `StoreError`.
    """

    spec: TableSpec

    def __init__(self, url: str, name: str, asked: TableRequest) -> None:
        """Find the table; changes nothing yet."""
        self._index_options = asked.index or IndexOptions()
        self._dsn = url
        self._longest = asked.longest
        self._catalog = Catalog(asked.schema)
        self._parameters: dict[str, Any] = {"overwrite": False, "redone_from": 0, "again": False, "empty": EMPTY_TEXT}
        self._session = TableSession(url, asked.db_timeout)
        try:
            self.spec = self._session.read(
                lambda connection: find(connection, name, asked, lambda spec: self._catalog.find(connection, spec))
            )
            if self._catalog.owns(self.spec):
                raise UsageError(f"{self.spec.title} is a table of embedmill's own: give one of yours")
        except BaseException:
            self._session.close()
            raise
        self._use_marks(self._catalog.marks(0))

    @property
    def url(self) -> str:
        """The database, without the password."""
        return redact_url(self._dsn)

    def check(self, fingerprint: Fingerprint, model: str, *, overwrite: bool = False) -> None:
        """Raise what `bind` would raise for vectors of this space; changes nothing."""
        check_dimension(self.spec, fingerprint.space.dimension, model)
        self._index.check(fingerprint.space.dimension)
        known = self._known()
        if known is not None and not overwrite:
            self._session.read(lambda connection: self._catalog.check(connection, self.spec, known, fingerprint, model))

    def counts(self) -> Counts:
        """How the table stood when the run began, or stands where none has; reads all of it."""
        known = self._known() is not None
        make, query = (Counts, self._statements.counts) if known else (_bare_counts, self._statements.count_rows)
        (counts,) = self._session.read_detached(lambda db: db.records(make, query, self._parameters))
        return counts

    def sample(self, limit: int) -> list[str]:
        """Its first texts, in the order of their keys."""
        query = self._statements.sample
        contents = self._session.read(lambda db: db.scalars(query, {"limit": limit}))
        return [text for content in contents if (text := decoded(content)) is not None]

    def verify(self, look: Callable[[Stored], None] = lambda _: None) -> Iterator[Finding]:
        """See `CheckedTable`; the rows as they were when that began."""
        entry = self._known()
        if entry is None or entry.space is None:
            return
        indexes = self._session.read(self._index.existing)
        values = self._parameters | {"longest": self._longest, "table_name": self.spec.table.as_string(None)}
        with connect(self._dsn) as connection, translate_errors(self._dsn), connection.transaction():
            yield from problems(connection, self._statements, entry, indexes, values, look)

    def put_back(self, found: Sequence[Finding]) -> None:
        """See `CheckedTable`; nothing is done where the next run carries the marks over to other keys first."""
        entry = self._known()
        if entry is not None and entry.fits:
            self._session.write(lambda db: put_back(db, self._statements, found, self._parameters))
            if any(each.kind is DamageKind.INDEX for each in found):
                indexes = self._session.read(self._index.existing)
                self._session.read_detached(lambda db: rebuild(db, indexes))

    def failures(self) -> Iterator[RowFailure]:
        """The rows that have failed, in the order of their keys."""
        if self._known() is None:
            return
        query = self._statements.failures
        with (
            connect(self._dsn) as connection,
            translate_errors(self._dsn),
            connection.transaction(),
            # Of the server: there may be many.
            connection.cursor("embedmill_failures", row_factory=args_row(_failure)) as cursor,
        ):
            cursor.execute(query, {})
            yield from cursor

    def _stored_dimension(self) -> int | None:
        return self.spec.dimension

    def _index_names(self) -> str:
        indexes = self._session.read(self._index.existing)
        return ", ".join(f"{index.name} ({index.method})" for index in indexes if index.valid)

    def _known(self) -> CatalogEntry | None:
        """What earlier runs have noted of the table; None where there were none, or none that is of interest."""
        if self._entry is None and self.spec.vector and not self.spec.missing:
            self._session.read(self._look_up)
        return self._entry

    def _look_up(self, connection: Connection) -> None:
        found = self._entry = self._catalog.find(connection, self.spec)
        if found is not None:
            self._use_marks(self._catalog.marks_of(connection, self.spec, found))
            lock = self._catalog.lock(connection)
            self._parameters |= {"space": found.space, "run": 0, "lock": lock}

    @property
    def _index(self) -> VectorIndex:
        return VectorIndex(self.spec, self._index_options, self._session.retry)

    def finish_within(self, seconds: float) -> None:
        """From now on no answer is waited for longer than this; what need not be done now is not."""
        self._session.retry.finish_within(seconds)

    def close(self) -> None:
        """End it, and a run with it: what that holds is given back. May be called twice."""
        self._session.close()

    def _use_marks(self, marks: sql.Composable) -> None:
        tables = [self.spec.table, sql.Identifier(self.spec.schema, naming.metrics_name(self.spec.name))]
        self._session.retry.holders = lambda connection: blocking.holders(connection, tables)
        self._statements = Statements(self.spec, marks)
        before = self._entry.before if self._entry else None
        self.metrics = PostgresMetrics(self._session, MetricsStatements(self.spec, marks), before)


def _bare_counts(rows: int, without_text: int, filled: int) -> Counts:
    """Of a table of which nothing is known."""
    return Counts(rows, rows - filled, without_text, filled, 0)


def _failure(cause: str, message: str, attempts: int, *key: str) -> RowFailure:
    return RowFailure(key, Cause(cause, message), attempts)
