"""Two columns of vectors that change names."""

from __future__ import annotations

from typing import Any, Final

from embedmill.core.errors import StoreError
from embedmill.core.rows import DISTANCES, IndexOptions
from embedmill.storage.postgres import blocking
from embedmill.storage.postgres.blocking import BRIEFLY
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.table.table_spec import TableSpec, check_unchanged

from psycopg import sql  # isort: skip - after the module that says what to install

_OTHERS: Final = """
    SELECT count(*) FROM pg_catalog.pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid::bigint = %s AND l.objid::bigint <> %s
    AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
"""
"""How many other runs there are."""

_INDEX: Final = """
    SELECT o.opcname,
           coalesce((SELECT option_value FROM pg_options_to_table(c.reloptions) WHERE option_name = 'm'), '16')::int,
           coalesce((SELECT option_value FROM pg_options_to_table(c.reloptions)
                     WHERE option_name = 'ef_construction'), '64')::int
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
    JOIN pg_opclass o ON o.oid = i.indclass[0]
    WHERE i.indrelid = %s AND i.indkey[0] = %s AND i.indisvalid AND m.amname IN ('hnsw', 'ivfflat')
    ORDER BY m.amname, c.relname LIMIT 1
"""

_NUMBERS: Final = "SELECT attname, attnum FROM pg_attribute WHERE attrelid = %s AND attname = ANY (%s)"


def index_of(connection: Connection, spec: TableSpec) -> IndexOptions | None:
    """The index that a column like this one needs for the same searches; None where this one has none."""
    row = connection.execute(_INDEX, [spec.oid, spec.number]).fetchone()
    if row is None:
        return None
    distance = next((name for name, part in DISTANCES.items() if row[0].endswith(f"_{part}_ops")), None)
    return None if distance is None else IndexOptions("hnsw", row[1], row[2], distance)


def swap(connection: Connection, spec: TableSpec, column: str, tables: sql.Identifier, values: dict[str, Any]) -> None:
    """Change the names of the spec's column and another; `values` are the run's, `tables` is the catalog.

    Raises `errors.LockNotAvailable` where others use the table for longer than they may be made to wait behind us.
    """
    with connection.transaction():
        connection.set_local(lock_timeout=BRIEFLY)
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(spec.table))
        numbers = dict(connection.execute(_NUMBERS, [spec.oid, [spec.vector, column]]).fetchall())
        if numbers.get(column) == spec.number:  # it was done, and only the answer got lost
            return
        if connection.scalar(_OTHERS, [values["lock"], values["run"]]):
            raise StoreError(
                f"{spec.title}: other runs are at work ({blocking.runs(connection, values['lock'])}), which could "
                "write to the wrong column: when they have ended, the same command changes the names"
            )
        check_unchanged(connection, spec)
        if column not in numbers:
            raise StoreError(f"{spec.title}.{column} is gone: {spec.vector} stays beside it under its own name")
        between = f"embedmill {spec.number} {numbers[column]}"
        for old, new in ((column, between), (spec.vector, column), (between, spec.vector)):
            rename = sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}")
            connection.execute(rename.format(spec.table, sql.Identifier(old), sql.Identifier(new)))
        note = sql.SQL("UPDATE {} SET vector = %s WHERE relation = %s AND vector_number = %s").format(tables)
        for name, number in ((column, spec.number), (spec.vector, numbers[column])):
            connection.execute(note, [name, spec.oid, number])
