"""A PostgreSQL table whose rows get vectors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from embedmill.core.errors import RowsRefused, StoreError, UsageError
from embedmill.core.rows import DIGEST_SIZE, Filled, Key, Row, Stored, too_long
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Cause
from embedmill.storage.postgres import blocking
from embedmill.storage.postgres import migrate as schemas
from embedmill.storage.postgres.connection import Connection, require_primary
from embedmill.storage.postgres.copy_format import copy_buffer
from embedmill.storage.postgres.pgvector import require_vector
from embedmill.storage.postgres.retry import as_refusal
from embedmill.storage.postgres.table import table_spec
from embedmill.storage.postgres.table.reader import PostgresTableReader
from embedmill.storage.postgres.table.sql_parts import STAGING, decoded, place
from embedmill.storage.postgres.table.statements import alone
from embedmill.storage.postgres.table.swap import index_of, swap
from embedmill.storage.table_reader import warn_of_kept

import psycopg  # isort: skip - after the module that says what to install
from psycopg import sql  # isort: skip
from psycopg.rows import args_row  # isort: skip

log = logging.getLogger(__name__)


class OutstandingRows:
    """The rows that a run has claimed, and neither written nor failed yet, by tracking id. For several threads."""

    def __init__(self) -> None:
        self._using = threading.Lock()
        self._claimed: set[int] = set()
        self._left: set[int] = set()  # as they were, since others have locked them

    def add(self, ids: Iterable[int]) -> None:
        """These have been claimed."""
        with self._using:
            self._claimed.update(ids)

    def all(self) -> list[int]:
        """All of them."""
        with self._using:
            return list(self._claimed)

    def leave(self, ids: set[int]) -> None:
        """These have been left as they were, since others have locked them: they stay claimed."""
        with self._using:
            self._left |= ids

    def settle(self, ids: Iterable[int]) -> None:
        """These have been written, have failed or were given up, but for those that were left."""
        with self._using:
            self._claimed.difference_update(set(ids) - self._left)

    def take_left(self, ids: Iterable[int]) -> set[int]:
        """Those of these that were left; each is told once."""
        with self._using:
            left = self._left.intersection(ids)
            self._left -= left
        return left


class PostgresTable(PostgresTableReader):
    """A `Table` in PostgreSQL.

    A run is a number and an advisory lock, held by the connection that claims rows. What a run has claimed is its own
    until that connection ends, however it ends. Nothing of the user's is locked meanwhile.
    """

    _dimension = 0  # of the vectors, once the run has begun
    _triggers = False  # a change of the table may set off others
    _outstanding: OutstandingRows  # the rows of the run

    def bind(self, fingerprint: Fingerprint, model: str, *, overwrite: bool = False, again: bool = False) -> None:
        """Begin a run that fills the column with vectors of this space; creates the column if that was asked for.

        `overwrite` takes rows with vectors too, whoever wrote these, `again` those that have failed. Raises
        `SpaceMismatch` where the column holds vectors of another space or dimension.
        """
        self._session.require_own()
        self._outstanding = OutstandingRows()
        dimension = self._dimension = fingerprint.space.dimension
        table_spec.check_dimension(self.spec, dimension, model)
        self._index.check(dimension)

        def begin(connection: Connection) -> None:
            require_primary(connection)
            if not self.spec.extension:
                self.spec = replace(self.spec, extension=require_vector(connection))
            if not self.spec.missing:
                table_spec.check_rights(connection, self.spec)
            schemas.migrate(connection, self._catalog.schema, self.spec.extension)
            if self.spec.missing:
                self.spec = table_spec.create_column(connection, self.spec, dimension)
                table_spec.check_rights(connection, self.spec)
            entry = self._catalog.bind(connection, self.spec, fingerprint, model, overwrite=overwrite)
            self._entry = entry
            self._use_marks(self._catalog.marks(entry.id))
            run = self._catalog.next_run(connection)
            lock = self._catalog.lock(connection)
            self._parameters |= {
                "space": fingerprint.space.id,
                "run": run,
                "table": entry.id,
                "lock": lock,
                "overwrite": overwrite,
                "redone_from": self._catalog.overwrite_from(connection, entry.id, run) if overwrite else 0,
                "again": again,
                "longest": self._longest,
                "relation": self.spec.oid,
                "table_name": self.spec.table.as_string(None),
                "column": self.spec.vector,
                "number": self.spec.number,
            }
            self._triggers = table_spec.has_triggers(connection, self.spec)
            self._session.hold(lock, run)
            # One who changes the names of columns waits for the locks of living runs: whoever had begun before is seen.
            connection.execute(sql.SQL("SELECT FROM {} LIMIT 0").format(self.spec.table))
            table_spec.check_unchanged(connection, self.spec)
            if self.first_fill or overwrite:
                self._index.hint(connection)

        self._session.read(begin)

    def sample_rows(self, limit: int) -> list[Stored]:
        """See `ReembeddableTable`, as for what follows."""
        if self._known() is None:
            return []
        values = self._parameters | {"limit": limit, "longest": self._longest}
        query = self._statements.sample_rows
        found = self._session.read_detached(lambda db: db.execute(query, values).fetchall())
        texts = ((decoded(content), vector, key) for content, vector, *key in found)
        return [Stored(tuple(key), text, np.array(vector, np.float32)) for text, vector, key in texts if text]

    def rebind(self, fingerprint: Fingerprint, model: str) -> None:
        """Marks are those of the rows, whatever the table has been called."""

        def work(connection: Connection) -> None:
            require_primary(connection)
            schemas.migrate(connection, self._catalog.schema, self.spec.extension)
            self._catalog.rebind(connection, self.spec, fingerprint, model)

        self._session.read(work)
        self._entry = None
        self._known()

    def like_it(self) -> Mapping[str, Any]:
        """The index is one for the same searches, where this column has one."""
        if self.spec.vector_not_null:
            raise UsageError(
                f"{self.spec.title}.{self.spec.vector} is NOT NULL, which a column that is filled beside it cannot be: "
                f"ALTER TABLE {self.spec.title} ALTER {self.spec.vector} DROP NOT NULL first"
            )
        index = self._session.read(lambda connection: index_of(connection, self.spec))
        alike = {"id": list(self.spec.keys), "text": self.spec.text, "halfvec": self.spec.kind == "halfvec"}
        return alike if index is None else alike | {"index": index}

    def swap(self, column: str) -> None:
        """Views and indexes follow their column, not its name."""
        self._session.read(
            lambda connection: swap(connection, self.spec, column, self._catalog.tables, self._parameters)
        )

    # Rows that need a vector

    def claim(self, after: Key | None, limit: int) -> list[Row]:
        """The next rows that need a vector, behind this key, in the order of their keys; they are this run's now."""
        query = alone(self._statements.claim(after=after is not None))
        values = self._parameters | {"limit": limit} | place(after)

        def work(connection: Connection) -> list[Row]:
            # All in one message: whatever becomes of us, the server does the whole of it, and keeps nobody waiting.
            with psycopg.ClientCursor(connection, row_factory=args_row(self._row)) as cursor:
                try:
                    cursor.execute(query, values)
                except psycopg.Error:
                    connection.rollback()
                    raise
                for _ in "lock", "claim":
                    cursor.nextset()
                return cursor.fetchall()

        claimed = self._session.read(work, self._give_back, needless=True)
        self._outstanding.add(row.tracking_id for row in claimed)
        if not claimed:
            self._session.read(lambda connection: table_spec.check_unchanged(connection, self.spec))
        return claimed

    def _row(self, mark: int, size: int, content: str | bytes | None, *key: str) -> Row:
        if content is None:
            return Row(mark, key, "", too_long(size, self._longest))
        text = decoded(content)
        return Row(mark, key, text or "", Cause("NotUnicode", "the text is not valid UTF-8") if text is None else None)

    def _give_back(self) -> None:
        """After a claim whose answer is lost: what was claimed unknown to us is anybody's again."""
        values = self._parameters | {"kept": self._outstanding.all()}
        self._session.read(lambda connection: connection.execute(self._statements.give_back, values))

    def claimed_by_others(self) -> int:
        """How many rows other runs have claimed, and not finished: dead ones have left theirs to this run."""
        query = self._statements.claimed_by_others
        return int(self._session.read(lambda db: db.scalar(query, self._parameters), needless=True))

    # Writing: from several threads

    def write(self, rows: Sequence[Filled]) -> int:
        """Write these rows' vectors and metrics, all in one transaction, or none.

        Returns how many were left out, because their text has changed meanwhile or they are gone; rows that others have
        locked are left out too (see `take_locked`). Raises `RowsRefused` where the database refuses the data.
        """
        ordered = sorted(rows, key=lambda filled: filled.row.tracking_id)  # as everybody does: no deadlocks among runs
        metrics = [filled.metrics for filled in ordered if filled.metrics is not None]
        columns: dict[str, np.ndarray[Any, Any]] = {
            "mark": np.array([filled.row.tracking_id for filled in ordered], np.int64),
            "vector": np.concatenate([filled.vector for filled in ordered]).reshape(len(ordered), -1),
        }
        if metrics:
            columns |= {
                "characters": np.array([each.characters for each in metrics], np.int32),
                "words": np.array([each.words for each in metrics], np.int32),
                "tokens": np.array([each.tokens for each in metrics], np.int32),
                "digest": np.array([each.digest for each in metrics], f"S{DIGEST_SIZE}"),
            }
        buffer = copy_buffer(columns, vector=self.spec.kind)
        copying = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            STAGING, sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        fill, free = (
            self._statements.fill(measured=bool(metrics), skipping=skips, rewritten=self._triggers)
            for skips in (False, True)
        )
        try:
            written, skipped = self._session.stage(
                self._statements.create_staging,
                copying,
                lambda copy: copy.write(buffer),
                fill,
                self._parameters,
                skipping=free,
            )
        except StoreError as error:
            refusal = as_refusal(error.__cause__)
            if refusal is None:
                raise
            self._session.read(
                lambda connection: table_spec.check_unchanged(connection, self.spec)
            )  # not a row's fault
            raise refusal from error.__cause__
        marks = columns["mark"].tolist()
        changed = 0
        if written < len(rows):
            self._session.read(lambda connection: table_spec.check_unchanged(connection, self.spec))
            changed = self._release(marks, skipped=skipped)
        if self._triggers:
            values = self._parameters | {"ids": marks}
            query = self._statements.count_rewritten
            changed += int(self._session.write(lambda db: db.scalar(query, values)))
        self._outstanding.settle(marks)
        return changed

    def _release(self, marks: Sequence[int], *, skipped: bool) -> int:
        """Give up those of these rows that were not written, but for those that are locked; how many they were.

        Raises `RowsRefused` where the texts of some are what they were, and nobody has locked them.
        """
        values = self._parameters | {"ids": marks}

        def look(connection: Connection) -> tuple[set[int], set[int]]:
            held, unchanged, free = (
                set[int](connection.scalars(query, values))
                for query in (
                    self._statements.held,
                    self._statements.unchanged(),
                    self._statements.unchanged(skipping=True),
                )
            )
            locked = unchanged - free if skipped else set[int]()
            if unchanged - locked:
                raise RowsRefused("a trigger or policy of the table keeps the vector out: let it be written")
            return held - locked, locked

        # By itself: where the answer to the next got lost, it could not be told any more how many they were.
        given_up, locked = self._session.write(look)
        if given_up:
            releasing = values | {"ids": list(given_up)}
            self._session.write(lambda connection: connection.execute(self._statements.release, releasing))
        self._outstanding.leave(locked)
        return len(given_up)

    def take_locked(self, rows: Sequence[Row]) -> set[int]:
        """The tracking ids of those rows that `write` or `fail` left as they were, since others have locked them.

        They are still this run's, and may be given again.
        """
        return self._outstanding.take_left(row.tracking_id for row in rows)

    def lockers(self, *, runs: bool = False) -> str:
        """Who holds locks on the table, or which other `runs` are at work, for people; "" for nobody."""
        if runs:
            return self._session.read(lambda connection: blocking.runs(connection, self._parameters["lock"]))
        return self._session.read(lambda connection: blocking.holders(connection, [self.spec.table]))

    def fail(self, failures: Sequence[tuple[Row, Cause]]) -> None:
        """Put on record why these rows have no vector; they are not tried again by themselves."""
        values = self._parameters | {
            "marks": [row.tracking_id for row, _ in failures],
            "causes": [cause.type for _, cause in failures],
            "messages": [cause.message.replace("\0", "\ufffd") for _, cause in failures],
        }

        def work(connection: Connection) -> tuple[list[RowsRefused], set[int]]:
            kept, locked = self._clear(connection, values["marks"])
            connection.execute(self._statements.fail, values | {"locked": list(locked)})
            return kept, locked

        kept, locked = self._session.write(work)
        warn_of_kept(self.name, kept)
        self._outstanding.leave(locked)
        self._outstanding.settle(values["marks"])

    def _clear(self, connection: Connection, marks: Sequence[int]) -> tuple[list[RowsRefused], set[int]]:
        """Take the vectors of these rows, which are not of their texts.

        Returns why some stay, and the rows among them that others have locked; the others are ours now.
        """
        if self.spec.vector_not_null or not marks:
            return [], set()
        values = self._parameters | {"marks": marks}
        all_, free = (
            set[int](connection.scalars(self._statements.to_clear(skipping=skips), values)) for skips in (False, True)
        )
        locked = all_ - free
        ours = [mark for mark in marks if mark not in locked]
        return self._clear_ours(connection, ours) if ours else [], locked

    def _clear_ours(self, connection: Connection, marks: Sequence[int]) -> list[RowsRefused]:
        """By halves where the table refuses; why some stay."""
        try:
            with connection.transaction():
                connection.execute(self._statements.clear, self._parameters | {"marks": marks})
        except psycopg.Error as error:
            refusal = as_refusal(error)
            if refusal is None:
                raise
            if len(marks) == 1:
                return [refusal]
            halves = marks[: len(marks) // 2], marks[len(marks) // 2 :]
            return [kept for half in halves for kept in self._clear_ours(connection, half)]
        return []

    # The end

    def prune(self) -> int:
        """Forget rows that are gone; take the vectors of those whose text is NULL now. Returns how many rows went."""

        def work(connection: Connection) -> tuple[list[RowsRefused], set[int], int]:
            textless = connection.scalars(self._statements.textless, self._parameters)
            kept, locked = self._clear(connection, textless)
            values = {"locked": list(locked)}
            return kept, locked, connection.execute(self._statements.remove_marks, self._parameters | values).rowcount

        kept, locked, removed = self._session.write(work, needless=True)
        warn_of_kept(self.name, kept)
        if locked:
            log.warning(
                "%s: %s without a text still %s a vector, since another session has locked %s: run again when it has "
                "ended",
                self.name,
                *("1 row", "has", "it") if len(locked) == 1 else (f"{len(locked):,} rows", "have", "them"),
            )
        return removed

    def build_index(self, show: Callable[[str, float | None], None], stopped: Callable[[], bool]) -> str:
        """Build the index that was asked for; what became of it, in a few words, "" for nothing.

        `show` is told what is being done, and how much of that. When `stopped` says so, it is given up.
        """
        self._session.release()  # a build may need what the server has left
        return self._index.finish(first_fill=self.first_fill, dimension=self._dimension, show=show, stopped=stopped)

    def mark_complete(self) -> None:
        """Note that a run has come to its end: the next one is no first fill."""
        entry = self._entry
        if entry is not None:
            self._session.read(lambda connection: self._catalog.mark_complete(connection, entry.id))
