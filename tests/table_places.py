"""Databases with the user's tables in them, and runs over these without a model."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg

from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.interfaces.table import Table
from embedmill.core.rows import Filled, Key, Row
from embedmill.core.spaces import Fingerprint
from embedmill.core.table_reports import IngestReport
from embedmill.core.vectors import Cause
from embedmill.executors.threads import ThreadExecutor
from embedmill.pipelines.ingest.ingestor import Ingestor
from embedmill.pipelines.ingest.metrics import measure, measure_rows
from embedmill.pipelines.ingest.width import Width
from embedmill.storage.registry import open_table
from store_samples import DIMENSION, fingerprint, vector

if TYPE_CHECKING:
    import pytest  # processes that tests start need none


class Place:
    """A database. What differs between the kinds is said here, and nowhere in the tests of both."""

    url: str
    vector: str
    """The type of a vector column."""
    blob: str
    """The type of a column of bytes."""

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Do what the user's application does; values stand for "?"."""
        raise NotImplementedError

    def vectors(self, name: str = "docs", column: str = "embedding", order: str = "id") -> list[np.ndarray | None]:
        """All vectors, in the order of the keys; None where there is none."""
        raise NotImplementedError

    def encode(self, numbers: np.ndarray) -> Any:
        """A vector as the user's application would write it."""
        raise NotImplementedError

    def refuse(self, name: str, text: str) -> None:
        """A trigger that lets nobody change rows of this text."""
        raise NotImplementedError

    def rewrite(self, name: str, when: str) -> None:
        """A trigger that puts each text of a row that is changed in capitals, BEFORE or AFTER that."""
        raise NotImplementedError

    def log_changes(self, name: str) -> None:
        """A trigger that writes the ids of changed rows to the table "changes"."""
        raise NotImplementedError

    def retype(self, name: str, column: str, kind: str, *, using: str = "", rest: str = "") -> None:
        """Give a column of the table "docs", or of one like it, another type; `using` makes its values."""
        raise NotImplementedError

    def rebuild(self, name: str, columns: str, values: str = "*", *, condition: str = "true") -> None:
        """Put a new table with these columns in place of one, with the values that are selected from it."""
        self.execute(f"CREATE TABLE rebuilt ({columns})")
        self.execute(f"INSERT INTO rebuilt SELECT {values} FROM {name} WHERE {condition}")
        self.execute(f"DROP TABLE {name}")
        self.execute(f"ALTER TABLE rebuilt RENAME TO {name}")

    def close(self) -> None:
        """Nothing to close where each statement has a connection of its own."""

    def open(self, name: str = "docs", **options: Any) -> Table:
        return open_table(self.url, name, **({"longest": 1000, "db_timeout": 10.0} | options))

    def docs(self, *texts: str | None, vectors: bool = True) -> None:
        """A table "docs" with these texts; their ids are 1, 2, 3 ..."""
        column = f", embedding {self.vector}" if vectors else ""
        self.execute(f"CREATE TABLE docs (id bigint PRIMARY KEY, body text, note text{column})")
        for number, text in enumerate(texts, 1):
            self.execute("INSERT INTO docs (id, body, note) VALUES (?, ?, ?)", number, text, f"note {number}")


class SqlitePlace(Place):
    vector = "BLOB"
    blob = "BLOB"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:{path}"
        sqlite3.connect(path).close()

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path, timeout=30)) as db, db:
            return db.execute(statement, values).fetchall()

    def vectors(self, name: str = "docs", column: str = "embedding", order: str = "id") -> list[np.ndarray | None]:
        rows = self.execute(f"SELECT {column} FROM {name} ORDER BY {order}")
        return [None if blob is None else np.frombuffer(blob, "<f4") for (blob,) in rows]

    def encode(self, numbers: np.ndarray) -> Any:
        return numbers.astype("<f4").tobytes()

    def retype(self, name: str, column: str, kind: str, *, using: str = "", rest: str = "") -> None:
        columns = [name for (name,) in self.execute(f"SELECT name FROM pragma_table_info('{name}')")]
        values = ", ".join((using or each) if each == column else each for each in columns)
        self.rebuild(name, f"id {kind} PRIMARY KEY, body text, note text, embedding BLOB{rest}", values)

    def refuse(self, name: str, text: str) -> None:
        self.execute(
            f"CREATE TRIGGER refuse BEFORE UPDATE ON {name} WHEN old.body = '{text}' "
            "BEGIN SELECT RAISE(ABORT, 'not this row'); END"
        )

    def rewrite(self, name: str, when: str) -> None:
        self.execute(
            f"CREATE TRIGGER rewrite {when} UPDATE ON {name} WHEN new.body <> upper(new.body) "
            f"BEGIN UPDATE {name} SET body = upper(body) WHERE id = new.id; END"
        )

    def log_changes(self, name: str) -> None:
        self.execute("CREATE TABLE changes (id bigint)")
        self.execute(f"CREATE TRIGGER log AFTER UPDATE ON {name} BEGIN INSERT INTO changes VALUES (new.id); END")


class PostgresPlace(Place):
    vector = f"vector({DIMENSION})"
    blob = "bytea"

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        self._connection.close()

    def clear(self) -> None:
        """Drop what earlier tests have made: many times quicker than a new database."""
        self._connection.execute("DROP SCHEMA IF EXISTS embedmill CASCADE")
        for kind, query in (
            ("VIEW", "SELECT viewname FROM pg_views WHERE schemaname = 'public'"),
            ("TABLE", "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"),
            ("FUNCTION", _FUNCTIONS),
        ):
            for (name,) in self._connection.execute(query).fetchall():
                drop = psycopg.sql.SQL("DROP {} {} CASCADE").format(
                    psycopg.sql.SQL(kind), psycopg.sql.Identifier("public", name)
                )
                self._connection.execute(drop)

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        if values:
            statement = statement.replace("%", "%%").replace("?", "%s")
        found = self._connection.execute(statement, values or None)  # type: ignore[arg-type]
        return found.fetchall() if found.description else []

    def vectors(self, name: str = "docs", column: str = "embedding", order: str = "id") -> list[np.ndarray | None]:
        rows = self.execute(f"SELECT {column}::real[] FROM {name} ORDER BY {order}")
        return [None if numbers is None else np.array(numbers, np.float32) for (numbers,) in rows]

    def encode(self, numbers: np.ndarray) -> Any:
        return str(numbers.tolist())

    def retype(self, name: str, column: str, kind: str, *, using: str = "", rest: str = "") -> None:
        self.execute(f"ALTER TABLE {name} ALTER {column} TYPE {kind} USING {using or f'{column}::text::{kind}'}")

    def refuse(self, name: str, text: str) -> None:
        self.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF old.body = '{text}' THEN RAISE EXCEPTION 'not this row'; END IF; RETURN new; END $$"
        )
        self.execute(f"CREATE TRIGGER refuse BEFORE UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION refuse()")

    def rewrite(self, name: str, when: str) -> None:
        change = (
            "new.body := upper(new.body)"
            if when == "BEFORE"
            else f"UPDATE {name} SET body = upper(body) WHERE id = new.id"
        )
        self.execute(
            "CREATE FUNCTION rewrite() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF new.body <> upper(new.body) THEN {change}; END IF; RETURN new; END $$"
        )
        self.execute(f"CREATE TRIGGER rewrite {when} UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION rewrite()")

    def log_changes(self, name: str) -> None:
        self.execute("CREATE TABLE changes (id bigint)")
        self.execute(
            "CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO changes VALUES (new.id); RETURN new; END $$"
        )
        self.execute(f"CREATE TRIGGER log AFTER UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION log()")


_FUNCTIONS = """
    SELECT proname FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
"""


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory, where there is such: these tests write often, and wait for the disk each time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@contextmanager
def sqlite_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with quick_folder() as folder:
        yield SqlitePlace(folder / "app.db")


@contextmanager
def postgres_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    place = PostgresPlace(request.getfixturevalue("shared"))
    with closing(place):
        place.clear()
        yield place


TABLE_PLACES: dict[str, Callable[[pytest.FixtureRequest], AbstractContextManager[Place]]] = {
    "sqlite": sqlite_place,
    "postgresql": postgres_place,
}


# Runs without a model


@dataclass
class Outcome:
    """What a run did."""

    written: list[Row]
    failed: list[Row]
    removed: int
    left_out: int


MODEL = "model"


def bound(
    place: Place,
    name: str = "docs",
    *,
    again: bool = False,
    overwrite: bool = False,
    model: str = MODEL,
    **options: Any,
) -> Table:
    """An open table whose run has begun."""
    table = place.open(name, **options)
    try:
        table.bind(space_of(model), model, again=again, overwrite=overwrite)
    except BaseException:
        table.close()
        raise
    return table


def space_of(model: str) -> Fingerprint:
    """The fingerprint of a model of this name."""
    return fingerprint() if model == MODEL else fingerprint(weights=model)


def made_by(model: str, text: str) -> np.ndarray:
    """The vector that a model makes of a text."""
    return vector(text if model == MODEL else f"{model}: {text}")


def filled(row: Row, *, measured: bool = False, model: str = MODEL) -> Filled:
    return Filled(row, made_by(model, row.text), measure(row.text, 7) if measured else None)


def claimed(table: Table, limit: int = 3) -> list[Row]:
    """All that a run can claim, page by page."""
    rows: list[Row] = []
    after: Key | None = None
    while page := table.claim(after, limit):
        assert len(page) <= limit
        rows += page
        after = page[-1].key
    return rows


def run(
    place: Place, name: str = "docs", *, metrics: bool = False, limit: int = 3, model: str = MODEL, **options: Any
) -> Outcome:
    """A whole run. Texts with "bad" in them fail."""
    table = bound(place, name, model=model, **options)
    try:
        if metrics:
            table.metrics.prepare()
        rows = claimed(table, limit)
        failed = [row for row in rows if row.cause or "bad" in row.text]
        written = [row for row in rows if row not in failed]
        left_out = table.write([filled(row, measured=metrics, model=model) for row in written]) if written else 0
        if failed:
            table.fail([(row, row.cause or Cause("Bad", "it is bad")) for row in failed])
        removed = table.prune()
        if metrics:
            measure_rows(table, None, lambda *_: None, lambda: False)
        table.mark_complete()
    finally:
        table.close()
    return Outcome(written, failed, removed, left_out)


def texts(rows: Sequence[Row]) -> list[str]:
    return [row.text for row in rows]


def ingest(
    place: Place, embedder: TokenEmbedder, name: str = "docs", *, writers: int = 2, **options: Any
) -> IngestReport:
    """A whole run with a model."""
    chosen = {key: options.pop(key) for key in ("overwrite", "again") if key in options}
    table = place.open(name, **options)
    try:
        ingestor = Ingestor(table, embedder, ThreadExecutor(embedder), batch=20, width=Width(2, writers))
        return ingestor.run(**chosen)
    finally:
        table.close()
