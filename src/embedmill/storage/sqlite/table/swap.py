"""Two columns of vectors that change names."""

from __future__ import annotations

import json
import sqlite3

from embedmill.core.errors import StoreError
from embedmill.storage.columns import quoted
from embedmill.storage.sqlite.table.identity import Schema, version
from embedmill.storage.sqlite.table.table_spec import TableSpec, column_names


def swap(db: sqlite3.Connection, spec: TableSpec, column: str) -> None:
    """Change the names of the spec's column and another, in the caller's transaction.

    What is noted of names holds afterwards as it did before, of other tables too.
    """
    before = version(db)
    names = column_names(db, spec.name)
    if column not in names or spec.vector not in names:
        raise StoreError(f"{spec.title}.{column} is gone: {spec.vector} stays beside it under its own name")
    between = f"embedmill {len(names)}"
    for old, new in ((column, between), (spec.vector, column), (between, spec.vector)):
        db.execute(f"ALTER TABLE {quoted(spec.name)} RENAME COLUMN {quoted(old)} TO {quoted(new)}")
    schema = Schema.of(db)
    db.execute(
        """UPDATE embedmill_tables SET columns = :columns,
               vector = CASE vector WHEN :column THEN :vector WHEN :vector THEN :column ELSE vector END
           WHERE name = :name AND page = :page""",
        {
            "columns": json.dumps(column_names(db, spec.name)),
            "column": column,
            "vector": spec.vector,
            "name": spec.name,
            "page": schema.pages[spec.name],
        },
    )
    db.execute(
        "UPDATE embedmill_tables SET version_of_schema = ? WHERE version_of_schema = ?", [schema.version, before]
    )
