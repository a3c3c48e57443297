"""Another model's vectors in a PostgreSQL store: in a schema beside it, until they are put in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from embedmill.core.documents import Chunk, StoredChunk
from embedmill.core.errors import StoreError
from embedmill.core.spaces import Fingerprint, differ_in_files_alone
from embedmill.storage.catalog import store_mismatch
from embedmill.storage.postgres import migrate as schemas
from embedmill.storage.postgres.blocking import BRIEFLY
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.identifiers import plain
from embedmill.storage.postgres.store import contents, rows
from embedmill.storage.postgres.store.session import Session
from embedmill.storage.second_space import PAGE, SECOND, ReembeddableBackend, not_a_second, nothing_to_swap

from psycopg import errors, sql  # isort: skip - after the module that says what to install

_SWAPPED: Final = ("meta", "chunks", "documents", "failures", "roots", "given", "rootless")
"""The tables that come from the second schema; `writer`, `seen` and what is known of users' tables stay."""

_MARK: Final = "second_space"
"""A table of the second schema that says what it is."""

# What others may do with the tables that go, for those that come.
_GRANTS: Final = """
    SELECT format('GRANT %%s ON %%I.%%I TO %%s%%s', a.privilege_type, n.nspname, c.relname,
                  CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) a
    WHERE n.nspname = %s AND c.relname = ANY (%s) AND a.grantee <> c.relowner
"""

# Views and foreign keys of others that would go with the tables.
_DEPENDENTS: Final = """
    SELECT DISTINCT coalesce(r.ev_class, k.conrelid)::regclass::text
    FROM pg_depend d
    LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid AND k.contype = 'f'
    JOIN pg_class c ON c.oid = coalesce(r.ev_class, k.conrelid)
    WHERE d.refobjid = ANY ('{meta, chunks, documents, failures, roots, given, rootless}'::regclass[])
    AND NOT (c.relname IN ('paths', 'chunks')
             AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()))
    ORDER BY 1
"""


class PostgresSecondStore(ReembeddableBackend, Protocol):
    """The second store, of this kind too."""

    @property
    def second_space(self) -> PostgresSecondSpace:
        """What makes it one."""


class PostgresSecondSpace:
    """`SecondSpace` of a PostgreSQL store; without docstrings where that says it."""

    def __init__(
        self,
        url: str,
        schema: str,
        reading: Session,
        write: Callable[[Callable[[Connection], int]], int],
        become: Callable[[str, int], object],
        opened: Callable[[str], PostgresSecondStore],
    ) -> None:
        """`become` is told which space the store is of, and its dimension; `opened` is the store of a schema."""
        self._url, self._schema, self._next = url, schema, schema + SECOND
        self._reading, self._write = reading, write
        self._become = become
        self._opened = opened

    def sample(self, limit: int) -> list[StoredChunk]:
        return self._reading(lambda db: contents.sampled_chunks(db, limit))

    def rebind(self, fingerprint: Fingerprint, model: str) -> None:
        space = fingerprint.space

        def work(db: Connection) -> int:
            held = rows.bound(db)
            if held is not None:
                if not differ_in_files_alone(held.fields, space):
                    raise store_mismatch(self._url, held.model, held.space, held.fields, space, model)
                rows.rename(db, held.space, space, model)
            return 0

        self._write(work)
        self._become(space.id, space.dimension)

    def chunks(self, document: str, after: int) -> list[Chunk]:
        return self._reading(lambda db: contents.chunks_of(db, document, after, PAGE))

    # The second store

    def second(self) -> PostgresSecondStore | None:
        return self._opened(self._next) if self._reading(self._is_there) else None

    def begin_second(self) -> PostgresSecondStore:
        self._reading(self._refuse_dependents)  # before the work, and not after it
        marked = self._reading(self._is_there)
        second = self._opened(self._next)
        if marked:
            return second
        try:
            second.second_space.become_second(self._schema, f"{self._url}, schema {self._next}")
        except BaseException:
            second.close()
            raise
        return second

    def become_second(self, first: str, shown: str) -> None:
        """Note that this store, which holds nothing, is the second of one in another schema, whose folders it knows."""
        names = {"first": sql.Identifier(first)}

        def work(db: Connection) -> int:
            if rows.bound(db) is not None:
                raise not_a_second(shown, first)
            db.execute("DELETE FROM roots")
            db.execute(sql.SQL("INSERT INTO roots OVERRIDING SYSTEM VALUE SELECT * FROM {first}.roots").format(**names))
            db.execute("SELECT setval(pg_get_serial_sequence('roots', 'id'), (SELECT max(id) FROM roots))")
            db.execute("DELETE FROM given")
            db.execute(sql.SQL("INSERT INTO given SELECT * FROM {first}.given").format(**names))
            db.execute("DELETE FROM rootless")
            db.execute(sql.SQL("INSERT INTO rootless SELECT * FROM {first}.rootless").format(**names))
            db.execute(f"CREATE TABLE {_MARK} ()")
            return 0

        self._write(work)

    def swap(self) -> None:
        """See `SecondSpace`. Searches wait while the tables are moved, and are not waited for longer than a moment."""

        def work(db: Connection) -> int:
            bound = sql.SQL("SELECT true FROM {}").format(sql.Identifier(self._next, "meta"))
            if not self._is_there(db) or not db.scalar(bound):
                raise nothing_to_swap(self._url)
            db.set_local(lock_timeout=BRIEFLY)
            own = [sql.Identifier(self._schema, name) for name in _SWAPPED]
            db.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.SQL(", ").join(own)))
            self._refuse_dependents(db)
            grants = db.scalars(_GRANTS, [self._schema, [*_SWAPPED, "paths"]])
            db.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier(self._schema, "paths")))
            db.execute(sql.SQL("DROP TABLE {}").format(sql.SQL(", ").join(own)))
            for kind, name in (*(("TABLE", name) for name in _SWAPPED), ("VIEW", "paths")):
                move = sql.SQL("ALTER {} {} SET SCHEMA {}")
                db.execute(move.format(sql.SQL(kind), sql.Identifier(self._next, name), sql.Identifier(self._schema)))
            for grant in grants:
                db.execute(sql.SQL(grant))
            _drop(db, self._next, schemas.created())
            return int(db.scalar("SELECT dimension FROM meta"))

        dimension = self._write(work)
        self._become(self._reading(lambda db: str(db.scalar("SELECT space FROM meta"))), dimension)

    def drop_second(self) -> None:
        def work(db: Connection) -> int:
            if self._is_there(db):
                db.set_local(lock_timeout=BRIEFLY)
                _drop(db, self._next, schemas.created())
            return 0

        self._write(work)

    def _is_there(self, db: Connection) -> bool:
        mark = plain(sql.Identifier(self._next, _MARK))
        return bool(db.scalar("SELECT to_regclass(%s) IS NOT NULL", [mark]))

    def _refuse_dependents(self, db: Connection) -> None:
        """Raise `StoreError` where views or foreign keys of others would have to go with the tables."""
        if others := db.scalars(_DEPENDENTS):
            raise StoreError(
                f"store {self._url}: {', '.join(others)} of the database depends on the store's tables, which another "
                "model's take the place of: drop it, and make it anew when that is done"
            )


def _drop(db: Connection, schema: str, created: Sequence[tuple[str, str]]) -> None:
    """Remove what embedmill has made in a schema, and the schema where nothing else is in it."""
    db.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(sql.Identifier(schema, "paths")))
    for kind, name in (*reversed(created), ("TABLE", "migrations"), ("TABLE", _MARK)):
        db.execute(sql.SQL("DROP {} IF EXISTS {}").format(sql.SQL(kind), sql.Identifier(schema, name)))
    try:
        with db.transaction():
            db.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(schema)))
    except (errors.DependentObjectsStillExist, errors.InsufficientPrivilege):
        pass  # it is somebody else's too
