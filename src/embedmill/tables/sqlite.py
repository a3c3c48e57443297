"""An SQLite table whose rows get vectors."""

from __future__ import annotations

import hashlib
import logging
import math
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple

from embedmill.closing import Closing
from embedmill.errors import RowsRefused, SpaceMismatch, StoreBusy, StoreError, StoreNotFound, UsageError
from embedmill.fingerprint import Fingerprint
from embedmill.records import Cause, Vector
from embedmill.rows import Counts, Filled, IndexOptions, Key, Metrics, Row, RowFailure, TableStatus, shown
from embedmill.sqlite.files import APPLICATION_ID, REMEDIES, code, connect, path_of, starts_otherwise
from embedmill.tables import naming, sqlite_registry, sqlite_runs
from embedmill.tables.registered import Registered
from embedmill.tables.sqlite_statements import CREATE_FREQUENCIES, DROP_FREQUENCIES, Standing, Statements, bound
from embedmill.tables.sqlite_target import column_names, find, folded

log = logging.getLogger(__name__)

DB_TIMEOUT: Final = 60.0  # seconds; longer than a checkpoint or a backup holds a file

_PAGE: Final = 1000
"""Rows that are read, or changed, at once: some 5 ms. Without a write-ahead log nobody can write meanwhile."""

_CACHE_KIB: Final = 16_384  # of memory; the default of 2 MB holds few of the pages of the indexes

_REMEDIES: Final = {
    **REMEDIES,
    sqlite3.SQLITE_CORRUPT: ": the file is damaged; put back a backup",
    sqlite3.SQLITE_NOTADB: ": it is no SQLite database; give another --store",
}

_REFUSED: Final = (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG)
"""Errors that one row may cause for all of its batch: constraints and triggers, types, sizes."""


class SqliteTable(Closing):
    """A `Table` in an SQLite file.

    A run is a number and a locked file beside the database. What a run has claimed is its own until the kernel lets go
    of that lock. All reads and transactions are short, so that the application can write meanwhile; its journal mode is
    left as it is.

    Every method waits up to `db_timeout` seconds for a lock that others hold, and then raises `StoreBusy`; it raises
    `StoreError` where the file cannot be read or written.
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
        schema: str = "",  # there are none here
        longest: int,
        db_timeout: float = DB_TIMEOUT,
        index: IndexOptions | None = None,
        metrics_only: bool = False,
    ) -> None:
        """Find the table; changes nothing yet. Texts of more than `longest` characters fail."""
        if halfvec:
            raise UsageError("--halfvec is for PostgreSQL: an SQLite table holds numbers of 32 bits; leave it out")
        if index is not None and index.method == "hnsw":
            raise UsageError("--index hnsw is for PostgreSQL: an SQLite table has no index of vectors; leave it out")
        self.path = path_of(url)
        self._longest = longest
        self._db_timeout = db_timeout
        self._registered: Registered | None = None
        self._run: sqlite_runs.Run | None = None
        self._parameters: dict[str, Any] = {"run": 0, "space": None}
        self._overwrite = self._again = False
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = self._open()
        try:
            with self._told():
                self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
                self._refuse_store(self._db)
                self.target = find(
                    self._db,
                    self.url,
                    name,
                    keys=id,
                    text=text,
                    vector=vector,
                    create=create,
                    needs_vector=not metrics_only,
                )
        except BaseException:
            self._db.close()
            raise
        self._statements = self._with_marks(0)

    def _open(self) -> sqlite3.Connection:
        if not self.path.exists():
            raise StoreNotFound(f"there is no database at {self.path}: check --store; a table must be there before")
        if starts_otherwise(self.path):
            raise StoreError(f"{self.path} is no SQLite database: give another --store")
        with self._told():
            db = connect(self.path, "mode=rw", timeout=self._db_timeout)
            db.text_factory = _text
            return db

    def _refuse_store(self, db: sqlite3.Connection) -> None:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        if application == APPLICATION_ID:
            raise UsageError(f"{self.path} is a store of `embedmill index`, not a database with a table to fill")

    @property
    def url(self) -> str:
        """``sqlite:PATH``."""
        return f"sqlite:{self.path}"

    @property
    def name(self) -> str:
        """The table, as the database spells it."""
        return self.target.name

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
        if not overwrite:
            self._check_dimension(fingerprint.space.dimension, model)
        with self._transaction() as db:
            if self.target.missing and self.target.vector not in column_names(db, self.target.name):
                db.execute(self._statements.create_vector)
            self._registered = sqlite_registry.bind(db, self.path, self.target, fingerprint, model, overwrite=overwrite)
            self._statements = self._with_marks(self._registered.id)
            sqlite_runs.remove_dead(self.path)
            self._begin_run(db, self._registered.id)
        with self._reading() as db:
            (unknown,) = db.execute(self._statements.count_unknown).fetchone()
        self._parameters["space"] = fingerprint.space.id
        self._overwrite, self._again = overwrite, again
        if unknown:
            log.warning(
                "%s: %s rows have NULL in their key and are left out: they cannot be told apart", self.name, unknown
            )

    def _begin_run(self, db: sqlite3.Connection, table: int) -> None:
        while self._run is None:
            number = sqlite_registry.next_run(db, table)
            with suppress(FileExistsError):  # of a database that was put back from a backup
                self._run = sqlite_runs.Run(self.path, table, number)
                self._parameters["run"] = number

    def _check_dimension(self, dimension: int, model: str) -> None:
        present = self._dimension()
        if present not in (None, dimension):
            raise SpaceMismatch(
                f"{self.name}.{self.target.vector} has vectors of {present:,} dimensions, those of {model} have "
                f"{dimension:,}: name another column with --vector (--create adds it), a --model that fits, or give "
                "--overwrite"
            )

    def _dimension(self) -> int | None:
        """That of the first vector; None where there is none yet. Raises `SpaceMismatch` for other values."""
        if not self.target.vector or self.target.missing:
            return None
        kind, size = next(self._values(), ("", 0))
        if not kind:
            return None
        if kind != "blob" or size % 4 or not size:
            raise SpaceMismatch(
                f"{self.name}.{self.target.vector} holds values that are no vectors (float32, as sqlite-vec reads "
                "them): name another column with --vector (--create adds it), or give --overwrite"
            )
        return size // 4

    def _values(self) -> Iterator[tuple[str, int]]:
        """Type and size of what is in the vector column, NULL left out."""
        after: Key | None = None
        while True:
            with self._reading() as db:
                values = {"limit": _PAGE} | bound(after or ())
                page = db.execute(self._statements.values(after), values).fetchall()
            yield from ((kind, size) for kind, size, *_ in page if kind != "null")
            if len(page) < _PAGE:
                return
            after = page[-1][2:]

    # Rows that need a vector

    def claim(self, after: Key | None, limit: int) -> list[Row]:
        """The next rows that need a vector, behind this key, in the order of their keys; they are this run's now."""
        self._give_back_dead()
        while True:
            seen: list[_Seen] = []
            for page in self._pages(self._statements.standings, after, limit):
                for row in page:
                    after = row.key
                    if self._is_due(row):
                        seen.append(row)
                        if len(seen) == limit:
                            break
                if len(seen) == limit:
                    break
            claimed = self._claim(seen)
            if claimed or len(seen) < limit:
                return claimed

    def _claim(self, seen: Sequence[_Seen]) -> list[Row]:
        """Those of the rows that no other run has claimed since they were seen."""
        rows: list[Row] = []
        if not seen:
            return rows
        with self._transaction() as db:
            for row in seen:
                digest = _digest(row.content)
                values = {"run": self._parameters["run"], "hash": digest}
                if row.mark is None:
                    new = db.execute(self._statements.claim_new(row.key), values | bound(row.key))
                    mark = new.lastrowid if new.rowcount == 1 else None
                else:
                    values |= {"mark": row.mark, "seen_run": row.run, "seen_hash": row.hash}
                    mark = row.mark if db.execute(self._statements.claim, values).rowcount == 1 else None
                if mark is not None:
                    rows.append(self._row(mark, row))
        return rows

    def _row(self, mark: int, seen: _Seen) -> Row:
        text = seen.content
        if isinstance(text, bytes):
            cause = Cause("NotText", f"the value is a BLOB of {len(text):,} bytes, not a text")
        elif len(text) > self._longest:
            cause = Cause(
                "TooLong", f"the text has {len(text):,} characters, at most {self._longest:,} are taken: see --max-text"
            )
        elif not _is_unicode(text):
            cause = Cause("NotUnicode", "the text is not valid UTF-8")
        else:
            return Row(mark, seen.key, text)
        return Row(mark, seen.key, "", cause)

    def _is_due(self, row: _Seen) -> bool:
        match row.standing:
            case Standing.WRITTEN:
                return _digest(row.content) != row.hash
            case Standing.DUE:
                return True
            case Standing.FOREIGN:
                return self._overwrite
            case Standing.FAILED:
                tried = self._parameters["run"] == row.run
                return (self._again and not tried) or _digest(row.content) != row.hash
            case _:
                return False

    def _give_back_dead(self) -> None:
        """What runs that died have held is anybody's."""
        with self._reading() as db:
            holders = [number for (number,) in db.execute(self._statements.holders, self._parameters)]
        table = self._registered.id if self._registered else 0
        for number in holders:
            if not sqlite_runs.lives(self.path, table, number):
                with self._transaction() as db:
                    db.execute(self._statements.give_back, {"run": number})

    def held_elsewhere(self) -> int:
        """How many rows other living runs hold."""
        self._give_back_dead()
        with self._reading() as db:
            return int(db.execute(self._statements.held_elsewhere, self._parameters).fetchone()[0])

    def counts(self) -> Counts:
        """How the table stood when the run began, or stands where none has; reads all of it."""
        known = self._known()
        statement = self._statements.standings if known else self._statements.bare_standings
        rows = left = without = foreign = failures = 0
        for page in self._pages(statement, None, _PAGE):
            for row in page:
                if row.standing == Standing.WITHOUT_TEXT:
                    without += 1
                    continue
                rows += 1
                due = self._is_due(row)
                # What this run has done already counts as left: so it was when the run began.
                ours = row.run is not None and row.run == self._parameters["run"]
                left += due or ours or row.standing == Standing.HELD
                foreign += row.standing == Standing.FOREIGN
                failures += row.standing == Standing.FAILED and not ours and not due
        return Counts(rows, left, without, foreign, failures)

    def status(self) -> TableStatus:
        """What is known of the table; reads all of it."""
        known = self._known()
        return TableStatus(
            table=self.name,
            text=self.target.text,
            vector=self.target.vector,
            counts=self.counts(),
            model=known.model if known else None,
            space=known.space if known else None,
            dimension=self._dimension(),
            index="",
        )

    def sample(self, limit: int) -> list[str]:
        """Some of its texts."""
        with self._reading() as db:
            found = db.execute(self._statements.sample, {"limit": limit}).fetchall()
        return [text for (text,) in found if isinstance(text, str) and _is_unicode(text)]

    def _known(self) -> Registered | None:
        """What earlier runs have noted of the table; None where there were none, or none that is of interest."""
        if self._registered is None and self.target.vector and not self.target.missing:
            with self._reading() as db:
                self._registered = sqlite_registry.find(db, self.path, self.target)
                if self._registered is not None:
                    self._statements = self._with_marks(self._registered.id)
                    self._parameters["space"] = self._registered.space
        return self._registered

    # Writing: from several threads

    def write(self, rows: Sequence[Filled]) -> int:
        """Write these rows' vectors and metrics, all in one transaction, or none.

        Returns how many were left out, because their text has changed meanwhile or they are gone. Raises
        `RowsRefused` where the database refuses the data.
        """
        try:
            with self._transaction() as db:
                return sum(not self._write(db, filled) for filled in rows)
        except StoreError as error:
            if isinstance(error.__cause__, sqlite3.Error) and code(error.__cause__) in _REFUSED:
                raise RowsRefused(str(error)) from error.__cause__
            raise

    def _write(self, db: sqlite3.Connection, filled: Filled) -> bool:
        statements, mark = self._statements, {"mark": filled.row.mark, "run": self._parameters["run"]}
        content, digest = db.execute(statements.present, mark).fetchone() or (None, None)
        fresh = content is not None and _digest(content) == digest
        if fresh:
            values = {"mark": filled.row.mark, "vector": _blob(filled.vector)}
            fresh = db.execute(statements.fill, values).rowcount == 1  # a trigger may have said no
        db.execute(statements.settle, mark | {"space": self._parameters["space"] if fresh else None})
        if fresh and filled.metrics is not None:
            db.execute(statements.measure_mark, {"mark": filled.row.mark} | _numbers(filled.metrics))
        return fresh

    def fail(self, failures: Sequence[tuple[Row, Cause]]) -> None:
        """Put on record why these rows have no vector; they are not tried again by themselves."""
        with self._transaction() as db:
            db.executemany(
                self._statements.fail,
                (
                    {
                        "mark": row.mark,
                        "run": self._parameters["run"],
                        "cause": cause.type,
                        "message": cause.message.encode("utf-8", "replace").decode(),
                    }
                    for row, cause in failures
                ),
            )

    # The end

    def tidy(self) -> int:
        """Forget rows that are gone; take the vectors of those whose text is NULL now. Returns how many rows went."""
        self._give_back_dead()
        after, removed = 0, 0
        while True:
            with self._reading() as db:
                values = {"after": after, "limit": _PAGE}
                page = db.execute(self._statements.textless, values).fetchall()
            if not page:
                return removed
            after = page[-1][0]
            textless = [(mark, has_vector) for mark, is_textless, has_vector in page if is_textless]
            if textless:
                with self._transaction() as db:
                    for mark, has_vector in textless:
                        if has_vector and not self.target.vector_not_null:
                            db.execute(self._statements.clear, {"mark": mark})
                        removed += db.execute(self._statements.remove_mark, {"mark": mark}).rowcount

    def build_index(self, show: Callable[[str, float | None], None], stopped: Callable[[], bool]) -> str:
        """There is none to be built: sqlite-vec scans the vectors."""
        return ""

    def note_filled(self) -> None:
        """Note that a run has come to its end: the next one is no first fill."""
        if self._registered is not None and not self._registered.filled:
            with self._transaction() as db:
                sqlite_registry.note_filled(db, self._registered.id)

    @property
    def first_fill(self) -> bool:
        """Whether no run had come to its end before this one."""
        return self._registered is None or not self._registered.filled

    # Metrics

    def prepare_metrics(self) -> None:
        """Create the table of metrics where there is none. Raises `StoreError` where the name is taken."""
        naming.check_metrics_keys([folded(name) for name in self.target.key_names], self.name)
        with self._reading() as db:
            there = column_names(db, self._statements.metrics)
        if not there:
            with self._transaction() as db:
                db.execute(self._statements.create_metrics)
                there = column_names(db, self._statements.metrics)
        naming.check_metrics_table(map(folded, there), [folded(name) for name in self.target.key_names], self.name)

    def unmeasured(self, after: Key | None, limit: int) -> list[tuple[Key, str]]:
        """The next rows, behind this key, whose metrics are missing or of an older text."""
        found: list[tuple[Key, str]] = []
        while len(found) < limit:
            with self._reading() as db:
                values = {"limit": _PAGE} | bound(after or ())
                page = db.execute(self._statements.measured(after), values).fetchall()
            for content, digest, *key in page:
                after = tuple(key)
                if isinstance(content, str) and _digest(content) != digest and _is_unicode(content):
                    found.append((after, content))
                    if len(found) == limit:
                        break
            if len(page) < _PAGE:
                break
        return found

    def write_metrics(self, rows: Sequence[tuple[Key, bytes, Metrics]]) -> None:
        """Write the metrics of these rows; each comes with the hash of the text that they are of."""
        with self._transaction() as db:
            for key, digest, metrics in rows:
                db.execute(self._statements.measure(key), bound(key) | {"hash": digest} | _numbers(metrics))

    def finish_metrics(self) -> None:
        """Count how often each text stands in the table; forget rows that are gone."""
        with self._reading() as db:
            db.execute(DROP_FREQUENCIES)
            db.execute(CREATE_FREQUENCIES)
        after, pages = -math.inf, []
        while page := self._metrics_page(after):
            last = page[-1][0]
            gone = [{"number": number} for number, is_textless in page if is_textless]
            if gone:
                with self._transaction() as db:
                    db.executemany(self._statements.remove_metrics, gone)
            limits = {"after": after, "last": last}
            with self._reading() as db:
                db.execute(self._statements.count_texts, limits)
            pages.append(limits)
            after = last
        for limits in pages:
            with self._reading() as db:
                wrong = db.execute(self._statements.miscounted, limits).fetchall()
            if wrong:
                with self._transaction() as db:
                    db.executemany(
                        self._statements.write_frequency,
                        ({"number": number, "frequency": frequency} for number, frequency in wrong),
                    )

    def _metrics_page(self, after: float) -> list[tuple[int, int]]:
        with self._reading() as db:
            return db.execute(self._statements.metrics_page, {"after": after, "limit": _PAGE}).fetchall()

    # What is known

    def failures(self) -> Iterator[RowFailure]:
        """The rows that have failed, in the order of their keys."""
        after: Key | None = None
        while self._known() is not None:
            with self._reading() as db:
                values = {"limit": _PAGE} | bound(after or ())
                page = db.execute(self._statements.failures(after), values).fetchall()
            for cause, message, attempts, *key in page:
                after = tuple(key)
                yield RowFailure(shown(after), Cause(cause, message), attempts)
            if len(page) < _PAGE:
                return

    def close(self) -> None:
        """End the run: what it holds is given back. May be called twice."""
        with self._lock:
            if self._run is not None:
                self._run.end()
                self._run = None
            if self._db is not None:
                self._db.close()
                self._db = None

    # The connection

    def _with_marks(self, number: int) -> Statements:
        return Statements(self.target, sqlite_registry.marks(number), naming.metrics_name(self.target.name))

    def _pages(self, statement: Callable[[Key | None], str], after: Key | None, limit: int) -> Iterator[list[_Seen]]:
        """All rows behind a key; pages grow, since where few rows are due many are looked at."""
        while True:
            with self._reading() as db:
                values = self._parameters | {"limit": limit} | bound(after or ())
                page = [_Seen._make((*row[:5], row[5:])) for row in db.execute(statement(after), values)]
            yield page
            if len(page) < limit:
                return
            after = page[-1].key
            limit = max(limit, min(2 * limit, _PAGE))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """For one statement, whose rows are all fetched at once: as long as one is open, others cannot write."""
        with self._lock, self._told():
            if self._db is None:
                raise StoreError(f"table {self.name} is closed")
            yield self._db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")  # one that began by reading could not become a writing one
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The border: whatever SQLite raises leaves as a `StoreError` that names the database."""
        try:
            yield
        except sqlite3.Error as error:
            if code(error) == sqlite3.SQLITE_BUSY:
                raise StoreBusy(
                    f"{self.url} is locked by another process (tried for {self._db_timeout:g} s: --db-timeout): run "
                    "again when it has ended"
                ) from error
            raise StoreError(f"{self.url}: {error}{_REMEDIES.get(code(error), '')}") from error


class _Seen(NamedTuple):
    """A row as it was when it was looked at."""

    standing: int
    content: str | bytes
    mark: int | None
    run: int | None
    hash: bytes | None
    key: Key


def _text(value: bytes) -> str:
    """As Python reads the names of files: what is not valid UTF-8 becomes surrogates, and can be given back."""
    return value.decode("utf-8", "surrogateescape")


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in text)


def _digest(content: str | bytes) -> bytes:
    """SHA-256 of a text, as `embedmill.records.text_hash` makes it; another for a BLOB of the same bytes."""
    if isinstance(content, bytes):
        return hashlib.sha256(b"BLOB\0" + content).digest()
    return hashlib.sha256(content.encode("utf-8", "surrogateescape")).digest()


def _blob(vector: Vector) -> bytes:
    return vector.astype("<f4", copy=False).tobytes()


def _numbers(metrics: Metrics) -> dict[str, Any]:
    return {
        "characters": metrics.characters,
        "words": metrics.words,
        "tokens": metrics.tokens,
        "digest": metrics.digest,
    }
