"""An SQLite table whose rows get vectors."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain, islice
from typing import Any, Final

from embedmill.core.errors import RowsRefused, StoreError, UsageError
from embedmill.core.rows import Filled, Key, Row, Stored
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Cause
from embedmill.storage.sqlite.connection import code
from embedmill.storage.sqlite.table import catalog, runs
from embedmill.storage.sqlite.table.contents import decode, digest, encode, is_text, print_of, unfit
from embedmill.storage.sqlite.table.database import PAGE, key_of, named
from embedmill.storage.sqlite.table.identity import Schema, version
from embedmill.storage.sqlite.table.identity import marks as marks_of
from embedmill.storage.sqlite.table.reader import SqliteTableReader
from embedmill.storage.sqlite.table.rows import SampledRow, Standing
from embedmill.storage.sqlite.table.sql_parts import bound
from embedmill.storage.sqlite.table.swap import swap
from embedmill.storage.sqlite.table.table_spec import column_names, folded, has_triggers
from embedmill.storage.table_reader import warn_of_kept

log = logging.getLogger(__name__)

_REFUSED: Final = (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG)
"""Errors that one row may cause for all of its batch: constraints and triggers, types, sizes."""


_KEPT_OUT: Final = "a trigger of the table keeps the vector out: let it be written"


class SqliteTable(SqliteTableReader):
    """A `Table` in an SQLite file.

    A run is a number and a locked file beside the database. What a run has claimed is its own until the kernel lets go
    of that lock. All reads and transactions are short, so that the application can write meanwhile; its journal mode is
    left as it is.
    """

    _run: runs.RunFile | None = None
    _schema = Schema(0, {})  # as it was last seen
    _at: int | None = None  # the place of the column that is filled, when the run began

    def bind(self, fingerprint: Fingerprint, model: str, *, overwrite: bool = False, again: bool = False) -> None:
        """See `Table`; creates the column if that was asked for."""
        self.check(fingerprint, model, overwrite=overwrite)
        self._known()
        with self._database.transaction() as db:
            if self.spec.missing:
                if folded(self.spec.vector) not in map(folded, column_names(db, self.spec.name)):
                    db.execute(self._statements.create_vector)
                self.spec = replace(self.spec, missing=False)
            self._entry = catalog.bind(self._database, db, self.spec, fingerprint, model, overwrite=overwrite)
            self._use_marks(marks_of(self._entry.id))
            runs.remove_dead(self._database.path)
            run = self._begin_run(db, self._entry.id)
            self._schema, self._at = Schema.of(db), self._place(db)
            if overwrite:
                self._redone_from = catalog.overwrite_from(db, self._entry.id, run)
        ((unknown,),) = self._database.fetch(self._statements.count_unknown, {})
        self._parameters["space"] = fingerprint.space.id
        self._overwrite, self._again = overwrite, again
        if unknown:
            log.warning(
                "%s: %s rows have NULL in their key and are left out: they cannot be told apart", self.name, unknown
            )

    def sample_rows(self, limit: int) -> list[Stored]:
        """See `ReembeddableTable`, as for what follows."""
        if self._known() is None:
            return []
        found = self._database.fetch(self._statements.sample_rows, self._parameters | {"limit": 4 * limit})
        stored = [
            Stored(key_of(row), row.content, decode(row.vector))
            for row in named(SampledRow, found)
            if digest(row.content) == row.hash
            and is_text(row.content)
            and len(row.content) <= self._longest
            and len(row.vector) % 4 == 0
        ]
        return stored[:limit]

    def rebind(self, fingerprint: Fingerprint, model: str) -> None:
        """Marks are those of the rows, whatever the table has been called."""
        self._known()
        with self._database.transaction() as db:
            catalog.rebind(self._database, db, self.spec, fingerprint, model)
        self._entry = None
        self._known()

    def like_it(self) -> Mapping[str, Any]:
        """There is no index."""
        if self.spec.vector_not_null:
            raise UsageError(
                f"{self.spec.title}.{self.spec.vector} is NOT NULL, which a column that is filled beside it cannot be: "
                "make the table anew without that"
            )
        return {"id": list(self.spec.key_names), "text": self.spec.text}

    def swap(self, column: str) -> None:
        """Views, indexes and triggers follow their column, not its name."""
        with self._changing() as db:
            swap(db, self.spec, column)

    def _begin_run(self, db: sqlite3.Connection, table: int) -> int:
        while True:
            number = catalog.next_run(db, table)
            with suppress(FileExistsError):  # of a database that was put back from a backup
                self._run = runs.RunFile(self._database.path, table, number)
                self._parameters["run"] = number
                return number

    # Rows that need a vector

    def claim(self, after: Key | None, limit: int) -> list[Row]:
        """The next rows that need a vector, behind this key, in the order of their keys; they are this run's now."""
        while True:
            seen = self._due(after, limit)
            claimed = self._claim(seen)
            if claimed or len(seen) < limit:
                with self._database.reading() as db:
                    self._check_same(db)
                return claimed
            after = key_of(seen[-1])

    def _due(self, after: Key | None, limit: int) -> list[Standing]:
        """The next rows that nobody holds and that need a vector."""
        rows = chain.from_iterable(self._standings(after, limit))
        return list(islice(filter(self._is_due, rows), limit))

    def _claim(self, seen: Sequence[Standing]) -> list[Row]:
        """Those of the rows that no other run has claimed since they were seen."""
        rows: list[Row] = []
        if not seen:
            return rows
        with self._changing() as db:
            for row in seen:
                content, mark, key = row.content, row.tracking_id, key_of(row)
                values = {"run": self._parameters["run"], "hash": digest(content)}
                if mark is None:
                    new = db.execute(self._statements.claim_new(key), values | bound(key))
                    claimed, mark = new.rowcount == 1, new.lastrowid or 0
                else:
                    values |= {"mark": mark, "seen_run": row.run, "seen_held": row.held, "seen_hash": row.hash}
                    claimed = db.execute(self._statements.claim, values).rowcount == 1
                if claimed:
                    cause = unfit(content, self._longest)
                    rows.append(Row(mark, key, "" if cause else content, cause))
        return rows

    def claimed_by_others(self) -> int:
        """How many rows other runs have claimed, and not finished: dead ones have left theirs to this run."""
        dead = self._dead()
        ((held,),) = self._database.fetch(self._statements.claimed_by_others(dead), self._parameters)
        left = self._database.fetch(self._statements.left_behind(dead), self._parameters | {"limit": PAGE})
        return int(held) + sum(map(self._is_due, named(Standing, left)))

    # Writing: from several threads

    def write(self, rows: Sequence[Filled]) -> int:
        """See `Table`."""
        try:
            with self._changing() as db:
                triggers = has_triggers(db, self.spec.name)
                fresh = [filled for filled in rows if self._write(db, filled, triggers=triggers)]
                measured = [(each.row.tracking_id, each.metrics) for each in fresh if each.metrics is not None]
                if measured:
                    self.metrics.write_of_marks(db, measured)
        except StoreError as error:
            if isinstance(error.__cause__, sqlite3.Error) and code(error.__cause__) in _REFUSED:
                raise RowsRefused(str(error)) from error.__cause__
            raise
        return len(rows) - len(fresh)

    def _write(self, db: sqlite3.Connection, filled: Filled, *, triggers: bool) -> bool:
        """Write a vector, if it is that of the present text; whether it was."""
        statements, values = self._statements, self._parameters | {"mark": filled.row.tracking_id}
        present = self._database.fetch(statements.present, values)  # none: the row is gone, or no longer ours
        fresh = any(content is not None and digest(content) == claimed for content, claimed in present)
        if fresh:
            blob = encode(filled.vector)
            if db.execute(statements.fill_vector, {"mark": filled.row.tracking_id, "vector": blob}).rowcount != 1:
                raise RowsRefused(_KEPT_OUT)
            if triggers:  # which may have changed all of it
                ((content, stored),) = self._database.fetch(statements.stored, values) or ((None, None),)
                if not isinstance(stored, bytes):
                    raise RowsRefused(_KEPT_OUT)
                blob, fresh = stored, content is not None and digest(content) == present[0][1]
        if fresh:
            db.execute(statements.settle, values | {"print": print_of(blob)})
        else:
            db.execute(statements.release, values)
        return fresh

    def fail(self, failures: Sequence[tuple[Row, Cause]]) -> None:
        """Put on record why these rows have no vector; they are not tried again by themselves."""
        with self._changing() as db:
            kept = self._clear(db, [row.tracking_id for row, _ in failures])
            db.executemany(
                self._statements.fail,
                (
                    {
                        "mark": row.tracking_id,
                        "run": self._parameters["run"],
                        "cause": cause.type,
                        "message": cause.message.encode("utf-8", "replace").decode(),
                    }
                    for row, cause in failures
                ),
            )
        warn_of_kept(self.name, kept)

    def _clear(self, db: sqlite3.Connection, marks: Sequence[int]) -> list[sqlite3.IntegrityError]:
        """Take the vectors of these rows, which are not of their texts. Returns why the table keeps some."""
        kept: list[sqlite3.IntegrityError] = []
        for mark in () if self.spec.vector_not_null else marks:
            try:
                db.execute(self._statements.clear, {"mark": mark, "run": self._parameters["run"]})
            except sqlite3.IntegrityError as error:  # of a trigger of the user's
                kept.append(error)
        return kept

    def take_locked(self, rows: Sequence[Row]) -> set[int]:
        """None: a lock is one of the whole database, and waited for."""
        return set()

    def lockers(self, *, runs: bool = False) -> str:
        """Nobody who is known."""
        return ""

    # The end

    def prune(self) -> int:
        """Forget rows that are gone; take the vectors of those whose text is NULL now. Returns how many rows went."""
        with self._database.reading() as db:
            self._check_same(db)
        dead = self._dead()
        after, removed = 0, 0
        kept: list[sqlite3.IntegrityError] = []
        while page := self._database.scan(self._statements.textless(dead), {"after": after, "limit": PAGE}):
            after = page[-1][0]
            textless = [mark for mark, is_textless in page if is_textless]
            if textless:
                with self._changing() as db:
                    kept += self._clear(db, textless)
                    for mark in textless:
                        removed += db.execute(self._statements.remove_mark(dead), {"mark": mark}).rowcount
        warn_of_kept(self.name, kept)
        return removed

    def build_index(self, show: Callable[[str, float | None], None], stopped: Callable[[], bool]) -> str:
        """There is none to be built: sqlite-vec scans the vectors."""
        return ""

    def mark_complete(self) -> None:
        """Note that a run has come to its end: the next one is no first fill."""
        if self._entry is not None:
            with self._changing() as db:
                catalog.mark_complete(db, self._entry.id)

    def close(self) -> None:
        """End the run: what it holds is given back. May be called twice."""
        if self._run is not None:
            self._run.end()
            self._run = None
        super().close()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction of the run, in which the table's name means what it did when the run began."""
        with self._database.transaction() as db:
            self._check_same(db)
            yield db

    def _check_same(self, db: sqlite3.Connection) -> None:
        """Raise `StoreError` where the table's name means another since the run began: tables may be swapped."""
        if version(db) != self._schema.version:
            schema = Schema.of(db)
            same = schema.pages.get(self.spec.name) == self._schema.pages.get(self.spec.name)
            if not same or self._place(db) != self._at:
                raise StoreError(
                    f"{self.name} was renamed or made anew, or its database vacuumed, while it was filled: run again"
                )
            self._schema = schema

    def _place(self, db: sqlite3.Connection) -> int | None:
        """Which of the table's columns has the name of the one that is filled."""
        names = column_names(db, self.spec.name)
        return names.index(self.spec.vector) if self.spec.vector in names else None
