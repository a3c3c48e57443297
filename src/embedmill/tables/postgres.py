"""A PostgreSQL table whose rows get vectors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import numpy as np

from embedmill.closing import Closing
from embedmill.errors import RowsRefused, StoreError
from embedmill.fingerprint import Fingerprint
from embedmill.metrics import DIGEST_SIZE
from embedmill.postgres import schema as schemas
from embedmill.postgres.connecting import Connection, configure, connect, parameters, shown
from embedmill.postgres.names import Name
from embedmill.postgres.patience import DB_TIMEOUT, Patience
from embedmill.postgres.vectors import copy_buffer
from embedmill.records import Cause
from embedmill.rows import Counts, Filled, IndexOptions, Key, Metrics, Row, RowFailure, TableStatus
from embedmill.tables import naming
from embedmill.tables.index import VectorIndex
from embedmill.tables.registered import Registered
from embedmill.tables.registry import Registry
from embedmill.tables.statements import MEASURED, STAGING, Statements
from embedmill.tables.target import check_dimension, create_column, find

import psycopg  # isort: skip - after the module that says what to install
from psycopg import errors, sql  # isort: skip
from psycopg_pool import ConnectionPool  # isort: skip

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_WRITERS: Final = 8  # connections that write at once

_PLANS: Final = {
    # Pages and batches are looked up row by row through the key's index, however old the statistics of a table are
    # that is just being filled. Compiling such small queries would take longer than they do.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}
_IN_ORDER: Final = _PLANS | {"enable_sort": "off"}

_REFUSED: Final = ("22", "23", "44", "P0")
"""Classes of errors that one row may cause for all of its batch: data, constraints, views' checks, triggers."""


class PostgresTable(Closing):
    """A `Table` in PostgreSQL.

    A run is a number and an advisory lock, held by the connection that claims rows. What a run has claimed is its own
    until that connection ends, however it ends. Nothing of the user's is locked meanwhile.

    Every method tries again for `db_timeout` seconds what fails for reasons that pass, and then raises `StoreError`.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        id: Sequence[str] = (),  # noqa: A002 - as the option
        text: str | None = None,
        vector: str | None = None,
        create: bool = False,
        halfvec: bool = False,
        schema: str = schemas.DEFAULT_SCHEMA,
        longest: int,
        db_timeout: float = DB_TIMEOUT,
        index: IndexOptions | None = None,
        metrics_only: bool = False,
    ) -> None:
        """Find the table; changes nothing yet. Texts of more than `longest` characters are not read."""
        self._index_options = index or IndexOptions()
        self._dsn = url
        self._patience = Patience(url, db_timeout)
        self._longest = longest
        self._registry = Registry(schemas.check_name(schema))
        self._registered: Registered | None = None
        self._run = 0
        self._dimension = 0  # of the vectors, once the run has begun
        self._outstanding: set[int] = set()  # marks that are claimed, and neither written nor failed yet
        self._reading = threading.RLock()
        self._reader: Connection | None = connect(url, **_IN_ORDER)
        self._parameters: dict[str, Any] = {"overwrite": False, "again": False}
        try:
            self.target = find(
                self._reader,
                url,
                name,
                keys=id,
                text=text,
                vector=vector,
                create=create,
                halfvec=halfvec,
                needs_vector=not metrics_only,
            )
        except BaseException:
            self._reader.close()
            raise
        self._statements = self._with_marks(0)
        self._pool = ConnectionPool(
            parameters(url),
            kwargs={"autocommit": True, "prepare_threshold": None},
            connection_class=_Counted,
            min_size=0,
            max_size=MOST_WRITERS,
            configure=self._prepare_writer,
            timeout=10.0,
            reconnect_timeout=10.0,
            open=True,
        )

    @property
    def url(self) -> str:
        """The database, without the password."""
        return shown(self._dsn)

    @property
    def name(self) -> str:
        """``schema.table``."""
        return self.target.title

    @property
    def columns(self) -> tuple[str, str]:
        """The columns that are read and filled."""
        return self.target.text, self.target.vector

    # Beginning

    def bind(self, fingerprint: Fingerprint, model: str, *, overwrite: bool = False, again: bool = False) -> None:
        """Begin a run that fills the column with vectors of this space; creates the column if that was asked for.

        `overwrite` takes rows with vectors of another origin too, `again` those that have failed. Raises
        `SpaceMismatch` where the column holds vectors of another space or dimension.
        """
        dimension = self._dimension = fingerprint.space.dimension
        check_dimension(self.target, dimension, model)
        self._index.check(dimension)

        def begin() -> None:
            connection = self._connection()
            schemas.migrate(connection, self._dsn, self._registry.schema, self.target.extension)
            if self.target.missing:
                self.target = create_column(connection, self._dsn, self.target, dimension)
            self._registered = self._registry.bind(connection, self.target, fingerprint, model, overwrite=overwrite)
            self._statements = self._with_marks(self._registered.id)
            self._run = self._registry.next_run(connection)
            self._parameters = {
                "space": fingerprint.space.id,
                "run": self._run,
                "table": self._registered.id,
                "lock": self._registry.lock(connection),
                "overwrite": overwrite,
                "again": again,
                "longest": self._longest,
            }
            self._hold(connection)
            if self.first_fill or overwrite:
                self._index.hint(connection)

        with self._reading:
            self._patience(begin, self._reconnect)

    def _hold(self, connection: Connection) -> None:
        connection.execute("SELECT pg_advisory_lock(%(lock)s::integer, %(run)s::integer)", self._parameters)

    # Rows that need a vector

    def claim(self, after: Key | None, limit: int) -> list[Row]:
        """The next rows that need a vector, behind this key, in the order of their keys; they are this run's now."""
        query = self._statements.claim(after=after is not None)
        values = self._parameters | {"limit": limit} | _key(after)

        def work() -> list[tuple[Any, ...]]:
            connection = self._connection()
            with connection.pipeline(), connection.transaction():  # one round trip
                # One after another: two runs would claim the same page, and one of them get nothing.
                connection.execute(
                    "SELECT pg_advisory_xact_lock((%(lock)s::bigint << 32) + %(table)s)", self._parameters
                )
                found = connection.execute(query, values)
            return found.fetchall()

        with self._reading:
            rows = self._patience(work, self._give_back)
            claimed = [self._row(*row) for row in rows]
            self._outstanding.update(row.mark for row in claimed)
        return claimed

    def _row(self, mark: int, size: int, text: str | None, *key: str) -> Row:
        if text is None:
            message = f"the text has {size:,} characters, at most {self._longest:,} are taken: see --max-text"
            return Row(mark, key, "", Cause("TooLong", message))
        return Row(mark, key, text)

    def _give_back(self, error: BaseException) -> None:
        """After a claim whose answer is lost: what was claimed unknown to us is anybody's again."""
        self._reconnect(error)
        query = sql.SQL("UPDATE {} SET held = false WHERE held AND run = %s AND id <> ALL (%s::bigint[])").format(
            self._statements.marks
        )
        self._patience(lambda: self._connection().execute(query, [self._run, list(self._outstanding)]), self._reconnect)

    def held_elsewhere(self) -> int:
        """How many rows other living runs hold."""
        with self._reading:
            return int(self._one(self._statements.held_elsewhere)[0])

    def counts(self) -> Counts:
        """How the table stood when the run began, or stands where none has; reads all of it."""
        if self._known() is None:
            rows, without, filled = self._elsewhere(self._statements.count_rows)
            return Counts(rows, rows - filled, without, filled, 0)
        return Counts(*self._elsewhere(self._statements.counts))

    def status(self) -> TableStatus:
        """What is known of the table; reads all of it."""
        known, counts = self._known(), self.counts()
        with self._reading:
            indexes = self._patience(lambda: self._index.existing(self._connection()), self._reconnect)
        return TableStatus(
            store=self.url,
            table=self.target.title,
            text=self.target.text,
            vector=self.target.vector,
            counts=counts,
            model=known.model if known else None,
            space=known.space if known else None,
            dimension=self.target.dimension,
            index=", ".join(f"{index.name} ({index.method})" for index in indexes if index.valid),
        )

    def sample(self, limit: int) -> list[str]:
        """Its first texts, in the order of their keys."""
        with self._reading:
            return [row[0] for row in self._connection().execute(self._statements.sample, {"limit": limit})]

    def _known(self) -> Registered | None:
        """What earlier runs have noted of the table; None where there were none, or none that is of interest."""
        if self._registered is None and self.target.vector and not self.target.missing:
            with self._reading:
                connection = self._connection()
                if schemas.version(connection, self._registry.schema, self._dsn) > 0:
                    self._registered = self._registry.find(connection, self.target)
                if self._registered is not None:
                    self._statements = self._with_marks(self._registered.id)
                    self._parameters |= {
                        "space": self._registered.space,
                        "run": 0,
                        "lock": self._registry.lock(connection),
                    }
        return self._registered

    # Writing: from several threads

    def write(self, rows: Sequence[Filled]) -> int:
        """Write these rows' vectors and metrics, all in one transaction, or none.

        Returns how many were left out, because their text has changed meanwhile or they are gone. Raises
        `RowsRefused` where the database refuses the data.
        """
        ordered = sorted(rows, key=lambda filled: filled.row.mark)  # as everybody does: no deadlocks among runs
        metrics = [filled.metrics for filled in ordered if filled.metrics is not None]
        columns: dict[str, np.ndarray[Any, Any]] = {
            "mark": np.array([filled.row.mark for filled in ordered], np.int64),
            "vector": np.stack([filled.vector for filled in ordered]),
        }
        if metrics:
            columns |= {
                "characters": np.array([each.characters for each in metrics], np.int32),
                "words": np.array([each.words for each in metrics], np.int32),
                "tokens": np.array([each.tokens for each in metrics], np.int32),
                "digest": np.array([each.digest for each in metrics], f"S{DIGEST_SIZE}"),
            }
        buffer = copy_buffer(columns, vector=self.target.kind)
        copying = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            STAGING, sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        fill = self._statements.fill(measured=bool(metrics))

        def work() -> int:
            with self._pool.connection() as connection, connection.transaction():
                with connection.cursor().copy(copying) as copy:
                    copy.write(buffer)
                written = connection.execute(fill, self._parameters).rowcount
                if written == len(rows):
                    return 0
                ids = {"ids": columns["mark"].tolist()}
                return connection.execute(self._statements.release, self._parameters | ids).rowcount

        changed = self._accepted(lambda: self._patience(work))
        self._outstanding.difference_update(filled.row.mark for filled in rows)
        return changed

    def fail(self, failures: Sequence[tuple[Row, Cause]]) -> None:
        """Put on record why these rows have no vector; they are not tried again by themselves."""
        values = self._parameters | {
            "marks": [row.mark for row, _ in failures],
            "causes": [cause.type for _, cause in failures],
            "messages": [cause.message.replace("\0", "\ufffd") for _, cause in failures],
        }
        self._patience(lambda: self._written(self._statements.fail, values))
        self._outstanding.difference_update(row.mark for row, _ in failures)

    # The end

    def tidy(self) -> int:
        """Forget rows that are gone; take the vectors of those whose text is NULL now. Returns how many rows went."""

        def work() -> int:
            with self._pool.connection() as connection, connection.transaction():
                if not self.target.vector_not_null:
                    connection.execute(self._statements.clear_without_text)
                return connection.execute(self._statements.remove_marks, self._parameters).rowcount

        return self._patience(work)

    @property
    def _index(self) -> VectorIndex:
        return VectorIndex(self._dsn, self.target, self._index_options)

    def build_index(self, show: Callable[[str, float | None], None], stopped: Callable[[], bool]) -> str:
        """Build the index that was asked for; what became of it, in a few words, "" for nothing.

        `show` is told what is being done, and how much of that. When `stopped` says so, it is given up.
        """
        return self._index.finish(first_fill=self.first_fill, dimension=self._dimension, show=show, stopped=stopped)

    def note_filled(self) -> None:
        """Note that a run has come to its end: the next one is no first fill."""
        registered = self._registered
        if registered is not None:
            with self._reading:
                self._patience(lambda: self._registry.note_filled(self._connection(), registered.id), self._reconnect)

    @property
    def first_fill(self) -> bool:
        """Whether no run had come to its end before this one."""
        return self._registered is None or not self._registered.filled

    # Metrics

    def prepare_metrics(self) -> None:
        """Create the table of metrics where there is none. Raises `StoreError` where the name is taken."""
        with self._reading:
            self._patience(self._create_metrics, self._reconnect)

    def _create_metrics(self) -> None:
        connection = self._connection()
        metrics = sql.Identifier(self.target.schema, naming.metrics_name(self.target.name))
        naming.check_metrics_keys(self.target.keys, self.target.title)
        with suppress(errors.UniqueViolation):  # another run is creating it
            connection.execute(self._statements.create_metrics)
        found = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            [metrics.as_string(connection)],
        )
        naming.check_metrics_table([name for (name,) in found], self.target.keys, self.target.title)

    def unmeasured(self, after: Key | None, limit: int) -> list[tuple[Key, str]]:
        """The next rows, behind this key, whose metrics are missing or of an older text."""
        query = self._statements.unmeasured(after=after is not None)
        values = {"limit": limit} | _key(after)
        with self._reading:
            rows = self._patience(lambda: self._connection().execute(query, values).fetchall(), self._reconnect)
        return [(key, text) for text, *key_list in rows for key in (tuple(key_list),)]

    def write_metrics(self, rows: Sequence[tuple[Key, bytes, Metrics]]) -> None:
        """Write the metrics of these rows; each comes with the hash of the text that they are of."""
        columns = [f"key{number}" for number, _ in enumerate(self.target.keys, 1)]
        columns += ["hash", "characters", "words", "tokens", "digest"]
        copying = sql.SQL("COPY {} ({}) FROM STDIN").format(MEASURED, sql.SQL(", ").join(map(sql.Identifier, columns)))

        def work() -> None:
            with self._pool.connection() as connection, connection.transaction():
                with connection.cursor().copy(copying) as copy:
                    for key, digest, each in rows:
                        copy.write_row((*key, digest, each.characters, each.words, each.tokens, each.digest))
                connection.execute(self._statements.write_metrics)

        self._patience(work)

    def finish_metrics(self) -> None:
        """Count how often each text stands in the table; forget rows that are gone."""

        def work() -> None:
            with self._pool.connection() as connection, connection.transaction():
                # Two runs that end together would wait for each other's rows.
                lock = f"embedmill metrics {self.target.title}"
                connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [lock])
                # All rows at once: here the planner may choose.
                connection.execute(
                    "SELECT set_config('enable_hashjoin', 'on', true), set_config('enable_seqscan', 'on', true)"
                )
                connection.execute(self._statements.remove_metrics)
                connection.execute(self._statements.count_frequencies)

        self._patience(work)

    # What is known

    def failures(self) -> Iterator[RowFailure]:
        """The rows that have failed, in the order of their keys."""
        if self._known() is None:
            return
        with (
            self._pool.connection() as connection,
            connection.transaction(),
            connection.cursor("embedmill_failures") as cursor,  # of the server: there may be many
        ):
            cursor.execute(self._statements.failures)
            for cause, message, attempts, *key in cursor:
                yield RowFailure(tuple(key), Cause(cause, message), attempts)

    def close(self) -> None:
        """End the run: what it holds is given back. May be called twice."""
        with self._reading:
            self._pool.close(timeout=2.0)
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    # Connections

    def _with_marks(self, number: int) -> Statements:
        metrics = Name(self.target.schema, naming.metrics_name(self.target.name))
        return Statements(self.target, self._registry.marks(number), metrics)

    def _connection(self) -> Connection:
        if self._reader is None:
            raise StoreError(f"table {self.target.title} is closed")
        return self._reader

    def _reconnect(self, error: BaseException) -> None:
        """A new connection for claims, if the old one is lost; the run goes on under its number."""
        connection = self._connection()
        if not connection.closed and not connection.broken:
            return
        with suppress(StoreError, psycopg.Error):  # the next attempt meets the same
            opened = connect(self._dsn, **_IN_ORDER)
            try:
                if self._run:
                    self._hold(opened)
            except BaseException:
                opened.close()
                raise
            self._reader = opened

    def _prepare_writer(self, connection: Connection) -> None:
        configure(connection, **_PLANS)
        connection.execute(self._statements.create_staging)

    def _one(self, query: sql.Composed) -> tuple[Any, ...]:
        return self._patience(
            lambda: self._connection().execute(query, self._parameters).fetchone() or (), self._reconnect
        )

    def _elsewhere(self, query: sql.Composed) -> tuple[Any, ...]:
        """One row of a query over the whole table, on a connection of its own."""

        def work() -> tuple[Any, ...]:
            with connect(self._dsn) as connection:
                return connection.execute(query, self._parameters).fetchone() or ()

        return self._patience(work)

    def _written(self, query: sql.Composed, values: dict[str, Any]) -> None:
        with self._pool.connection() as connection:
            connection.execute(query, values)

    def _accepted(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except StoreError as error:
            cause = error.__cause__
            if isinstance(cause, psycopg.Error) and (cause.sqlstate or "")[:2] in _REFUSED:
                raise RowsRefused(str(error)) from cause
            raise


class _Counted(psycopg.Connection[tuple[Any, ...]]):
    """A writer's connection; says so where the server has no room for it."""

    @classmethod
    def connect(cls, *arguments: Any, **options: Any) -> Any:
        try:
            return super().connect(*arguments, **options)
        except psycopg.OperationalError as error:
            if "too many" in str(error) or "connection slots" in str(error):
                log.warning("the server takes no more connections: fewer writers go on (max_connections)")
            raise


def _key(after: Key | None) -> dict[str, Any]:
    return {f"key{number}": value for number, value in enumerate(after or (), 1)}
