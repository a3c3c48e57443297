"""What a PostgreSQL database knows of the tables that are filled in it, and who is at work."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any, Final

from embedmill.core.errors import UsageError
from embedmill.core.spaces import Fingerprint
from embedmill.storage.catalog import CatalogEntry, ListedTable
from embedmill.storage.columns import shown
from embedmill.storage.driver import TableRequest
from embedmill.storage.postgres import migrate as schemas
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.identifiers import Name, plain
from embedmill.storage.postgres.table import identity, table_spec
from embedmill.storage.postgres.table.carrying import Carrying, Evidence
from embedmill.storage.postgres.table.session import IN_ORDER, WHOLE
from embedmill.storage.postgres.table.statements import Statements
from embedmill.storage.postgres.table.table_spec import TableSpec

from psycopg import errors, sql  # isort: skip - after the module that says what to install
from psycopg.pq import TransactionStatus  # isort: skip

_OF_STORE: Final = ("meta", "writer", "seen", "roots", "given", "rootless", "documents", "chunks", "failures")
_OWN: Final = ("migrations", "tables", *_OF_STORE)

_MARKS: Final = "marks_"

_IDENTITIES: Final = 4
"""The migration from which on more is noted of a table than its names."""

_NEW: Final = """
    INSERT INTO {} (name_schema, name, vector, vector_type, text, keys, key_types)
    VALUES (%(schema)s, %(name)s, %(vector)s, %(type)s, %(text)s, %(keys)s, %(key_types)s) RETURNING id
"""

_NOTE: Final = """
    UPDATE {tables} SET
        known_in = {known_in}, relation = %(oid)s::oid, name_schema = %(schema)s, name = %(name)s,
        vector = %(vector)s, vector_number = %(number)s, vector_type = %(type)s,
        text = %(text)s::text, keys = %(keys)s::text[], key_types = %(key_types)s,
        text_number = (SELECT attnum FROM pg_attribute WHERE attrelid = %(oid)s::oid AND attname = %(text)s::text),
        key_numbers = ARRAY(SELECT attnum FROM unnest(%(keys)s::text[]) WITH ORDINALITY AS k (name, place)
                            JOIN pg_attribute a ON a.attrelid = %(oid)s::oid AND a.attname = k.name ORDER BY k.place)
    WHERE id = %(id)s
"""

# Where its vectors were replaced by copies of another table's, the entry of those that were there is of no table now.
_LEAVE: Final = """
    UPDATE {tables} SET known_in = ''
    WHERE relation = %(oid)s::oid AND vector_number = %(number)s AND known_in = {known_in} AND id <> %(id)s
"""

_VECTORS: Final = """
    SELECT n.nspname, c.relname, a.attname
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_type t ON t.oid = a.atttypid
    WHERE t.typname IN ('vector', 'halfvec') AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
    AND n.nspname <> %s
"""

_FOLLOW: Final = "UPDATE {tables} SET name_schema = %s, name = %s, vector = %s WHERE id = %s"

_COPY: Final = """
    UPDATE {tables} new SET space = old.space, fields = old.fields, model = old.model, filled = old.filled
    FROM {tables} old WHERE old.id = %(from)s AND new.id = %(id)s
"""

_FORGET: Final = """
    UPDATE {tables} t SET space = NULL, fields = NULL, model = NULL, filled = false
    WHERE id = %(id)s AND NOT EXISTS (SELECT FROM {marks} m WHERE m.space = t.space)
"""


class Catalog:
    """The tables of one schema of embedmill's."""

    def __init__(self, schema: str) -> None:
        self.schema = schemas.check_name(schema)
        self._tables = Name(schema, "tables")

    def marks(self, number: int) -> sql.Identifier:
        """The table of a table's marks."""
        return Name(self.schema, f"{_MARKS}{number}")

    def owns(self, spec: TableSpec) -> bool:
        """Whether the table is one of embedmill's."""
        return spec.schema == self.schema and (spec.name in _OWN or spec.name.startswith(_MARKS))

    def find(self, connection: Connection, spec: TableSpec) -> CatalogEntry | None:
        """The entry of a table and its vector column; None where there is none."""
        number = schemas.version(connection, self.schema)
        if number == 0:
            return None
        found = self._find(connection, spec, by_name=number < _IDENTITIES)
        if found is None or found.fits or not spec.keys:
            return found
        # What is known is what can be carried over.
        query = sql.SQL("SELECT true FROM {} m WHERE m.space = %s LIMIT 1").format(
            self.marks_of(connection, spec, found)
        )
        return found if connection.scalar(query, [found.space]) else found.without_vectors()

    def _find(self, connection: Connection, spec: TableSpec, *, by_name: bool) -> CatalogEntry | None:
        there = identity.entries(connection, self._tables, by_name=by_name)
        return identity.find(connection, spec, there, None if by_name else Evidence(spec, self.marks))

    def marks_of(self, connection: Connection, spec: TableSpec, found: CatalogEntry) -> sql.Composable:
        """The marks of the table's rows for a statement that reads: where they do not fit, as they would be carried.

        Then all is read that the connection reads until the table is bound.
        """
        if found.fits:
            return self.marks(found.id)
        connection.settle(**WHOLE)
        _read_whole(connection)
        query = "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped"
        keys = found.keys if {*found.keys} <= {*connection.scalars(query, [spec.oid])} else None
        # An older version has not noted what would tell: most likely it has only been renamed.
        guessed = keys is None and not found.prints and len(found.keys) == len(spec.keys)
        marks, prints = self.marks(found.id), self._has_prints(connection, found.id)
        keys = list(spec.keys) if guessed else keys
        carried = Carrying(spec, marks).carried(keys, prints=prints, guessed=guessed)
        return sql.SQL("({})").format(carried)

    def entries(self, connection: Connection) -> list[ListedTable]:
        """The tables that are still there, in order of their names; none where this user may not read of them."""
        number = schemas.version(connection, self.schema)
        if number == 0:
            return []
        try:
            there = identity.entries(connection, self._tables, by_name=number < _IDENTITIES)
        except errors.InsufficientPrivilege:  # who may search a store need not know of tables
            return []
        found = {entry.names: entry.registered(fits=True, own=True) for entry in there if entry.lives}
        names = [entry.names for entry in there if entry.is_named]
        if any(not (entry.lives or entry.is_named) for entry in there):  # which any table may be
            names += connection.execute(_VECTORS, [self.schema]).fetchall()
        for name in names:
            known = self._named(connection, *name) if name not in found else None
            if known is not None:
                found[name] = known
        return [
            ListedTable(shown([schema, table]), known.text, vector, known.model, known.space, known.filled)
            for (schema, table, vector), known in sorted(found.items(), key=lambda each: each[0])
        ]

    def _named(self, connection: Connection, schema: str, table: str, vector: str) -> CatalogEntry | None:
        """What is known of the table and column of these names; None where that is nothing."""
        try:
            spec = table_spec.find(connection, shown([schema, table]), TableRequest(vector=vector))
            known = self.find(connection, spec)
        except (UsageError, errors.InsufficientPrivilege):  # no table to fill, or none to look at
            return None
        return known if known is not None and (known.space is not None or known.fits) else None

    def bind(
        self, connection: Connection, spec: TableSpec, fingerprint: Fingerprint, model: str, *, overwrite: bool
    ) -> CatalogEntry:
        """Register the table with its space, and create its marks.

        Raises `SpaceMismatch` where it holds vectors of another space, unless they are to be overwritten.
        """
        space = fingerprint.space
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"embedmill {self.schema}"])
            found = self._entry(connection, spec)
            if not overwrite:
                self.check(connection, spec, found, fingerprint, model)
            if (found.space, found.fields) != (space.id, asdict(space)):  # may be another prompt for queries alone
                found = replace(found, space=space.id, model=found.model if found.space == space.id else model)
                query = sql.SQL("UPDATE {} SET space = %s, fields = %s, model = %s WHERE id = %s").format(self._tables)
                fields = json.dumps(asdict(space), sort_keys=True)
                connection.execute(query, [space.id, fields, found.model, found.id])
        connection.settle(**IN_ORDER)  # the marks fit from now on
        return found

    def rebind(self, connection: Connection, spec: TableSpec, fingerprint: Fingerprint, model: str) -> None:
        """Note another name of the space that the table's vectors are of."""
        space = fingerprint.space
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"embedmill {self.schema}"])
            found = self._entry(connection, spec)
            found.check_rebinding(f"{spec.title}.{spec.vector}", space, model)
            marks = sql.SQL("UPDATE {} SET space = %s WHERE space = %s").format(self.marks(found.id))
            connection.execute(marks, [space.id, found.space])
            query = sql.SQL("UPDATE {} SET space = %s, fields = %s, model = %s WHERE id = %s").format(self._tables)
            connection.execute(query, [space.id, json.dumps(asdict(space), sort_keys=True), model, found.id])

    @property
    def tables(self) -> Name:
        """The catalog's own table."""
        return self._tables

    def check(
        self, connection: Connection, spec: TableSpec, found: CatalogEntry, fingerprint: Fingerprint, model: str
    ) -> None:
        """Raise `SpaceMismatch` where rows of the table have vectors of another space."""
        space = fingerprint.space.id
        if found.space != space:
            marks = self.marks_of(connection, spec, found)
            query = Statements(spec, marks).other_space
            other = connection.scalar(query, {"space": space})
            if other is not None:
                raise found.mismatch(f"{spec.title}.{spec.vector}", other, model, fingerprint.space, spec.option)

    def mark_complete(self, connection: Connection, number: int) -> None:
        """A run has come to its end."""
        query = sql.SQL(
            "UPDATE {} SET filled = true, overwriting = NULL WHERE id = %s AND (NOT filled OR overwriting IS NOT NULL)"
        )
        connection.execute(query.format(self._tables), [number])

    def overwrite_from(self, connection: Connection, number: int, run: int) -> int:
        """The first run of an overwriting that this one begins, or goes on with."""
        query = sql.SQL("UPDATE {} SET overwriting = coalesce(overwriting, %s) WHERE id = %s RETURNING overwriting")
        return int(connection.scalar(query.format(self._tables), [run, number]))

    def next_run(self, connection: Connection) -> int:
        """A number for a new run."""
        query = sql.SQL("SELECT nextval({}::regclass)").format(
            sql.Literal(sql.Identifier(self.schema, "runs").as_string(connection))
        )
        return int(connection.scalar(query))

    def lock(self, connection: Connection) -> int:
        """The first half of the key of the advisory locks that runs hold; the second is their number."""
        query = "SELECT hashtext(%s)::bigint & 2147483647"
        return int(connection.scalar(query, [f"embedmill runs {self.schema}"]))

    def _entry(self, connection: Connection, spec: TableSpec) -> CatalogEntry:
        """The table's entry, with its names and columns as they are now, and marks that fit its rows."""
        found = self._find(connection, spec, by_name=False)
        values = _values(spec)
        new = sql.SQL(_NEW).format(self._tables)
        number = found.id if found is not None and found.own else int(connection.scalar(new, values))
        if found is not None:
            found.warn_of_changes(spec.title, spec.vector, spec.text)
        if found is not None and not found.fits and self._is_there(connection, found.id):
            self._carry(connection, spec, found, number)
        marks = self.marks(number)
        connection.execute(Statements(spec, marks).create_marks, {})
        if not self._has_prints(connection, number):  # they were another user's when the schema was brought up to date
            connection.execute(sql.SQL("ALTER TABLE {} ADD print bytea").format(marks))
        self._note(connection, spec, number, values | {"id": number})
        query = sql.SQL("SELECT id, space, model, filled, text, keys, fields, overwriting FROM {} WHERE id = %s")
        (noted,) = connection.records(CatalogEntry, query.format(self._tables), [number])
        return replace(noted, before=found.before if found is not None and found.own else None)

    def _note(self, connection: Connection, spec: TableSpec, number: int, values: dict[str, Any]) -> None:
        """Note what the table is known by, and the present names of all others that are."""
        marks, tables = self.marks(number), self._tables
        query = sql.SQL("SELECT vector_type FROM {} WHERE id = %s").format(tables)
        # Where it is another: noted by an older version, or the vectors have been given another precision.
        if connection.scalar(query, [number]) != spec.kind:
            _read_whole(connection)
            connection.execute(Statements(spec, marks).print_all, {})
        known_in = identity.known_in(tables)
        connection.execute(sql.SQL(_LEAVE).format(tables=tables, known_in=known_in), values)
        connection.execute(sql.SQL(_NOTE).format(tables=tables, known_in=known_in), values)
        for entry in identity.entries(connection, tables, by_name=False):
            if entry.lives:
                connection.execute(sql.SQL(_FOLLOW).format(tables=tables), [*entry.names, entry.row["id"]])

    def _carry(self, connection: Connection, spec: TableSpec, found: CatalogEntry, number: int) -> None:
        """Make marks that fit the rows out of older ones, which go if they are the table's own."""
        marks = self.marks(number)
        made = Name(self.schema, f"{_MARKS}{number}_new")
        statements = Statements(spec, made)
        connection.execute(statements.create_marks, {})
        connection.execute(statements.copy_marks(self.marks_of(connection, spec, found)), {})
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(marks))
        name = sql.Identifier(f"{_MARKS}{number}")
        connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(made, name))
        parts = {"tables": self._tables, "marks": marks}
        for query in (_FORGET,) if found.own else (_COPY, _FORGET):
            connection.execute(sql.SQL(query).format(**parts), {"id": number, "from": found.id})

    def _has_prints(self, connection: Connection, number: int) -> bool:
        query = "SELECT true FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = 'print'"
        return bool(connection.scalar(query, [plain(self.marks(number))]))

    def _is_there(self, connection: Connection, number: int) -> bool:
        return connection.scalar("SELECT to_regclass(%s)", [plain(self.marks(number))]) is not None


def _values(spec: TableSpec) -> dict[str, Any]:
    """What is noted of a table."""
    return {
        "oid": spec.oid,
        "schema": spec.schema,
        "name": spec.name,
        "vector": spec.vector,
        "number": spec.number,
        "type": spec.kind,
        "text": spec.text,
        "keys": list(spec.keys),
        "key_types": list(spec.key_types),
    }


def _read_whole(connection: Connection) -> None:
    """Let the planner read all of a table, until the transaction's end."""
    if connection.info.transaction_status is TransactionStatus.INTRANS:
        connection.set_local(**WHOLE)
