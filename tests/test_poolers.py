"""Through a pooler that lends the server's sessions for a transaction, as PgBouncer does: what works, what is refused.

Whatever is done, the application that shares those sessions finds them as they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import tables
from pooler import Pooler
from tables import Within, ask, complete, make, refused

SETTINGS = (
    "enable_seqscan",
    "enable_sort",
    "jit",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "default_transaction_read_only",
    "default_transaction_isolation",
    "search_path",
    "extra_float_digits",
    "DateStyle",
)


def found(url: str) -> list[tuple[str | None, ...]]:
    """What the application finds in the sessions that it is lent: settings, and locks that are held."""
    names = ", ".join(f"current_setting('{name}', true)" for name in SETTINGS)
    query = f"""SELECT {names}, (SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory')
                FROM generate_series(1, 2)"""
    with psycopg.connect(url) as one, psycopg.connect(url) as other:  # in transactions: two sessions
        return [row for connection in (one, other) for row in connection.execute(query).fetchall()]


@pytest.fixture
def pooler(database: str) -> Iterator[Pooler]:
    """A pooler that lends two sessions at least, which an application has used."""
    with Pooler(database) as pooler:
        found(pooler.url)
        yield pooler


def filled(folder: Path, url: str) -> Within:
    """A store and a filled table, made without the pooler."""
    make(url, 30)
    (folder / "a.txt").write_text("a text about gardens\n")
    shell = tables.shell(folder, url, Within)
    assert shell.json("index", "a.txt")["documents"] == 1
    assert shell.json("ingest", "sentences", "--max-text", "21", code=3)["failed"] > 0
    return shell


@pytest.fixture
def direct(tmp_path: Path, database: str) -> Within:
    return filled(tmp_path, database)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory, shared: str) -> Within:
    """For tests that change nothing, and make sure of that."""
    return filled(tmp_path_factory.mktemp("unchanged"), shared)


def through(shell: Within, pooler: Pooler) -> Within:
    return tables.shell(shell.folder, pooler.url, Within)


def test_what_only_reads_works_through_a_pooler(direct: Within, pooler: Pooler, database: str) -> None:
    before, shell = found(pooler.url), through(direct, pooler)
    (hit,) = shell.json("search", "gardens")["hits"]
    assert hit["document"].endswith("a.txt")
    assert shell.json("search", "gardens", "--exact")["hits"] == [hit]
    assert shell.json("status")["documents"] == 1
    assert shell.run("verify").returncode == 0
    assert shell.json("status", "sentences")["model"]
    assert "sentences" in shell.run("status").stdout
    assert "TooLong" in shell.run("status", "sentences", "--failures").stdout
    assert shell.json("ingest", "sentences", "--dry-run")["documents"] == 30
    assert shell.json("index", "a.txt", "--dry-run")["unchanged"] == 1
    assert found(pooler.url) == before
    with psycopg.connect(pooler.url) as application:
        application.execute("INSERT INTO sentences (id, text) VALUES (31, 'one more')")


@pytest.mark.parametrize(
    "arguments",
    [
        ["index", "a.txt"],
        ["retry-failed"],
        ["ingest", "sentences"],
        ["ingest", "sentences", "--metrics-only"],
        ["ingest", "sentences", "--vector", "other", "--create"],
        ["retry-failed", "sentences"],
        ["bench", "ingest", "sentences"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("queue", ["first", "last"])
def test_what_writes_is_refused_before_anything_is_changed(
    unchanged: Within, shared: str, arguments: list[str], queue: str
) -> None:
    schemas = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1"
    columns = "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attrelid > 16383 ORDER BY 1, 2"
    contents = "SELECT md5(string_agg(s::text, '' ORDER BY id)) FROM sentences s"
    there = [ask(shared, query) for query in (schemas, columns, contents)]
    with Pooler(shared, queue=queue) as pooler:
        before = found(pooler.url)
        done = through(unchanged, pooler).run(*arguments)
        refused(done, 1, r"pool_mode = transaction\), .*give the server's own address")
        assert found(pooler.url) == before
    assert [ask(shared, query) for query in (schemas, columns, contents)] == there


def test_a_pooler_that_has_nothing_to_lend_twice(direct: Within, database: str) -> None:
    """One session for all: in transactions it is noticed; where it is one client's for ever it is told."""
    with Pooler(database, size=1) as pooler:
        refused(through(direct, pooler).run("ingest", "sentences"), 1, "pool_mode = transaction")
        assert through(direct, pooler).json("status")["documents"] == 1
    with Pooler(database, size=1, mode="session") as pooler:
        refused(through(direct, pooler).run("ingest", "sentences"), 1, "lends us no second session, and a run needs")


def test_a_pooler_of_sessions_is_as_good_as_the_server(direct: Within, database: str) -> None:
    with Pooler(database, mode="session") as pooler:
        shell = through(direct, pooler)
        ask(database, "UPDATE sentences SET text = 'another' WHERE id < 9")
        assert shell.json("ingest", "sentences", "5", "--index", "hnsw", code=3)["embedded"] == 1
        assert shell.json("retry-failed", "sentences", "--max-text", "100")["failed"] == 0
        (direct.folder / "b.txt").write_text("a text about bread\n")
        assert shell.json("index", "b.txt")["documents"] == 1
        assert shell.json("search", "bread", "-k1")["hits"][0]["document"].endswith("b.txt")
    assert complete(database) == 30


def test_a_pooler_of_statements_is_refused(direct: Within, database: str) -> None:
    with Pooler(database, mode="statement") as pooler:
        shell = through(direct, pooler)
        for arguments in (["search", "gardens"], ["verify"], ["status", "sentences"]):
            refused(shell.run(*arguments), 1, "statement pooling mode: give the server's own address")
        for arguments in (["index", "a.txt"], ["ingest", "sentences"]):
            refused(shell.run(*arguments), 1, "give the server's own address")
