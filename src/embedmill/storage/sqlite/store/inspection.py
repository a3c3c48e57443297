"""What may be wrong with an SQLite store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import StoredChunk
from embedmill.core.vectors import Vector
from embedmill.storage.integrity import (
    BROKEN_ENTRIES,
    MISCOUNTED,
    OF_NO_ROOT,
    STRAY,
    Held,
    Shown,
    check_binding,
    check_chunks,
    check_counts,
    check_entries,
    check_failures,
    check_options,
    check_roots,
)
from embedmill.storage.sqlite.connection import code
from embedmill.storage.sqlite.store import rows
from embedmill.storage.sqlite.store.database import misfits
from embedmill.storage.sqlite.store.exact import disagreements

_CHUNKS = """
    SELECT d.name, c.idx, c.hash, c.context, c.text, CASE typeof(v.vector) WHEN 'blob' THEN v.vector END,
        v.checksum, d.precision, c.attributes, c.start, c."end", c.line, c.end_line, c.tokens, c.page
    FROM chunks c LEFT JOIN documents d ON d.id = c.document LEFT JOIN vectors v ON v.chunk = c.id
"""

_ENTRIES = BROKEN_ENTRIES.format(more="OR complete NOT IN (0, 1)")

NO_ROOT = OF_NO_ROOT.format(number="substr(name, 1, instr(name, '/') - 1)")

_OF_NO_ROOT = f"""
    SELECT name FROM (SELECT name FROM documents UNION SELECT document FROM failures) WHERE {NO_ROOT} ORDER BY name
"""  # noqa: S608 - the condition above

_ORPHANS = "SELECT count(*) FROM vectors WHERE chunk NOT IN (SELECT id FROM chunks)"


def problems(
    db: sqlite3.Connection, matrix: Path, look: Callable[[StoredChunk], None], shown: Shown
) -> Iterator[Finding]:
    """All that is wrong; `db` is in a transaction. `look` is given the sound chunks."""
    try:
        damage = [line for (line,) in db.execute("PRAGMA integrity_check") if line != "ok"]
        if damage:  # what it shows is then not worth looking at
            yield from (_of_file(" ".join(str(line).split())) for line in damage)
            return
        yield from _of_rows(db, matrix, look, shown)
    except sqlite3.DatabaseError as error:
        if code(error) != sqlite3.SQLITE_CORRUPT:
            raise
        yield _of_file(str(error))


def _of_file(problem: str) -> Finding:
    return Finding(DamageKind.FILE, f"the file is damaged: {problem}")


def _of_rows(
    db: sqlite3.Connection, matrix: Path, look: Callable[[StoredChunk], None], shown: Shown
) -> Iterator[Finding]:
    wrong = [Finding(DamageKind.TYPE, line) for line in misfits(db, but="vectors")]  # their chunks are named below
    if wrong:  # the rest cannot be computed
        yield from wrong
        return
    facts = rows.facts(db)
    try:
        fields = json.loads(facts.get("fields", "null"))
    except ValueError:
        fields = {}
    dimension = facts.get("dimension")
    found = check_binding(facts.get("space"), fields, dimension, rows.has_chunks(db))
    yield from found
    yield from check_counts(db.execute(MISCOUNTED), shown)
    yield from check_failures(db.execute(STRAY), shown)
    yield from check_entries(db.execute(_ENTRIES), shown)
    yield from check_roots((name for (name,) in db.execute(_OF_NO_ROOT)), shown)
    yield from check_options(db.execute("SELECT scope, options FROM given"), shown)
    (lost,) = db.execute(_ORPHANS).fetchone()
    if lost:
        yield Finding(DamageKind.VECTOR_ORPHAN, f"vectors that belong to no chunk: {lost:,}", count=lost)
    held = (
        Held(name, index, digest, context, text, vector_of(blob), checksum, precision, place, attributes)
        for name, index, digest, context, text, blob, checksum, precision, attributes, *place in db.execute(_CHUNKS)
    )
    unsound = bool(found)
    for finding in check_chunks(held, dimension, bool((fields or {}).get("normalize")), look, shown):
        unsound = True
        yield finding
    if dimension is not None and not unsound:
        yield from disagreements(db, matrix, facts["generation"], dimension, shown)


def vector_of(blob: Any) -> Vector | None:
    """The vector that a BLOB is, without numbers where its length is none of a vector; None for none."""
    if blob is None:
        return None
    return np.frombuffer(b"" if len(blob) % 4 else blob, "<f4").astype(np.float32, copy=False)
