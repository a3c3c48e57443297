"""What runs that were killed, or whose workers were, have left in a store."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

Rows = list[tuple[str, int, int, int, bytes]]


def rows(store: Path) -> Rows:
    with closing(sqlite3.connect(store)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = db.execute(
            """SELECT name, c.idx, c.start, c.end, v.vector
               FROM chunks c JOIN documents d ON d.id = c.document JOIN vectors v ON v.chunk = c.id
               WHERE d.complete ORDER BY name, c.idx"""
        ).fetchall()
        # Nothing half-written is left: every chunk is visible, and has its vector.
        assert db.execute("SELECT count(*) FROM chunks").fetchone() == (len(found),)
        assert db.execute("SELECT count(*) FROM vectors").fetchone() == (len(found),)
    return found


def alike(left: Rows, right: Rows, what: str = "") -> None:
    """The same chunks, and vectors that are the same in f32."""
    assert [row[:4] for row in left] == [row[:4] for row in right], what
    vectors = [np.array([np.frombuffer(row[4], "<f4") for row in rows]) for rows in (left, right)]
    np.testing.assert_allclose(*vectors, rtol=0, atol=2e-6, err_msg=what)


def complete(store: Path) -> int:
    """Documents that are durably in the store; 0 as long as there is none."""
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM documents WHERE complete").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
