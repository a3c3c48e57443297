"""What a PostgreSQL database knows of the tables that are filled in it, and who is at work."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from typing import Final

from embedmill.fingerprint import Fingerprint
from embedmill.postgres import schema as schemas
from embedmill.postgres.connecting import Connection
from embedmill.postgres.names import Name
from embedmill.tables.registered import Registered
from embedmill.tables.statements import Statements
from embedmill.tables.target import Noted, Target

from psycopg import sql  # isort: skip - after the module that says what to install

log = logging.getLogger(__name__)


_OWN: Final = ("migrations", "tables", "meta", "writer", "seen", "documents", "chunks", "failures")


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

    def find(self, connection: Connection, target: Target) -> Registered | None:
        """The entry of a table and its vector column."""
        query = sql.SQL(
            "SELECT id, space, model, filled FROM {} WHERE (name_schema, name, vector) = (%s, %s, %s)"
        ).format(self._tables)
        row = connection.execute(query, [target.schema, target.name, target.vector]).fetchone()
        return None if row is None else Registered(*row)

    def noted(self, connection: Connection, url: str, schema: str, name: str, vector: str) -> Noted | None:
        """What an earlier run has filled this column from; None where there was none."""
        if schemas.version(connection, self.schema, url) == 0:
            return None
        query = sql.SQL("SELECT text, keys FROM {} WHERE (name_schema, name, vector) = (%s, %s, %s)").format(
            self._tables
        )
        row = connection.execute(query, [schema, name, vector]).fetchone()
        return None if row is None else Noted(*row)

    def bind(
        self, connection: Connection, target: Target, fingerprint: Fingerprint, model: str, *, overwrite: bool
    ) -> Registered:
        """Register the table with its space, and create its marks.

        Raises `SpaceMismatch` where it holds vectors of another space, unless they are to be overwritten.
        """
        space = fingerprint.space
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"embedmill {self.schema}"])
            number = self._entry(connection, target)
            query = sql.SQL("SELECT id, space, model, filled FROM {} WHERE id = %s").format(self._tables)
            found = Registered(*(connection.execute(query, [number]).fetchone() or ()))
            other = None if overwrite or found.space == space.id else self._other_space(connection, number, space.id)
            if other:
                raise found.mismatch(f"{target.title}.{target.vector}", other, model, space.id)
            if found.space != space.id:
                connection.execute(
                    sql.SQL("UPDATE {} SET space = %s, fields = %s, model = %s WHERE id = %s").format(self._tables),
                    [space.id, json.dumps(asdict(space), sort_keys=True), model, number],
                )
        return Registered(number, space.id, model if found.space != space.id else found.model, found.filled)

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

    def _entry(self, connection: Connection, target: Target) -> int:
        """The number of the table's entry; its marks are made anew where the table has another key than they."""
        row = connection.execute(
            sql.SQL("SELECT id, keys, key_types FROM {} WHERE (name_schema, name, vector) = (%s, %s, %s)").format(
                self._tables
            ),
            [target.schema, target.name, target.vector],
        ).fetchone()
        keys = (list(target.keys), list(target.key_types))
        if row is None:
            query = sql.SQL(
                "INSERT INTO {} (name_schema, name, vector, text, keys, key_types) VALUES (%s, %s, %s, %s, %s, %s) "
                "RETURNING id"
            ).format(self._tables)
            values = [target.schema, target.name, target.vector, target.text, *keys]
            number = int((connection.execute(query, values).fetchone() or (0,))[0])
        else:
            number = int(row[0])
            query = sql.SQL("UPDATE {} SET text = %s, keys = %s, key_types = %s WHERE id = %s").format(self._tables)
            connection.execute(query, [target.text, *keys, number])
            if (row[1], row[2]) != keys:
                log.warning("%s has another key than before: its rows are looked at anew", target.title)
                connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self.marks(number)))
        connection.execute(Statements(target, self.marks(number), self.marks(number)).create_marks, {})
        return number

    def _other_space(self, connection: Connection, number: int, space: str) -> str | None:
        """The id of another space that rows have vectors of."""
        query = sql.SQL("SELECT space FROM {} WHERE space <> %s LIMIT 1").format(self.marks(number))
        row = connection.execute(query, [space]).fetchone()
        return None if row is None else str(row[0])
