"""What a PostgreSQL database knows of the tables that are filled in it, and who is at work."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Final

from embedmill.fingerprint import Fingerprint
from embedmill.postgres import schema as schemas
from embedmill.postgres.connecting import Connection
from embedmill.postgres.names import Name
from embedmill.tables.listing import Entry
from embedmill.tables.naming import shown
from embedmill.tables.postgres.statements import Statements
from embedmill.tables.postgres.target import Target
from embedmill.tables.registered import Registered

from psycopg import errors, sql  # isort: skip - after the module that says what to install

_OWN: Final = ("migrations", "tables", "meta", "writer", "seen", "documents", "chunks", "failures")

_ENTRIES: Final = """
    SELECT t.name_schema, t.name, t.text, t.vector, t.model, t.space, t.filled FROM {} t
    JOIN pg_namespace n ON n.nspname = t.name_schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = t.vector AND NOT a.attisdropped
    ORDER BY 1, 2, 4
"""


class Registry:
    """The tables of one schema of embedmill's."""

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self._tables = Name(schema, "tables")

    def marks(self, number: int) -> sql.Identifier:
        """The table of a table's marks."""
        return Name(self.schema, f"marks_{number}")

    def owns(self, target: Target) -> bool:
        """Whether the table is one of embedmill's."""
        return target.schema == self.schema and (target.name in _OWN or target.name.startswith("marks_"))

    def find(self, connection: Connection, url: str, schema: str, name: str, vector: str) -> Registered | None:
        """The entry of a table and its vector column; None where there is none."""
        if schemas.version(connection, self.schema, url) == 0:
            return None
        return self._find(connection, schema, name, vector)

    def entries(self, connection: Connection, url: str) -> list[Entry]:
        """The tables that are still there, in order of their names; none where this user may not read of them."""
        if schemas.version(connection, self.schema, url) == 0:
            return []
        try:
            rows = connection.execute(sql.SQL(_ENTRIES).format(self._tables)).fetchall()
        except errors.InsufficientPrivilege:  # who may search a store need not know of tables
            return []
        return [Entry(shown([schema, name]), *others) for schema, name, *others in rows]

    def bind(
        self, connection: Connection, target: Target, fingerprint: Fingerprint, model: str, *, overwrite: bool
    ) -> Registered:
        """Register the table with its space, and create its marks.

        Raises `SpaceMismatch` where it holds vectors of another space, unless they are to be overwritten.
        """
        space = fingerprint.space
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"embedmill {self.schema}"])
            found = self._entry(connection, target)
            marks = self.marks(found.id)
            connection.execute(Statements(target, marks, marks).create_marks, {})
            if not overwrite:
                self.check(connection, target, found, fingerprint, model)
            if found.space == space.id and found.fields != asdict(space):  # another prompt for queries
                connection.execute(
                    sql.SQL("UPDATE {} SET fields = %s WHERE id = %s").format(self._tables),
                    [json.dumps(asdict(space), sort_keys=True), found.id],
                )
            if found.space != space.id:
                connection.execute(
                    sql.SQL("UPDATE {} SET space = %s, fields = %s, model = %s WHERE id = %s").format(self._tables),
                    [space.id, json.dumps(asdict(space), sort_keys=True), model, found.id],
                )
                found = replace(found, space=space.id, model=model)
        return found

    def check(
        self, connection: Connection, target: Target, found: Registered, fingerprint: Fingerprint, model: str
    ) -> None:
        """Raise `SpaceMismatch` where rows of the table have vectors of another space."""
        space = fingerprint.space.id
        if found.space != space:
            query = sql.SQL("SELECT space FROM {} WHERE space <> %s LIMIT 1").format(self.marks(found.id))
            other = connection.execute(query, [space]).fetchone()
            if other is not None:
                raise found.mismatch(f"{target.title}.{target.vector}", other[0], model, space)

    def note_filled(self, connection: Connection, number: int) -> None:
        """A run has come to its end."""
        query = sql.SQL("UPDATE {} SET filled = true WHERE id = %s AND NOT filled").format(self._tables)
        connection.execute(query, [number])

    def next_run(self, connection: Connection) -> int:
        """A number for a new run."""
        query = sql.SQL("SELECT nextval({}::regclass)").format(
            sql.Literal(sql.Identifier(self.schema, "runs").as_string(connection))
        )
        return int((connection.execute(query).fetchone() or (0,))[0])

    def lock(self, connection: Connection) -> int:
        """The first half of the key of the advisory locks that runs hold; the second is their number."""
        query = "SELECT hashtext(%s)::bigint & 2147483647"
        return int((connection.execute(query, [f"embedmill runs {self.schema}"]).fetchone() or (0,))[0])

    def _find(self, connection: Connection, schema: str, name: str, vector: str) -> Registered | None:
        query = sql.SQL(
            "SELECT id, space, model, filled, text, keys, fields FROM {} "
            "WHERE (name_schema, name, vector) = (%s, %s, %s)"
        ).format(self._tables)
        row = connection.execute(query, [schema, name, vector]).fetchone()
        return None if row is None else Registered(*row)

    def _entry(self, connection: Connection, target: Target) -> Registered:
        """The table's entry, with its columns as they are now; its marks go where it has another key than they."""
        keys, types = list(target.keys), list(target.key_types)
        found = self._find(connection, target.schema, target.name, target.vector)
        if found is None:
            query = sql.SQL(
                "INSERT INTO {} (name_schema, name, vector, text, keys, key_types) VALUES (%s, %s, %s, %s, %s, %s) "
                "RETURNING id"
            ).format(self._tables)
            values = [target.schema, target.name, target.vector, target.text, keys, types]
            number = int((connection.execute(query, values).fetchone() or (0,))[0])
            return Registered(number, None, None, False, target.text, keys)
        query = sql.SQL(
            "UPDATE {tables} new SET text = %s, keys = %s, key_types = %s FROM {tables} old "
            "WHERE new.id = %s AND old.id = new.id RETURNING (old.keys, old.key_types) <> (new.keys, new.key_types)"
        ).format(tables=self._tables)
        (other_key,) = connection.execute(query, [target.text, keys, types, found.id]).fetchone() or (False,)
        found.warn_of_changes(target.title, target.vector, target.text, other_key=other_key)
        if other_key:
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self.marks(found.id)))
        return replace(found, text=target.text, keys=keys)
