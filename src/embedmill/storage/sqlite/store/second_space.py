"""Another model's vectors in an SQLite store: in a file of their own beside it, until they are put in its place."""

from __future__ import annotations

import glob
import json
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from embedmill.core.documents import Chunk, StoredChunk
from embedmill.core.spaces import Fingerprint, differ_in_files_alone
from embedmill.storage.catalog import store_mismatch
from embedmill.storage.second_space import PAGE, KnownSpace, ReembeddableBackend, not_a_second, nothing_to_swap
from embedmill.storage.sqlite.connection import Connection, code, connect
from embedmill.storage.sqlite.store import contents, rows
from embedmill.storage.sqlite.store.database import BUSY_TIMEOUT, FILES, WriterLock, beside, translate_errors

_IS_SECOND: Final = "second"
"""The key in a second store's `meta` that says so."""

_SWAPPED: Final = ("vectors", "chunks", "documents", "failures", "roots", "given", "meta")
"""All tables of a store."""

Connected = Callable[[], AbstractContextManager[Connection]]


class SqliteSecondStore(ReembeddableBackend, Protocol):
    """The second store, of this kind too."""

    @property
    def second_space(self) -> SqliteSecondSpace:
        """What makes it one."""


class SqliteSecondSpace:
    """`SecondSpace` of an SQLite store; without docstrings where that says it."""

    def __init__(
        self,
        path: Path,
        snapshot: Connected,
        transaction: Connected,
        writer: Connected,
        known: KnownSpace,
        opened: Callable[[Path], SqliteSecondStore],
        *,
        writable: bool,
    ) -> None:
        """`writer` is the connection of `transaction`, in none; `opened` is the store of a path, opened as this one."""
        self._path, self._next = path, second_path(path)
        self._snapshot, self._transaction, self._writer = snapshot, transaction, writer
        self._known = known
        self._opened = opened
        self._writable = writable

    def sample(self, limit: int) -> list[StoredChunk]:
        with self._snapshot() as db:
            return contents.sampled_chunks(db, limit)

    def rebind(self, fingerprint: Fingerprint, model: str) -> None:
        space = fingerprint.space
        facts = {"space": space.id, "fields": json.dumps(asdict(space), sort_keys=True), "model": model}
        with self._transaction() as db:
            bound = rows.facts(db)
            if not differ_in_files_alone(held := json.loads(bound["fields"]), space):
                raise store_mismatch(str(self._path), bound["model"], bound["space"], held, space, model)
            before = f"{bound['space']}-"
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts.items())
            db.execute(
                "UPDATE documents SET recipe = :new || substr(recipe, :rest) WHERE substr(recipe, 1, :rest - 1) = :old",
                {"old": before, "new": f"{space.id}-", "rest": len(before) + 1},
            )
        self._known.become(space.id)

    def chunks(self, document: str, after: int) -> list[Chunk]:
        with self._snapshot() as db:
            return contents.chunks_of(db, document, after, PAGE)

    # The second store

    def second(self) -> SqliteSecondStore | None:
        facts = self._facts_of_second()
        if facts is None or _IS_SECOND not in facts:
            return None
        if self._is_left_over(facts):
            if self._writable:
                self._remove()
            return None
        return self._opened(self._next)

    def begin_second(self) -> SqliteSecondStore:
        facts = self._facts_of_second()
        if facts is None and self._next.exists():
            raise not_a_second(str(self._next), str(self._path))
        if not facts or self._is_left_over(facts):
            self._remove()  # a write-ahead log that lay there would be taken for the new file's
            facts = {}
        second = self._opened(self._next)
        if _IS_SECOND in facts:
            return second
        try:
            if facts.get("space") is not None:
                raise not_a_second(str(self._next), str(self._path))
            with self._snapshot() as db:
                places = [db.execute(f"SELECT * FROM {table}").fetchall() for table in ("roots", "given")]  # noqa: S608
                rootless = "rootless" in rows.facts(db)
            second.second_space.become_second(*places, rootless=rootless)
        except BaseException:
            second.close()
            raise
        return second

    def become_second(self, roots: list[Any], given: list[Any], *, rootless: bool) -> None:
        """Note that this store, which holds nothing, is the second of one that knows these folders."""
        with self._transaction() as db:
            db.execute("DELETE FROM roots")
            db.executemany("INSERT INTO roots VALUES (?, ?, ?, ?, ?, ?)", roots)
            db.executemany("INSERT OR REPLACE INTO given VALUES (?, ?)", given)
            if not rootless:
                db.execute("DELETE FROM meta WHERE key = 'rootless'")
            db.execute("INSERT INTO meta VALUES (?, 1)", (_IS_SECOND,))

    def swap(self) -> None:
        """See `SecondSpace`. All rows are copied: a file that is put in another's place would be read with its log."""
        facts = self._facts_of_second() or {}
        if _IS_SECOND not in facts or "space" not in facts:
            raise nothing_to_swap(str(self._path))
        lock = WriterLock(self._next)
        try:
            with self._writer() as db:
                db.execute("ATTACH ? AS second", (f"file:{quote(str(self._next.absolute()))}?mode=rw",))
                db.execute("PRAGMA foreign_keys = OFF")  # rows go and come by whole tables, which is faster by far
                try:
                    with db.transaction():
                        _copy(db)
                    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # to the disk, before the other goes
                finally:
                    db.execute("PRAGMA foreign_keys = ON")
                    db.execute("DETACH second")
            with suppress(OSError):  # else the next search makes it
                beside(self._next, ".matrix").replace(beside(self._path, ".matrix"))
        finally:
            lock.release()
        self._known.become(facts["space"])
        self._remove()

    def drop_second(self) -> None:
        with self._writer():  # raises where this one is only read
            there = _IS_SECOND in (self._facts_of_second() or {})
        if there:
            WriterLock(self._next).release()  # raises where another writes to it
            self._remove()

    def _is_left_over(self, facts: dict[str, Any]) -> bool:
        """Whether it was put in this one's place by a run that was killed before it had removed it."""
        with self._snapshot() as db:
            return _IS_SECOND in facts and facts.get("space", "") == rows.facts(db).get("space")

    def _facts_of_second(self) -> dict[str, Any] | None:
        """The second store's `meta`, {} where it was only begun; None where there is no store of that name."""
        if not self._next.exists():
            return None
        with translate_errors(self._next):
            try:
                with closing(connect(self._next, "mode=rw", timeout=BUSY_TIMEOUT)) as db:
                    begun = db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
                    return rows.facts(db) if begun else {}
            except sqlite3.Error as error:
                # It is no database, or has no such table. All else may pass: then it must not count as none.
                if code(error) not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR) and self._next.exists():
                    raise
                return None

    def _remove(self) -> None:
        for ending in FILES:
            beside(self._next, ending).unlink(missing_ok=True)
        for abandoned in self._next.parent.glob(f"{glob.escape(self._next.name)}.matrix.new-*"):
            abandoned.unlink(missing_ok=True)


def second_path(path: Path) -> Path:
    """The file of a store's second one."""
    return beside(path, ".next")


def _copy(db: sqlite3.Connection) -> None:
    """Put the rows of the attached store in the place of the store's own."""
    for table in _SWAPPED:
        db.execute(f"DELETE FROM main.{table}")  # noqa: S608 - the schema's own names
    for table in reversed(_SWAPPED):
        db.execute(f"INSERT INTO main.{table} SELECT * FROM second.{table}")  # noqa: S608
    db.execute("DELETE FROM main.meta WHERE key = ?", (_IS_SECOND,))
