"""What may be wrong with the vectors of an SQLite table, and how rows are put back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from embedmill.core.damage import DamageKind, Finding
from embedmill.core.rows import Stored
from embedmill.storage.catalog import CatalogEntry
from embedmill.storage.sqlite.table import runs
from embedmill.storage.sqlite.table.carrying import has_same_text
from embedmill.storage.sqlite.table.contents import decode, digest, print_of, unfit
from embedmill.storage.sqlite.table.database import PAGE, Database, key_of
from embedmill.storage.sqlite.table.rows import TrackedRowContents
from embedmill.storage.sqlite.table.statements import Statements
from embedmill.storage.table_checks import TrackedRow, check_binding, check_rows, finding


def problems(
    database: Database,
    statements: Statements,
    entry: CatalogEntry,
    dead: Sequence[int],
    longest: int,
    look: Callable[[Stored], None],
) -> Iterator[Finding]:
    """All that is wrong with rows that no run holds but the `dead`; `look` is given the sound ones."""
    table = statements.spec.title
    space = check_binding(table, entry)
    if isinstance(space, Finding):
        yield space
        return

    def running() -> bool:
        return runs.any_lives(database.path, entry.id)

    def whose(row: TrackedRow, contents: TrackedRowContents) -> TrackedRow:
        """Where a row is known by its vector alone that may be another row's, and its own text is what it was."""
        if entry.fits or row.unchanged or not row.has_text or row.tracking_id is None:
            return row
        known = has_same_text(database, statements.spec, entry, row.key, digest(contents.content))
        return replace(row, unchanged=True, altered=True) if known else row

    def rows() -> Iterator[TrackedRow]:
        values = {"space": entry.space}
        for page in database.pages(lambda key: statements.tracked(key, dead), None, TrackedRowContents, values=values):
            for row in page:
                if not row.held:
                    yield whose(_tracked(row, longest), row)

    yield from check_rows(table, rows(), space, look, running=running)
    after = 0
    while page := database.scan(statements.gone(dead), {"after": after, "limit": PAGE}):
        if running():
            return
        after = page[-1][0]
        for number, *key in page:
            detail = "it was embedded, and is not in the table any more"
            yield finding(table, tuple(key), number, DamageKind.ROW_GONE, detail)


def _tracked(row: TrackedRowContents, longest: int) -> TrackedRow:
    content, blob = row.content, row.vector
    fits = content is not None and unfit(content, longest) is None
    is_vector = row.kind == "blob" and len(blob) % 4 == 0
    return TrackedRow(
        key=key_of(row),
        tracking_id=row.tracking_id,
        text=content if fits else None,
        has_text=content is not None,
        has_vector=row.kind != "null",
        vector=decode(blob) if is_vector else None,
        written=bool(row.written),
        failed=bool(row.failed),
        unchanged=content is not None and row.tracking_id is not None and digest(content) == row.hash,
        altered=is_vector and row.print is not None and print_of(blob) != row.print,
    )


def put_back(database: Database, statements: Statements, found: Sequence[Finding], dead: Sequence[int]) -> None:
    """Forget that these rows, which no living run holds, have vectors; what is no vector is taken from the table."""
    with database.transaction() as db:
        for each in found:
            if not each.name:
                continue
            db.execute(statements.put_back(dead), {"mark": int(each.name)})
            if each.kind is DamageKind.VECTOR_DIMENSION:
                with suppress(sqlite3.IntegrityError):  # it may be NOT NULL: then it is overwritten
                    db.execute(statements.take_vector, {"mark": int(each.name)})
