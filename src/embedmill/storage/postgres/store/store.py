"""The store in PostgreSQL: a schema of its own in the user's database, searched by pgvector."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from embedmill.core.damage import Finding
from embedmill.core.documents import Chunk, DocumentState, Failure, Hit, Record, Replacement, StoredChunk, StoreStatus
from embedmill.core.errors import StoreError
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Cause, Vector
from embedmill.storage.catalog import prompts_of, store_mismatch
from embedmill.storage.checksums import is_altered
from embedmill.storage.driver import DB_TIMEOUT, DEFAULT_SCHEMA
from embedmill.storage.integrity import NOT_CUT
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.copy_format import read_vector
from embedmill.storage.postgres.retry import Retry
from embedmill.storage.postgres.server_errors import gone_as_damage, translate_errors
from embedmill.storage.postgres.store import mending, rows, text
from embedmill.storage.postgres.store import search as nearest
from embedmill.storage.postgres.store.contents import stored_chunks, whole_chunks
from embedmill.storage.postgres.store.inspection import problems
from embedmill.storage.postgres.store.roots import PostgresRoots
from embedmill.storage.postgres.store.second_space import PostgresSecondSpace
from embedmill.storage.postgres.store.session import Done, Session, StoreLocation, WriterRun
from embedmill.storage.roots import Anchor
from embedmill.storage.scores import check_shape, finite, score_of
from embedmill.storage.second_space import KnownSpace

log = logging.getLogger(__name__)

_PAGE: Final = 1000  # failures read at once


class PostgresStore:
    """The backend of a store (see `embedmill.storage.rooted`) in a schema of a PostgreSQL database with pgvector.

    A document and its vectors come in one transaction, which also removes what they replace; the row of a
    complete document is the ledger's entry. Reads have a connection of their own: they may come from another
    thread than the writes, and neither waits for the other. A connection that is lost is made anew, and what was
    under way is done again, each write once.

    Every method raises `StoreError` where the database cannot be read or written; what was stored before stays.
    """

    anchor: Anchor | None = None  # a database lies in no folder

    def __init__(
        self,
        url: str,
        schema: str = DEFAULT_SCHEMA,
        *,
        write: bool = True,
        create: bool = True,
        db_timeout: float = DB_TIMEOUT,
    ) -> None:
        """`db_timeout`: seconds for which a lost connection is made anew."""
        self._db_timeout = db_timeout
        self._retry = Retry(url, db_timeout)
        self._location = StoreLocation(url, schema, self._retry)
        self.url = self._location.redacted
        self.schema = schema
        self._staged: dict[str, int] = {}  # documents staged by this run: name -> documents.id
        self._known = KnownSpace(self.url)
        with ExitStack() as stack:
            stack.callback(self._retry.close)
            self._run = WriterRun(self._location, create=create) if write else None
            if self._run is not None:
                stack.callback(self._run.close)
            self._reading = Session(self._location, self._location.open_reader(), self._location.reopen_reader)
            stack.callback(self._reading.close)
            self.writable = write
            self.roots = PostgresRoots(self._reading, self._write)
            self.second_space = PostgresSecondSpace(
                self.url, schema, self._reading, self._write, self._become, self._opened
            )
            held = self._reading(rows.bound)
            self._closing = stack.pop_all()
        self._dimension = None if held is None else held.dimension  # for the writer, who alone can change it
        self._known.become(None if held is None else held.space)

    def _opened(self, schema: str) -> PostgresStore:
        how: dict[str, Any] = {"write": self.writable, "db_timeout": self._db_timeout}
        return PostgresStore(self._location.url, schema, **how)

    def bind(self, fingerprint: Fingerprint, model: str) -> None:
        space = fingerprint.space

        def work(db: Connection) -> int:
            held = rows.bound(db)
            if held is None or held.space != space.id:
                if held is not None and rows.has_chunks(db):
                    raise store_mismatch(self.url, held.model, held.space, held.fields, space, model)
                rows.bind(db, space, model)
            elif held.fields != asdict(space):
                rows.note_fields(db, space)
            return 0

        self._write(work, lambda _: self._become(space.id, space.dimension))

    def states(self, ids: Sequence[str]) -> dict[str, DocumentState]:
        return {state.id: state for state in self._reading(lambda db: rows.states(db, ids))}

    def vectors(self, hashes: Sequence[bytes], precision: str) -> dict[bytes, Vector]:
        query = """
            SELECT hash, vector, checksum FROM chunks WHERE id IN (
                SELECT min(c.id) FROM chunks c JOIN documents d ON d.id = c.document
                WHERE hash = ANY(%b::bytea[]) AND precision = %s GROUP BY hash
            )"""
        found = self._reading(lambda db: db.execute(query, [list(hashes), precision], binary=True).fetchall())
        read = ((key, read_vector(sent), checksum) for key, sent, checksum in found)
        return {key: vector for key, vector, checksum in read if not is_altered(checksum, key, vector)}

    def stage(self, document: str, records: Sequence[Record], precision: str) -> None:
        def work(db: Connection) -> int:
            version = self._staged.get(document)
            if version is None:
                version = rows.begin_staged(db, document, precision)
            rows.add(db, [(version, records)], self._dimension)
            self._mark_seen(db, [document])
            return version

        self._write(work, lambda version: self._staged.update({document: version}))

    def replace(self, replacements: Sequence[Replacement]) -> None:
        latest = {replacement.state.id: replacement for replacement in replacements}
        failures = [(name, failure) for name, new in latest.items() for failure in new.failures]

        def work(db: Connection) -> int:
            versions = rows.complete(db, list(latest.values()), [self._staged.get(name) for name in latest])
            parts = [(version, new.records) for version, new in zip(versions, latest.values(), strict=True)]
            rows.add(db, parts, self._dimension)
            rows.forget_failures(db, latest, but=[(name, failure.index) for name, failure in failures])
            rows.record_failures(db, failures)
            self._mark_seen(db, list(latest))
            return 0

        def done(_: int) -> None:
            for name in latest:
                self._staged.pop(name, None)

        self._write(work, done)

    def fail(self, document: str, failures: Sequence[Failure]) -> None:
        def work(db: Connection) -> int:
            rows.record_failures(db, [(document, failure) for failure in failures])
            self._mark_seen(db, [document])
            return 0

        self._write(work)

    def update_stats(self, states: Sequence[DocumentState]) -> None:
        def work(db: Connection) -> int:
            rows.update_stats(db, states)
            self._mark_seen(db, [state.id for state in states])
            return 0

        self._write(work)

    def mark_seen(self, ids: Sequence[str]) -> None:
        self._writer.note(lambda db: self._mark_seen(db, ids))

    def forget_seen(self) -> None:
        self._writer.note(partial(rows.forget_seen, run=self._writer.number))

    def remove_unseen(self, scopes: Sequence[str], keep: Sequence[str] = ()) -> int:
        """Nothing goes where the server has crashed meanwhile and forgotten what was seen: the next run does that."""
        run = self._writer.number

        def work(db: Connection) -> int:
            if not rows.saw_all(db, run):
                return -1
            return rows.remove_unseen(db, run, scopes, keep, self._staged.values())

        removed = self._write(work, needless=True)
        if removed < 0:
            log.warning("%s has crashed during this run: what has vanished is removed by the next", self.url)
        return max(removed, 0)

    def unseen(self, scopes: Sequence[str], keep: Sequence[str] = ()) -> Iterator[Sequence[str]]:
        writer, last = self._writer, ""
        look = partial(rows.unseen, run=writer.number, scopes=scopes, keep=keep)
        while page := writer.note(partial(look, after=last), needless=True):
            yield page
            last = page[-1]

    def failures(self) -> Iterator[Failure]:
        # In pages, so that the caller may use the store between two of them.
        last: tuple[str, int] = ("", -2)
        while page := self._reading(partial(_failures, after=last)):
            for document, index, start, end, line, kind, message, attempts in page:
                cause = Cause(text.read(kind), text.read(message))
                yield Failure(text.read(document), index, start, end, line, cause, attempts)
            last = page[-1][:2]

    def failed_documents(self) -> list[str]:
        query = "SELECT DISTINCT document FROM failures ORDER BY document"
        return [text.read(name) for name in self._reading(lambda db: db.scalars(query))]

    def status(self) -> StoreStatus:
        return self._reading(_status)

    def search(
        self, vector: Vector, k: int, fits: Callable[[str], bool] | None = None, *, exact: bool = False
    ) -> list[Hit]:
        """Where the chunks have an index it is used, and may miss some of the best, unless `exact`.

        Raises `ValueError` for a vector that is not finite or not of the store's dimension.
        """
        query = finite(vector)

        def work(db: Connection) -> list[Hit]:
            held = rows.bound(db)
            self._known.check(None if held is None else held.space)
            if held is None or k < 1:
                return []
            check_shape(query, held.dimension)
            return nearest.search(db, query, k, score_of(held.fields), fits, exact=exact)

        return self._reading(work)

    def prepare_search(self) -> bool:
        """Builds an index where it pays: above 10,000 chunks, in a store opened for writing."""
        dimension = self._dimension
        if self._run is None or dimension is None:
            return False
        held = self._run.note(rows.bound)
        score = score_of(held.fields if held is not None else {})
        return self._run.note(lambda db: nearest.build_index(db, dimension, score), needless=True)

    def has_index(self) -> bool:
        """Whether there is an HNSW index for the score that the store's model wants."""

        def work(db: Connection) -> bool:
            held = rows.bound(db)
            return held is not None and nearest.is_indexed(db, score_of(held.fields))

        return self._reading(work)

    def finish_within(self, seconds: float) -> None:
        """From now on no answer is waited for longer than this; what need not be done now is not."""
        self._retry.finish_within(seconds)

    def chunks(self) -> Iterator[StoredChunk]:
        self._reading(rows.bound)  # raises where it is closed
        with self._apart() as db:
            yield from stored_chunks(db)

    def read(self, documents: Sequence[str] | None = None) -> Iterator[Chunk]:
        self._reading(rows.bound)
        with self._apart() as db:
            yield from whole_chunks(db, documents)

    def verify(
        self, look: Callable[[StoredChunk], None] = lambda _: None, shown: Callable[[str], str] = str
    ) -> Iterator[Finding]:
        self._reading(rows.bound)  # raises where it is closed
        with self._apart() as db:
            yield from problems(db, look, shown)

    def ledger(self) -> Iterator[DocumentState]:
        last = ""
        while page := self._reading(partial(rows.ledger_page, after=last)):
            yield from page
            last = page[-1].id

    def not_cut(self) -> list[str]:
        return [text.read(name) for name in self._reading(lambda db: db.scalars(NOT_CUT))]

    def read_chunks(self, found: Sequence[Finding]) -> list[StoredChunk | None]:
        return self._reading(lambda db: [mending.read_chunk(db, each) for each in found])

    def rewrite(self, vectors: Sequence[tuple[Finding, Vector]]) -> None:
        self._write(lambda db: mending.rewrite(db, vectors))

    def discard(self, found: Sequence[Finding]) -> None:
        """An index that is not valid goes too: `prepare_search` builds the one for searches anew."""
        dimension = self._dimension
        self._write(lambda db: mending.discard(db, found, dimension))

    def written_by_others(self) -> bool:
        return self._run is None and self._reading(self._location.is_written)

    def close(self) -> None:
        """Release the store; may be called twice."""
        self._closing.close()

    @contextmanager
    def _apart(self) -> Iterator[Connection]:
        """A connection of its own, in a transaction, so that the caller may use the store meanwhile."""
        url = self._location.url
        with translate_errors(url), gone_as_damage(url), closing(self._location.open_reader()) as db, db.transaction():
            yield db

    @property
    def _writer(self) -> WriterRun:
        if self._run is None:
            raise StoreError(f"store {self.url} was opened for reading")
        return self._run

    def _write(self, work: Callable[[Connection], int], done: Done = lambda _: None, *, needless: bool = False) -> int:
        return self._writer.transaction(work, done, needless=needless)

    def _become(self, space: str, dimension: int) -> None:
        """From now on the store is of this space."""
        self._known.become(space)
        self._dimension = dimension

    def _mark_seen(self, db: Connection, names: Sequence[str]) -> None:
        rows.mark_seen(db, self._writer.number, names)


def _failures(db: Connection, after: tuple[str, int]) -> list[tuple[Any, ...]]:
    return db.execute(
        """SELECT document, idx, start, "end", line, type, message, attempts FROM failures
           WHERE (document, idx) > (%s, %s) ORDER BY document, idx LIMIT %s""",
        [*after, _PAGE],
    ).fetchall()


def _status(db: Connection) -> StoreStatus:
    bound = rows.bound(db)
    (found,) = db.execute(
        """SELECT count(*), coalesce(sum(chunks), 0)::bigint,
               array_agg(DISTINCT precision ORDER BY precision) FILTER (WHERE chunks > 0),
               (SELECT count(*) FROM failures),
               (SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
                WHERE c.oid = ANY('{meta, writer, seen, documents, chunks, failures}'::regclass[]))
           FROM documents WHERE complete"""
    ).fetchall()
    documents, chunks, precisions, failures, size = found
    document_prompt, query_prompt = prompts_of(bound.fields if bound else {})
    return StoreStatus(
        documents=documents,
        chunks=chunks,
        failures=failures,
        model=bound.model if bound else None,
        space=bound.space if bound else None,
        precision=tuple(precisions or ()),
        dimension=bound.dimension if bound else None,
        bytes=size,
        document_prompt=document_prompt,
        query_prompt=query_prompt,
    )
