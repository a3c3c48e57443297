"""The HNSW index over a table's vectors, built when they are there."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from embedmill.core.errors import StoreError, UsageError
from embedmill.core.rows import DISTANCES, IndexOptions
from embedmill.storage.postgres import pgvector
from embedmill.storage.postgres.blocking import BRIEFLY, sessions
from embedmill.storage.postgres.connection import Connection, connect, end_with_client
from embedmill.storage.postgres.retry import Retry
from embedmill.storage.postgres.table.table_spec import TableSpec

import psycopg  # isort: skip - after the module that says what to install
from psycopg import errors, sql  # isort: skip

log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 0.5  # seconds

_SAY_AFTER: Final = 5.0  # seconds that a build waits for others' transactions

_OF_THE_SERVER: Final = ["btree", "hash", "gin", "gist", "spgist", "brin"]
"""Kinds of indexes that do not find near vectors."""

_STOPPED: Final = "none: stopped before it was built"

Show = Callable[[str, float | None], None]


@dataclass(frozen=True, slots=True)
class Existing:
    """An index on the vector column."""

    name: str
    schema: str
    method: str
    valid: bool  # not the rest of a build that was killed
    distance: str  # a key of `DISTANCES`, or "" for another


class VectorIndex:
    """The index of one table's vectors."""

    def __init__(self, spec: TableSpec, options: IndexOptions, retry: Retry) -> None:
        self._retry = retry
        self._spec = spec
        self._options = options

    def check(self, dimension: int) -> None:
        """Say before the work what could not be built after it; raises `UsageError` where it was asked for."""
        most = pgvector.MOST_INDEXED[self._spec.kind]
        if dimension <= most or self._options.method == "none":
            return
        remedy = (
            f"give --halfvec with --create (up to {pgvector.MOST_INDEXED['halfvec']:,})"
            if self._spec.kind == "vector" and dimension <= pgvector.MOST_INDEXED["halfvec"]
            else "take a model with fewer"
        )
        message = (
            f"{self._spec.title}.{self._spec.vector}: an HNSW index takes at most {most:,} dimensions of "
            f"{self._spec.kind}, the model has {dimension:,}: {remedy}, or --index none"
        )
        if self._options.method == "hnsw":
            raise UsageError(message)
        log.warning("%s", message)

    def hint(self, connection: Connection) -> None:
        """Say where dropping an index before the load would be faster, by what the server thinks of its size."""
        query = "SELECT reltuples FROM pg_class WHERE oid = %s::regclass"
        rows = connection.scalar(query, [self._spec.table.as_string(connection)])
        for index in self.existing(connection):
            if index.valid and rows > pgvector.INDEX_WORTH_IT:
                log.warning(
                    "%s %s slows this load down, some five times per row: DROP INDEX %s first, and --index hnsw builds "
                    "it anew at the end",
                    index.method,
                    index.name,
                    sql.Identifier(index.schema, index.name).as_string(connection),
                )

    def existing(self, connection: Connection) -> list[Existing]:
        """The indexes for near vectors on the column, alone or in an expression."""
        query = """
            SELECT c.relname, n.nspname, m.amname, i.indisvalid,
                      (SELECT opcname FROM pg_opclass WHERE oid = i.indclass[0])
               FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
               JOIN pg_namespace n ON n.oid = c.relnamespace
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = %s
               WHERE i.indrelid = %s::regclass AND m.amname <> ALL (%s)
               AND (a.attnum = ANY (i.indkey::smallint[])
                    OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                               AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))
               ORDER BY c.relname"""
        values = [self._spec.vector, self._spec.table.as_string(connection), _OF_THE_SERVER]
        return connection.records(_existing, query, values)

    def finish(self, *, first_fill: bool, dimension: int, show: Show, stopped: Callable[[], bool]) -> str:
        """Build the index if it is wanted and not there; what became of it, in a few words ("" for nothing).

        Raises `StoreError` where it cannot be built.
        """
        if self._options.method == "none" or (self._options.method == "auto" and not first_fill):
            return ""

        def attempt() -> str:
            with self._retry.dial() as connection, self._retry.use(connection):
                try:
                    return self._finish(connection, dimension, show, stopped)
                except errors.QueryCanceled as error:
                    if stopped():
                        return _STOPPED
                    raise StoreError(
                        f"{connection.shown}: the index was cancelled while it was built: give --index hnsw to build it"
                    ) from error

        return self._retry(attempt)

    def _finish(self, connection: Connection, dimension: int, show: Show, stopped: Callable[[], bool]) -> str:
        connection.execute("SELECT set_config('lock_timeout', '0', false)")  # a build waits as long as it takes
        end_with_client(connection)
        if not self._alone(connection, show, stopped):
            return _STOPPED
        explicit = self._options.method == "hnsw"
        existing = self.existing(connection)
        valid = [index for index in existing if index.valid]
        same = [index for index in valid if index.method == "hnsw" and index.distance == self._options.distance]
        if same or (valid and not explicit):
            index = (same or valid)[0]
            return f"{index.method} {index.name} was there, kept"
        with self._retry.use(connection, needless=True):
            count = sql.SQL("SELECT count({}) FROM {}").format(sql.Identifier(self._spec.vector), self._spec.rows)
            rows = int(connection.scalar(count))
        if not explicit and rows <= pgvector.INDEX_WORTH_IT:
            return ""
        if dimension > pgvector.MOST_INDEXED[self._spec.kind]:
            return f"none: {dimension:,} dimensions are too many for hnsw"
        if self._spec.dimension is None:
            log.warning(
                "%s.%s has no dimension of its own, so that no index can be built: ALTER its type to %s(%d)",
                self._spec.title,
                self._spec.vector,
                self._spec.kind,
                dimension,
            )
            return "none: the column has no dimension"
        for index in existing:
            if not index.valid and index.method == "hnsw" and index.name.startswith(_stem(self._spec, "_hnsw")):
                self._drop(connection, index.name)  # the rest of a build that was killed
        done = self._build(connection, rows, dimension, show, stopped)
        return ", beside ".join([done, *(f"{index.method} {index.name}" for index in valid)])

    def _alone(self, connection: Connection, show: Show, stopped: Callable[[], bool]) -> bool:
        """Wait until no other run builds it; False if stopped before.

        Looks again and again, since a build waits for every transaction that waits for it.
        """
        key = self._spec.lock(f"index {sql.Identifier(self._spec.vector).as_string(None)}")
        query = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
        while not connection.scalar(query, [key]):
            show("waiting for the index that another run builds", None)
            if stopped():
                return False
            time.sleep(_LOOK_EVERY)
        return True

    def _build(self, connection: Connection, rows: int, dimension: int, show: Show, stopped: Callable[[], bool]) -> str:
        name = _free_name(connection, self._spec)
        # A partitioned table can only be locked for it.
        how = sql.SQL("" if self._spec.partitioned else "CONCURRENTLY")
        operators = f"{self._spec.kind}_{DISTANCES[self._options.distance]}_ops"
        statement = sql.SQL("CREATE INDEX {} {} ON {} USING hnsw ({} {}) WITH (m = {}, ef_construction = {})").format(
            how,
            sql.Identifier(name),
            self._spec.table,
            sql.Identifier(self._spec.vector),
            sql.Identifier(self._spec.extension, operators),
            sql.Literal(self._options.m),
            sql.Literal(self._options.ef_construction),
        )
        for workers in pgvector.index_attempts(connection, rows, dimension, kind=self._spec.kind, m=self._options.m):
            try:
                with _watched(connection, show, stopped):
                    if self._spec.partitioned:
                        self._locked(connection, statement)
                    else:
                        connection.execute(statement)
            except pgvector.TOO_LITTLE_MEMORY:
                self._drop(connection, name)
                if not workers:
                    raise
            except BaseException:
                self._drop(connection, name)
                raise
            else:
                break
        return f"hnsw {name} built over {rows:,} rows"

    def _locked(self, connection: Connection, statement: sql.Composed) -> None:
        """Build it in a transaction that keeps others from writing; who waits for that makes nobody wait behind.

        Raises `errors.LockNotAvailable` where others write just now: to be tried again.
        """
        with connection.transaction():
            connection.set_local(lock_timeout=BRIEFLY)
            connection.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(self._spec.table))
            connection.set_local(lock_timeout="0")
            connection.execute(statement)

    def _drop(self, connection: Connection, name: str) -> None:
        """Remove what a failed build has left; one that is not concurrent leaves nothing."""
        if connection.closed or connection.broken or self._spec.partitioned:
            return
        index = sql.Identifier(self._spec.schema, name)
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(index))


def _existing(name: str, schema: str, method: str, valid: bool, operators: str) -> Existing:
    """With what a class of pgvector's operators measures."""
    distance = next((name for name, part in DISTANCES.items() if operators.endswith(f"_{part}_ops")), "")
    return Existing(name, schema, method, valid, distance)


def _stem(spec: TableSpec, ending: str) -> str:
    """``<table>_<vector>`` and the ending, within the 63 bytes of a name."""
    return f"{spec.name}_{spec.vector}".encode()[: 63 - len(ending)].decode(errors="ignore") + ending


def _free_name(connection: Connection, spec: TableSpec) -> str:
    """``<table>_<vector>_hnsw``, counted up where that is taken."""
    for number in range(1, 1000):
        name = _stem(spec, "_hnsw" if number == 1 else f"_hnsw{number}")
        query = """
            SELECT true FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relname = %s AND n.nspname = %s"""
        if not connection.scalar(query, [name, spec.schema]):
            return name
    raise StoreError(f"{spec.title}: there are a thousand indexes of the name {spec.name}_{spec.vector}_hnsw")


_PROGRESS: Final = """
    SELECT pg_blocking_pids(a.pid), phase, coalesce(blocks_done::float8 / nullif(blocks_total, 0),
                                                    tuples_done::float8 / nullif(tuples_total, 0))
    FROM pg_stat_activity a LEFT JOIN pg_stat_progress_create_index USING (pid) WHERE a.pid = %s
"""
"""The processes that a build waits for, what it does, and how far it is; nothing of either where it does nothing."""


@contextmanager
def _watched(building: Connection, show: Show, stopped: Callable[[], bool]) -> Iterator[None]:
    """Shows how far the index is that another connection builds, and cancels it when the run is stopped."""
    pid, ended = building.info.backend_pid, threading.Event()

    def watch() -> None:
        before = time.monotonic()  # when it last waited for nobody
        try:
            with connect(building.url) as connection:
                while not ended.wait(_LOOK_EVERY):
                    if stopped():
                        connection.execute("SELECT pg_cancel_backend(%s)", [pid])
                    for holders, phase, share in connection.execute(_PROGRESS, [pid]):
                        before = before if holders else time.monotonic()
                        if holders and time.monotonic() > before + _SAY_AFTER:
                            before = math.inf  # said once
                            log.warning(
                                "the index waits for %s, whose transaction is older", sessions(connection, holders)
                            )
                        if holders:
                            waiting = f"{phase or 'waiting'} (process {holders[0]} of the server)"
                            show(f"building the index: {waiting}", None)
                        elif phase is not None:
                            show(f"building the index: {phase}", share)
        except (StoreError, psycopg.Error) as error:  # the build itself goes on
            log.info("%s: the index's progress cannot be shown: %s", building.shown, error)

    show("building the index", None)
    thread = threading.Thread(target=watch, name="embedmill-index", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
