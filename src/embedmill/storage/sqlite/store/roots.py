"""Roots in an SQLite store, and names that change."""

from __future__ import annotations

import posixpath
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final

from embedmill.storage.rooted import Rearrangement
from embedmill.storage.roots import Machine, Root
from embedmill.storage.sqlite.store.rows import mark_changed, name_range

_RENAMED: Final = (
    # Where two have one name, the one that has it stays.
    """DELETE FROM documents WHERE complete AND name >= :low AND name < :high AND EXISTS (
           SELECT 1 FROM documents o WHERE o.complete AND o.name = :new || substr(documents.name, :rest))""",
    "UPDATE documents SET name = :new || substr(name, :rest) WHERE complete AND name >= :low AND name < :high",
    "UPDATE documents SET name = :new || substr(name, :rest) WHERE NOT complete AND name >= :low AND name < :high",
    """UPDATE OR IGNORE failures SET document = :new || substr(document, :rest)
       WHERE document >= :low AND document < :high""",
    "DELETE FROM failures WHERE document >= :low AND document < :high",
    "UPDATE OR IGNORE given SET scope = :new || substr(scope, :rest) WHERE scope >= :low AND scope < :high",
    "DELETE FROM given WHERE scope >= :low AND scope < :high",
)

_SAMPLE: Final = """
    SELECT name, size FROM (
        SELECT name, size FROM documents WHERE complete AND name >= :low AND name < :high ORDER BY name LIMIT :half
    )
    UNION
    SELECT name, size FROM (
        SELECT name, size FROM documents WHERE complete AND name >= :low AND name < :high ORDER BY name DESC LIMIT :half
    )
"""

_COUNT: Final = """
    SELECT count(*) FROM (
        SELECT name FROM documents WHERE complete AND name >= :low AND name < :high
        UNION SELECT document FROM failures WHERE document >= :low AND document < :high
    )
"""

Connected = Callable[[], AbstractContextManager[sqlite3.Connection]]


class SqliteRoots:
    """`RootRows` of an SQLite store."""

    def __init__(self, snapshot: Connected, transaction: Connected) -> None:
        self._snapshot = snapshot
        self._transaction = transaction

    def all(self) -> list[Root]:
        """The roots, by number."""
        with self._snapshot() as db:
            found = db.execute("SELECT id, path, folder, relative, machine, host FROM roots ORDER BY id").fetchall()
        return [
            Root(number, path, bool(folder), relative, Machine(machine, host))
            for number, path, folder, relative, machine, host in found
        ]

    def given(self) -> dict[str, str]:
        """How what was given was taken: scope -> options."""
        with self._snapshot() as db:
            return dict(db.execute("SELECT scope, options FROM given"))

    def add(self, root: Root) -> int:
        """Keep a new root; returns its number."""
        with self._transaction() as db:
            added = db.execute(
                "INSERT INTO roots (path, folder, relative, machine, host) VALUES (?, ?, ?, ?, ?)", _values(root)
            )
            return int(added.lastrowid or 0)

    def rearrange(self, changes: Rearrangement) -> None:
        """Make these changes, all of them or none."""
        with self._transaction() as db:
            for scope in changes.ungiven:
                db.execute("DELETE FROM given WHERE scope = ?", (scope,))
            for old, new in changes.renamed:
                values = _scope(old) | {"new": new, "rest": len(old) + 1}
                for statement in _RENAMED:
                    db.execute(statement, values)
            for number in changes.dropped:
                db.execute("DELETE FROM given WHERE scope >= :low AND scope < :high", _scope(f"{number}/"))
                db.execute("DELETE FROM roots WHERE id = ?", (number,))
            db.executemany(
                "UPDATE roots SET path = ?, folder = ?, relative = ?, machine = ?, host = ? WHERE id = ?",
                [(*_values(root), root.number) for root in changes.updated],
            )
            db.executemany("INSERT OR REPLACE INTO given VALUES (?, ?)", changes.given.items())
            if changes.has_roots:
                db.execute("DELETE FROM meta WHERE key = 'rootless'")

    def remove(self, scopes: Sequence[str]) -> int:
        """Remove all documents, failures and staged versions of these scopes; how many documents went."""
        with self._transaction() as db:
            removed = 0
            for scope in scopes:
                values = _scope(scope)
                removed += db.execute(
                    "DELETE FROM documents WHERE complete AND name >= :low AND name < :high", values
                ).rowcount
                db.execute("DELETE FROM documents WHERE NOT complete AND name >= :low AND name < :high", values)
                db.execute("DELETE FROM failures WHERE document >= :low AND document < :high", values)
            mark_changed(db)
        return removed

    def count(self, scope: str) -> int:
        """How many documents, or failures to read one, a scope has."""
        with self._snapshot() as db:
            return int(db.execute(_COUNT, _scope(scope)).fetchone()[0])

    def sample(self, scope: str, limit: int) -> list[tuple[str, int]]:
        """Names and sizes of some documents of a scope, its first and its last."""
        with self._snapshot() as db:
            return db.execute(_SAMPLE, _scope(scope) | {"half": limit // 2}).fetchall()

    def rootless(self) -> str | None:
        """The host that wrote the store with a version that knew no roots, "" for this one; None where none did."""
        with self._snapshot() as db:
            return "" if db.execute("SELECT 1 FROM meta WHERE key = 'rootless'").fetchone() else None

    def folders(self) -> set[str]:
        """The folders of all documents and failures that belong to no root."""
        with self._snapshot() as db:
            named = db.execute("SELECT name FROM documents UNION SELECT document FROM failures")
            return {posixpath.dirname(name.rstrip("/")) for (name,) in named if name.startswith("/")}


def _values(root: Root) -> tuple[object, ...]:
    return root.path, int(root.folder), root.relative, root.machine.id, root.machine.host


def _scope(scope: str) -> dict[str, object]:
    low, high = name_range(scope)
    return {"low": low, "high": high}
