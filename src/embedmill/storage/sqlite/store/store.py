"""The default store: one SQLite file, and beside it the matrix for searches."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np

from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import Chunk, DocumentState, Failure, Hit, Record, Replacement, StoredChunk, StoreStatus
from embedmill.core.errors import StoreError, StoreNotFound
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Cause, Vector
from embedmill.storage.catalog import prompts_of, store_mismatch
from embedmill.storage.checksums import is_altered
from embedmill.storage.integrity import NOT_CUT
from embedmill.storage.roots import Anchor
from embedmill.storage.scores import check_shape, finite, score_of
from embedmill.storage.second_space import KnownSpace
from embedmill.storage.sqlite.connection import Connection
from embedmill.storage.sqlite.store import mending, rows
from embedmill.storage.sqlite.store.contents import stored_chunks, whole_chunks
from embedmill.storage.sqlite.store.database import (
    WriterLock,
    beside,
    damaged,
    is_locked,
    open_reader,
    open_writer,
    refuse_foreign_file,
    translate_errors,
)
from embedmill.storage.sqlite.store.exact import ExactSearch
from embedmill.storage.sqlite.store.inspection import problems
from embedmill.storage.sqlite.store.matrix import DamagedMatrix
from embedmill.storage.sqlite.store.roots import SqliteRoots
from embedmill.storage.sqlite.store.second_space import SqliteSecondSpace

log = logging.getLogger(__name__)

_PAGE = 1000  # names read at once


class SqliteStore:
    """The backend of a store (see `embedmill.storage.rooted`) in one SQLite file.

    A document and its vectors come in one transaction, which also removes what they replace; the row of a
    complete document is the ledger's entry. Reads have a connection of their own: they may come from
    another thread than the writes, and neither waits for the other.

    Every method raises `StoreError` where the file cannot be read or written; what was stored before stays.
    """

    def __init__(self, path: Path, *, write: bool = True, create: bool = True) -> None:
        self.path = path
        self.url = f"sqlite:{path}"
        self._process = os.getpid()
        self._lock: WriterLock | None = None
        self._writer: Connection | None = None
        self._reader: Connection | None = None
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._staged: dict[str, int] = {}  # documents staged by this run: name -> documents.id
        self._search = ExactSearch(beside(path, ".matrix"))
        self._known = KnownSpace(self.url)
        self.writable = write
        self.anchor = Anchor.of(path)
        self.roots = SqliteRoots(self._snapshot, self._transaction)
        self.second_space = SqliteSecondSpace(
            path, self._snapshot, self._transaction, self._using_writer, self._known, self._opened, writable=write
        )
        try:
            if write:
                if create:
                    _make_folder(path.parent)
                elif not path.exists():
                    raise StoreNotFound(f"no store at {path}: run `embedmill index` first")
                refuse_foreign_file(path)  # before the lock is put beside it
                self._lock = WriterLock(path)
                self._writer = open_writer(path)
                with translate_errors(path):
                    for table in rows.SEEN_TABLES:
                        self._writer.execute(table)
            self._reader = open_reader(path)
            with self._snapshot() as db:
                self._known.become(rows.facts(db).get("space"))
        except BaseException:
            self.close()
            raise

    def _opened(self, path: Path) -> SqliteStore:
        return SqliteStore(path, write=self.writable)

    def bind(self, fingerprint: Fingerprint, model: str) -> None:
        space = fingerprint.space
        with self._transaction() as db:
            bound = rows.facts(db)
            fields = json.dumps(asdict(space), sort_keys=True)
            if bound.get("space") == space.id:
                if bound["fields"] != fields:  # another prompt for queries, or similarity
                    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", ("fields", fields))
                return
            if not rows.has_chunks(db):
                facts = {"space": space.id, "fields": fields, "dimension": space.dimension, "model": model}
                db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts.items())
                rows.mark_changed(db)
            else:
                held = json.loads(bound["fields"])
                raise store_mismatch(str(self.path), bound["model"], bound["space"], held, space, model)
        self._known.become(space.id)

    def states(self, ids: Sequence[str]) -> dict[str, DocumentState]:
        with self._snapshot() as db:
            return {state.id: state for state in rows.states(db, ids)}

    def vectors(self, hashes: Sequence[bytes], precision: str) -> dict[bytes, Vector]:
        """Arrays that are only to be read. What is not as it was written is not taken from here."""
        with self._snapshot() as db:
            found = rows.select(
                db,
                """SELECT hash, vector, checksum FROM vectors JOIN (
                       SELECT hash, min(c.id) AS chunk FROM chunks c JOIN documents d ON d.id = c.document
                       WHERE hash IN ({}) AND precision = ? GROUP BY hash
                   ) USING (chunk)""",
                hashes,
                precision,
            )
            read = ((key, np.frombuffer(blob, "<f4").astype(np.float32, copy=False), kept) for key, blob, kept in found)
            return {key: vector for key, vector, kept in read if not is_altered(kept, key, vector)}

    def stage(self, document: str, records: Sequence[Record], precision: str) -> None:
        with self._transaction() as db:
            version = self._staged.get(document)
            if version is None:
                version = rows.begin_staged(db, document, precision)
            rows.add(db, [(version, records)])
            rows.mark_seen(db, [document])
        self._staged[document] = version

    def replace(self, replacements: Sequence[Replacement]) -> None:
        latest = {replacement.state.id: replacement for replacement in replacements}
        with self._transaction() as db:
            versions = [rows.complete(db, new, self._staged.get(name)) for name, new in latest.items()]
            rows.add(db, [(version, new.records) for version, new in zip(versions, latest.values(), strict=True)])
            for name, new in latest.items():
                rows.record_failures(db, name, new.failures, alone=True)
            rows.mark_seen(db, latest)
            rows.mark_changed(db)
        for name in latest:
            self._staged.pop(name, None)

    def fail(self, document: str, failures: Sequence[Failure]) -> None:
        with self._transaction() as db:
            rows.record_failures(db, document, failures)
            rows.mark_seen(db, [document])

    def update_stats(self, states: Sequence[DocumentState]) -> None:
        with self._transaction() as db:
            rows.update_stats(db, states)
            rows.mark_seen(db, [state.id for state in states])

    def mark_seen(self, ids: Sequence[str]) -> None:
        with self._transaction("BEGIN") as db:  # of a temporary table: the file is not touched
            rows.mark_seen(db, ids)

    def forget_seen(self) -> None:
        with self._transaction("BEGIN") as db:
            db.execute("DELETE FROM temp.seen")

    def remove_unseen(self, scopes: Sequence[str], keep: Sequence[str] = ()) -> int:
        with self._transaction() as db, db.stoppable():
            return rows.remove_unseen(db, scopes, keep, self._staged.values())

    def unseen(self, scopes: Sequence[str], keep: Sequence[str] = ()) -> Iterator[Sequence[str]]:
        with self._transaction("BEGIN") as db:
            rows.find_unseen(db, scopes, keep)
        last = ""
        while True:
            with self._transaction("BEGIN") as db:
                page = rows.unseen_page(db, last, _PAGE)
            if not page:
                return
            yield page
            last = page[-1]

    def failures(self) -> Iterator[Failure]:
        # In pages, so that the caller may use the store between two of them.
        last: tuple[str, int] = ("", -2)
        while True:
            with self._snapshot() as db:
                page = db.execute(
                    """SELECT document, idx, start, "end", line, type, message, attempts FROM failures
                       WHERE (document, idx) > (?, ?) ORDER BY document, idx LIMIT 1000""",
                    last,
                ).fetchall()
            if not page:
                return
            for document, index, start, end, line, kind, message, attempts in page:
                yield Failure(document, index, start, end, line, Cause(kind, message), attempts)
            last = page[-1][:2]

    def failed_documents(self) -> list[str]:
        with self._snapshot() as db:
            return [row[0] for row in db.execute("SELECT DISTINCT document FROM failures ORDER BY document")]

    def status(self) -> StoreStatus:
        with self._snapshot() as db:
            documents, chunks = db.execute(
                "SELECT count(*), coalesce(sum(chunks), 0) FROM documents WHERE complete"
            ).fetchone()
            (failures,) = db.execute("SELECT count(*) FROM failures").fetchone()
            precisions = db.execute(
                "SELECT DISTINCT precision FROM documents WHERE complete AND chunks > 0 ORDER BY precision"
            ).fetchall()
            bound = rows.facts(db)
        document_prompt, query_prompt = prompts_of(rows.fields(bound))
        return StoreStatus(
            documents=documents,
            chunks=chunks,
            failures=failures,
            model=bound.get("model"),
            space=bound.get("space"),
            precision=tuple(row[0] for row in precisions),
            dimension=bound.get("dimension"),
            bytes=sum(_size(file) for file in (self.path, beside(self.path, "-wal"), self._search.path)),
            document_prompt=document_prompt,
            query_prompt=query_prompt,
        )

    def search(
        self, vector: Vector, k: int, fits: Callable[[str], bool] | None = None, *, exact: bool = False
    ) -> list[Hit]:
        """Every search is exact, whatever `exact` says.

        Raises `ValueError` for a vector that is not finite or not of the store's dimension.
        """
        query = finite(vector)
        with self._snapshot() as db:
            facts = rows.facts(db)
            dimension = facts.get("dimension")
            self._known.check(facts.get("space"))
            if dimension is None or k < 1:
                return []
            check_shape(query, dimension)
            score = score_of(rows.fields(facts))
            documents = None
            if fits is not None:
                named = db.execute("SELECT id, name FROM documents WHERE complete ORDER BY id")
                documents = np.array([number for number, name in named if fits(name)], np.int64)
            try:
                return self._search.hits(db, query, k, score, documents)
            except DamagedMatrix as error:
                log.warning("%s is damaged (%s): it is made anew", self._search.path, error)
                removed = False
                with suppress(OSError):
                    self._search.discard()
                    removed = True
                with suppress(DamagedMatrix):
                    return self._search.hits(db, query, k, score, documents)
        if removed:  # then it is not the matrix
            raise damaged(self.path, "it has vectors that are not finite: `embedmill verify` names them")
        raise StoreError(f"{self._search.path} is damaged and cannot be replaced: remove that file, it is made anew")

    def prepare_search(self) -> bool:
        """Where the run is stopped before it is done, a search does it."""
        with self._snapshot() as db, db.stoppable():
            dimension = rows.facts(db).get("dimension")
            if dimension is None:
                return False
            before = self._search.written
            self._search.prepare(db, dimension, db.go_on)
            return self._search.written > before

    def has_index(self) -> bool:
        """Whether there is a matrix, of which a search may yet find that it has to be made anew."""
        with self._snapshot() as db:
            dimension = rows.facts(db).get("dimension")
        return dimension is not None and self._search.has_matrix(dimension)

    def finish_within(self, seconds: float) -> None:
        """From now on locks of others are waited for no longer than this; what need not be done now is not."""
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.finish_within(seconds)

    def chunks(self) -> Iterator[StoredChunk]:
        with self._snapshot():
            pass  # raises where it is closed
        with translate_errors(self.path), closing(open_reader(self.path)) as db:
            db.execute("BEGIN")
            yield from stored_chunks(db)

    def read(self, documents: Sequence[str] | None = None) -> Iterator[Chunk]:
        with self._snapshot():
            pass
        with translate_errors(self.path), closing(open_reader(self.path)) as db:
            db.execute("BEGIN")
            yield from whole_chunks(db, documents, rows.fields(rows.facts(db)))

    def verify(
        self, look: Callable[[StoredChunk], None] = lambda _: None, shown: Callable[[str], str] = str
    ) -> Iterator[Finding]:
        """Looks at the file's own structure, at each document, chunk and vector, and at the matrix for searches."""
        with self._snapshot():
            pass  # raises where it is closed
        # A connection of its own, since the caller may use the store meanwhile.
        with translate_errors(self.path), closing(open_reader(self.path)) as db:
            db.execute("BEGIN")
            yield from problems(db, self._search.path, look, shown)

    def ledger(self) -> Iterator[DocumentState]:
        last = ""
        while True:
            with self._snapshot() as db:
                page = rows.ledger_page(db, last, _PAGE)
            if not page:
                return
            yield from page
            last = page[-1].id

    def not_cut(self) -> list[str]:
        with self._snapshot() as db:
            return [name for (name,) in db.execute(NOT_CUT)]

    def read_chunks(self, found: Sequence[Finding]) -> list[StoredChunk | None]:
        with self._snapshot() as db:
            return [mending.read_chunk(db, each) for each in found]

    def rewrite(self, vectors: Sequence[tuple[Finding, Vector]]) -> None:
        with self._transaction() as db:
            mending.rewrite(db, vectors)

    def discard(self, found: Sequence[Finding]) -> None:
        """The matrix goes too, where it is damaged: the next search, or `prepare_search`, makes it anew."""
        with self._transaction() as db:
            mending.discard(db, found)
        if any(each.kind is DamageKind.MATRIX for each in found):
            with self._reading, translate_errors(self.path):
                self._search.discard()

    def written_by_others(self) -> bool:
        return self._lock is None and is_locked(self.path)

    def close(self) -> None:
        """Release the store; may be called twice. In a process that was forked it stays the other one's."""
        if os.getpid() != self._process:
            return
        with self._reading, self._writing, translate_errors(self.path):
            self._search.close()
            # The writer last: whoever is last moves the write-ahead log into the file.
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = None
            if self._lock is not None:
                self._lock.release()

    def _check_process(self) -> None:
        """Raise `StoreError` in a process that was forked: SQLite's locks are not its own there."""
        if os.getpid() != self._process:
            raise StoreError(f"store {self.path} was opened before this process was forked: open it anew in this one")

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        """The reader's connection, which shows one state of the store throughout."""
        self._check_process()
        with self._reading, translate_errors(self.path):
            if self._reader is None:
                raise StoreError(f"store {self.path} is closed")
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                if self._reader.in_transaction:
                    self._reader.execute("ROLLBACK")

    @contextmanager
    def _using_writer(self) -> Iterator[Connection]:
        """The writer's connection, in no transaction."""
        self._check_process()
        with self._writing, translate_errors(self.path):
            if self._writer is None:
                raise StoreError(f"store {self.path} is closed, or was opened for reading")
            yield self._writer

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[Connection]:
        """The writer's connection: either all that is done with it becomes durable, or nothing."""
        with self._using_writer() as db, db.transaction(begin):
            yield db


def _make_folder(folder: Path) -> None:
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            if folder.name == ".embedmill":  # the default place, in the midst of the user's own files
                (folder / ".gitignore").write_text("*\n")
    except OSError as error:
        raise StoreError(f"cannot create {folder}: {error.strerror}: check the path and the permissions") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
