"""Roots in a PostgreSQL store, and names that change."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from typing import Any, Final

from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.store import text
from embedmill.storage.postgres.store.rows import name_range
from embedmill.storage.postgres.store.session import Session
from embedmill.storage.rooted import Rearrangement
from embedmill.storage.roots import Machine, Root

_RENAMED: Final = (
    # Where two have one name, the one that has it stays.
    """DELETE FROM documents WHERE complete AND name >= %(low)s AND name < %(high)s AND EXISTS (
           SELECT FROM documents o WHERE o.complete AND o.name = %(new)s || substr(documents.name, %(rest)s))""",
    "UPDATE documents SET name = %(new)s || substr(name, %(rest)s) WHERE name >= %(low)s AND name < %(high)s",
    """DELETE FROM failures WHERE document >= %(low)s AND document < %(high)s AND EXISTS (
           SELECT FROM failures o
           WHERE o.document = %(new)s || substr(failures.document, %(rest)s) AND o.idx = failures.idx)""",
    """UPDATE failures SET document = %(new)s || substr(document, %(rest)s)
       WHERE document >= %(low)s AND document < %(high)s""",
    """DELETE FROM given WHERE scope >= %(low)s AND scope < %(high)s AND EXISTS (
           SELECT FROM given o WHERE o.scope = %(new)s || substr(given.scope, %(rest)s))""",
    "UPDATE given SET scope = %(new)s || substr(scope, %(rest)s) WHERE scope >= %(low)s AND scope < %(high)s",
)

_SAMPLE: Final = """
    (SELECT name, size FROM documents WHERE complete AND name >= %(low)s AND name < %(high)s
     ORDER BY name LIMIT %(half)s)
    UNION
    (SELECT name, size FROM documents WHERE complete AND name >= %(low)s AND name < %(high)s
     ORDER BY name DESC LIMIT %(half)s)
"""

_COUNT: Final = """
    SELECT count(*) FROM (
        SELECT name FROM documents WHERE complete AND name >= %(low)s AND name < %(high)s
        UNION SELECT document FROM failures WHERE document >= %(low)s AND document < %(high)s
    ) found
"""


class PostgresRoots:
    """`RootRows` of a PostgreSQL store."""

    def __init__(self, reading: Session, write: Callable[[Callable[[Connection], int]], int]) -> None:
        self._reading = reading
        self._write = write

    def all(self) -> list[Root]:
        """The roots, by number."""
        query = "SELECT id, path, folder, machine, host FROM roots ORDER BY id"
        return [
            Root(number, text.read(path), folder, None, Machine(machine, text.read(host)))
            for number, path, folder, machine, host in self._reading(lambda db: db.execute(query).fetchall())
        ]

    def given(self) -> dict[str, str]:
        """How what was given was taken: scope -> options."""
        found = self._reading(lambda db: db.execute("SELECT scope, options FROM given").fetchall())
        return {text.read(scope): text.read(options) for scope, options in found}

    def add(self, root: Root) -> int:
        """Keep a new root; returns its number."""
        query = "INSERT INTO roots (path, folder, machine, host) VALUES (%s, %s, %s, %s) RETURNING id"
        return self._write(lambda db: int(db.scalar(query, _values(root))))

    def rearrange(self, changes: Rearrangement) -> None:
        """Make these changes, all of them or none."""
        self._write(lambda db: _rearrange(db, changes))

    def remove(self, scopes: Sequence[str]) -> int:
        """Remove all documents, failures and staged versions of these scopes; how many documents went."""

        def work(db: Connection) -> int:
            removed = 0
            for scope in scopes:
                values = _scope(scope)
                within = "name >= %(low)s AND name < %(high)s"
                removed += db.execute(f"DELETE FROM documents WHERE complete AND {within}", values).rowcount  # noqa: S608
                db.execute(f"DELETE FROM documents WHERE NOT complete AND {within}", values)  # noqa: S608
                db.execute("DELETE FROM failures WHERE document >= %(low)s AND document < %(high)s", values)
            return removed

        return self._write(work)

    def count(self, scope: str) -> int:
        """How many documents, or failures to read one, a scope has."""
        return int(self._reading(lambda db: db.scalar(_COUNT, _scope(scope))))

    def sample(self, scope: str, limit: int) -> list[tuple[str, int]]:
        """Names and sizes of some documents of a scope, its first and its last."""
        values = _scope(scope) | {"half": limit // 2}
        found = self._reading(lambda db: db.execute(_SAMPLE, values).fetchall())
        return [(text.read(name), size) for name, size in found]

    def rootless(self) -> str | None:
        """The host that wrote the store with a version that knew no roots; None where none did."""
        found: str | None = self._reading(lambda db: db.scalar("SELECT coalesce(host, '') FROM rootless"))
        return found

    def folders(self) -> set[str]:
        """The folders of all documents and failures that belong to no root."""

        def work(db: Connection) -> set[str]:
            with db.cursor("embedmill_names") as cursor:  # on the server: they do not fit into memory
                cursor.itersize = 10_000
                cursor.execute("SELECT name FROM documents UNION SELECT document FROM failures")
                names = (text.read(name) for (name,) in cursor)
                return {posixpath.dirname(name.rstrip("/")) for name in names if name.startswith("/")}

        return self._reading(work)


def _rearrange(db: Connection, changes: Rearrangement) -> int:
    for scope in changes.ungiven:
        db.execute("DELETE FROM given WHERE scope = %s", [text.write(scope)])
    for old, new in changes.renamed:
        values = _scope(old) | {"new": text.write(new), "rest": len(text.write(old)) + 1}
        for statement in _RENAMED:
            db.execute(statement, values)
    for number in changes.dropped:
        db.execute("DELETE FROM given WHERE scope >= %(low)s AND scope < %(high)s", _scope(f"{number}/"))
        db.execute("DELETE FROM roots WHERE id = %s", [number])
    for root in changes.updated:
        db.execute(
            "UPDATE roots SET path = %s, folder = %s, machine = %s, host = %s WHERE id = %s",
            [*_values(root), root.number],
        )
    for scope, options in changes.given.items():
        db.execute(
            "INSERT INTO given VALUES (%s, %s) ON CONFLICT (scope) DO UPDATE SET options = excluded.options",
            [text.write(scope), text.write(options)],
        )
    if changes.has_roots:
        db.execute("DELETE FROM rootless")
    return 0


def _values(root: Root) -> list[Any]:
    return [text.write(root.path), root.folder, root.machine.id, text.write(root.machine.host)]


def _scope(scope: str) -> dict[str, Any]:
    low, high = name_range(scope)
    return {"low": low, "high": high}
