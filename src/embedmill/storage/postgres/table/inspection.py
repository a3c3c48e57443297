"""What may be wrong with the vectors of a PostgreSQL table, and how rows are put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from embedmill.core.damage import DamageKind, Finding
from embedmill.core.rows import Stored
from embedmill.storage.catalog import CatalogEntry
from embedmill.storage.integrity import ROWS
from embedmill.storage.postgres import blocking
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.table.index import Existing
from embedmill.storage.postgres.table.sql_parts import decoded
from embedmill.storage.postgres.table.statements import Statements
from embedmill.storage.table_checks import TrackedRow, check_binding, check_rows, finding

from psycopg import sql  # isort: skip - after the module that says what to install
from psycopg.rows import args_row  # isort: skip

_BUILT: Final = """
    SELECT c.relname, n.nspname FROM pg_stat_progress_create_index p
    JOIN pg_class c ON c.oid = p.index_relid JOIN pg_namespace n ON n.oid = c.relnamespace
"""


def problems(
    db: Connection,
    statements: Statements,
    entry: CatalogEntry,
    indexes: Sequence[Existing],
    parameters: Mapping[str, Any],
    look: Callable[[Stored], None],
) -> Iterator[Finding]:
    """All that is wrong with rows that no run holds; `db` is in a transaction. `look` is given the sound ones."""
    table = statements.spec.title
    built = db.execute(_BUILT).fetchall()
    for index in indexes:
        if not index.valid and (index.name, index.schema) not in built:
            yield Finding(DamageKind.INDEX, f"{table}: index {index.name} is not valid")
    space = check_binding(table, entry)
    if isinstance(space, Finding):
        yield space
        return

    def running() -> bool:
        return bool(blocking.runs(db, parameters["lock"]))

    def rows() -> Iterator[TrackedRow]:
        with db.cursor("embedmill_rows", row_factory=args_row(_tracked)) as cursor:  # on the server: there may be many
            cursor.itersize = ROWS
            cursor.execute(statements.tracked, parameters)
            yield from cursor

    yield from check_rows(table, rows(), space, look, running=running)
    with db.cursor("embedmill_gone") as cursor:
        cursor.execute(statements.gone, parameters)
        for number, *key in cursor:
            if running():
                return
            detail = "it was embedded, and is not in the table any more"
            yield finding(table, tuple(key), number, DamageKind.ROW_GONE, detail)


def _tracked(
    content: str | bytes | None,
    has_text: bool,
    numbers: list[float] | None,
    number: int | None,
    written: bool,
    failed: bool,
    unchanged: bool,
    altered: bool,
    *key: str,
) -> TrackedRow:
    return TrackedRow(
        key=key,
        tracking_id=number,
        text=decoded(content),
        has_text=has_text,
        has_vector=numbers is not None,
        vector=None if numbers is None else np.array(numbers, np.float32),
        written=written,
        failed=failed,
        unchanged=unchanged,
        altered=altered,
    )


def put_back(db: Connection, statements: Statements, found: Sequence[Finding], parameters: Mapping[str, Any]) -> None:
    """Forget that these rows, which no living run holds, have vectors."""
    ids = [int(each.name) for each in found if each.name]
    db.execute(statements.put_back, {**parameters, "ids": ids})


def rebuild(db: Connection, indexes: Sequence[Existing]) -> None:
    """Build those of these indexes that are not valid anew, as they were made; `db` is in no transaction."""
    for index in indexes:
        if not index.valid:
            name = sql.Identifier(index.schema, index.name)
            db.execute(sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(name))
