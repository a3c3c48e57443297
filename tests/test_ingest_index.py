"""The index over a PostgreSQL table's vectors: when it is built, what is kept, and what trouble with it looks like."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

import tables
from cli_runs import Shell
from embedmill.core.errors import UsageError
from embedmill.core.rows import IndexOptions
from embedmill.core.spaces import Fingerprint, Space
from embedmill.storage.driver import TableRequest
from embedmill.storage.postgres.table import PostgresTable
from tables import Within, ask, complete, make, terminal
from waiting import until


@pytest.fixture
def shell(tmp_path: Path, database: str) -> Shell:
    return tables.shell(tmp_path, database, Within)


def indexes(url: str) -> list[str]:
    """The valid indexes on the table, but for that of its key."""
    rows = ask(
        url,
        """SELECT pg_get_indexdef(indexrelid) FROM pg_index
           WHERE indrelid = 'sentences'::regclass AND NOT indisprimary AND indisvalid ORDER BY indexrelid""",
    )
    return [definition.replace("public.", "") for (definition,) in rows]


HNSW = (
    "CREATE INDEX sentences_embedding_hnsw ON sentences USING hnsw (embedding vector_cosine_ops) "
    "WITH (m='16', ef_construction='64')"
)


# When


def test_the_first_fill_of_a_large_table_builds_one(shell: Shell, database: str) -> None:
    """By itself, above 10,000 rows; what was done with the table later is left to its owner."""
    make(database, (f"number {number % 40}" for number in range(10_001)))
    report = shell.json("ingest", "sentences", "5000", "--no-metrics", "--index", "auto")
    assert report["index"] == "hnsw sentences_embedding_hnsw built over 10,001 rows"
    assert indexes(database) == [HNSW]
    ask(database, "ANALYZE sentences")
    done = shell.run("ingest", "sentences", "--no-metrics", "--overwrite")
    assert re.search("warning: hnsw sentences_embedding_hnsw slows this load down, .* DROP INDEX .* first", done.stderr)
    ask(database, "DROP INDEX sentences_embedding_hnsw; UPDATE sentences SET text = 'another' WHERE id = 1")
    assert shell.json("ingest", "sentences", "--no-metrics")["index"] == ""
    assert indexes(database) == []


def test_a_small_table_needs_none(shell: Shell, database: str) -> None:
    make(database, 20)
    assert shell.json("ingest", "sentences")["index"] == ""
    assert indexes(database) == []
    assert shell.json("ingest", "sentences", "--index", "hnsw")["index"].endswith("built over 20 rows")
    assert (
        shell.json("ingest", "sentences", "--index", "hnsw")["index"] == "hnsw sentences_embedding_hnsw was there, kept"
    )
    assert indexes(database) == [HNSW]


@pytest.mark.parametrize("kind", ["vector", "halfvec"])
def test_options_arrive(shell: Shell, database: str, kind: str) -> None:
    make(database, 20, vector=f"embedding {kind}(32)")
    for distance, part in {"l2": "l2", "inner-product": "ip"}.items():
        options = "--index", "hnsw", "--m", "5", "--ef-construction", "11", "--distance", distance
        shell.json("ingest", "sentences", *options)
        assert indexes(database)[-1].endswith(f"({'embedding'} {kind}_{part}_ops) WITH (m='5', ef_construction='11')")
    assert len(indexes(database)) == 2


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ("--index ivfflat", "--index: 'ivfflat' does not fit: expected auto, hnsw or none"),
        ("--m 1", "--m: 1 does not fit: expected a whole number from 2 to 100"),
        ("--m x", "--m: 'x' does not fit"),
        ("--ef-construction 31", "--ef-construction: 31 does not fit: .* from 32"),
        ("--distance far", "--distance: 'far' does not fit: expected cosine, l2, inner-product"),
    ],
)
def test_options_that_do_not_fit(shell: Shell, database: str, options: str, pattern: str) -> None:
    tables.refused(shell.run("ingest", "sentences", *options.split()), 2, pattern)


# What is there

_KEPT = "hnsw own was there, kept"


@pytest.mark.parametrize(
    ("definition", "outcome", "after"),
    [
        (
            "USING ivfflat (embedding vector_l2_ops) WITH (lists = 1)",
            "ivfflat own was there, kept",
            "beside ivfflat own",
        ),
        ("USING hnsw (embedding vector_cosine_ops)", "hnsw own was there, kept", "hnsw own was there, kept"),
        ("USING hnsw (embedding vector_l2_ops)", "hnsw own was there, kept", "beside hnsw own"),
        (
            "USING hnsw ((embedding::halfvec(32)) halfvec_cosine_ops)",
            "hnsw own was there, kept",
            "hnsw own was there, kept",
        ),
        ("(embedding)", "", "built over 20 rows"),
        ("(id) WHERE embedding IS NULL", "", "built over 20 rows"),
        ("(text)", "", "built over 20 rows"),
    ],
)
def test_an_index_that_is_there_is_kept(shell: Shell, database: str, definition: str, outcome: str, after: str) -> None:
    """One for near vectors, whoever made it; others do not matter. Another is built only where that is asked for."""
    make(database, 20)
    ask(database, f"CREATE INDEX own ON sentences {definition}")
    before = indexes(database)
    assert shell.json("ingest", "sentences")["index"] == outcome
    assert indexes(database) == before
    assert after in shell.json("ingest", "sentences", "--index", "hnsw")["index"]
    assert indexes(database)[:1] == before
    assert complete(database) == 20


def invalid(url: str, name: str) -> None:
    """Make an index what a build that was killed leaves."""
    ask(url, f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}'::regclass")


def test_what_a_killed_build_has_left_is_replaced(shell: Shell, database: str) -> None:
    """And nothing else that is not valid: it may be somebody's who is building it at this moment."""
    make(database, 20)
    for name in "sentences_embedding_hnsw", "sentences_embedding_hnsw2", "own":
        ask(database, f"CREATE INDEX {name} ON sentences USING hnsw (embedding vector_l2_ops)")
        invalid(database, name)
    report = shell.json("ingest", "sentences", "--index", "hnsw")
    assert report["index"] == "hnsw sentences_embedding_hnsw built over 20 rows"
    assert indexes(database) == [HNSW]
    found = ask(database, "SELECT relname FROM pg_class WHERE relam = (SELECT oid FROM pg_am WHERE amname = 'hnsw')")
    assert sorted(name for (name,) in found) == ["own", "sentences_embedding_hnsw"]


def test_a_column_that_is_swapped_in_gets_the_index_of_the_other(shell: Shell, database: str) -> None:
    """Where nothing is said of an index on the command line, and where `auto` is."""
    make(database, 20)
    shell.json("ingest", "sentences", "--index", "hnsw", "--distance", "l2", "--m", "8")
    other = Path(shell.environment["EMBEDMILL_MODEL"]).with_name("bert-cls")
    for column, model, more in (("second", other, []), ("third", "", ["--index", "auto"])):
        ask(database, "ALTER TABLE sentences DROP COLUMN IF EXISTS second")
        chosen = ["--model", model] if model else []
        report = shell.json("ingest", "sentences", "--into", column, "--swap", *chosen, *more)
        assert report["swapped"] and report["index"].startswith(f"hnsw sentences_{column}_hnsw built")
        assert any("(embedding vector_l2_ops) WITH (m='8'" in definition for definition in indexes(database))


def test_an_index_that_is_described_and_not_built_is_told(shell: Shell, database: str) -> None:
    make(database, 20)
    done = shell.run("ingest", "sentences", "--distance", "cosine")
    assert done.returncode == 0 and "warning: no index was built, for which --m, --ef-con" in done.stderr
    assert "no index" not in shell.run("ingest", "sentences", "--index", "auto").stderr


# Dimensions


@pytest.mark.parametrize(
    ("kind", "dimension", "message"),
    [
        ("vector", 3072, "at most 2,000 dimensions of vector, the model has 3,072: give --halfvec with --create"),
        ("halfvec", 3072, ""),
        ("halfvec", 4097, "at most 4,000 dimensions of halfvec, the model has 4,097: take a model with fewer"),
        ("vector", 4097, "at most 2,000 dimensions of vector, the model has 4,097: take a model with fewer"),
    ],
)
def test_more_dimensions_than_an_index_takes(
    database: str, caplog: pytest.LogCaptureFixture, kind: str, dimension: int, message: str
) -> None:
    """Is said before the work; the vectors themselves may have them."""
    make(database, 3, vector=f"embedding {kind}({dimension})")
    space = Space(
        weights="w", tokenizer="t", pooling="mean", normalize=True, prompt="", max_tokens=9, dimension=dimension
    )
    for method in "auto", "none", "hnsw":
        with closing(PostgresTable(database, "sentences", TableRequest(index=IndexOptions(method)))) as table:
            caplog.clear()
            if message and method == "hnsw":
                with pytest.raises(UsageError, match=message):
                    table.bind(Fingerprint(space, "f32"), "large")
                continue
            table.bind(Fingerprint(space, "f32"), "large")
            assert (message in caplog.text) if method == "auto" else caplog.text == ""
            expected = {"none": "", "auto": "", "hnsw": "hnsw sentences_embedding_hnsw built over 0 rows"}
            assert table.build_index(lambda doing, share: None, lambda: False) == expected[method]


# While it is built


@contextmanager
def hindered(url: str) -> Iterator[None]:
    """As long as this lasts, an index that is built concurrently waits for a transaction of ours."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE sentences IN ROW EXCLUSIVE MODE")
        yield


def building(url: str) -> bool:
    return bool(ask(url, "SELECT 1 FROM pg_stat_progress_create_index WHERE relid = 'sentences'::regclass"))


@pytest.fixture
def outside(tmp_path: Path, database: str) -> Shell:
    """Where real processes are started, on a table of 20 rows."""
    make(database, 20)
    return tables.shell(tmp_path, database)


def test_what_is_shown_of_a_build_and_what_it_takes(outside: Shell, database: str) -> None:
    """The server's own account of it; memory is taken for this session alone."""
    with terminal() as (end, see):
        with hindered(database):
            process = outside.start("ingest", "sentences", "--index", "hnsw", stderr=end)
            see("building the index: waiting for writers before build")
            see("the index waits for process ")
            assert ask(database, "SHOW maintenance_work_mem") == [("64MB",)]
            assert complete(database) == 20  # long since
        out, _ = process.communicate()
    assert process.returncode == 0 and "built over 20 rows" in out
    assert ask(database, "SELECT setting FROM pg_settings WHERE name = 'maintenance_work_mem'") == [("65536",)]


def test_interrupted_while_it_is_built(outside: Shell, database: str) -> None:
    """Nothing is left of it; the next run builds it."""
    with hindered(database):
        process = outside.start("ingest", "sentences", "--index", "hnsw")
        until(lambda: building(database), process)
        process.send_signal(signal.SIGINT)
        until(lambda: not building(database))
    out, err = process.communicate()
    assert process.returncode == 130 and "none: stopped before it was built" in out and "stopping" in err
    assert ask(database, "SELECT count(*) FROM pg_index WHERE indrelid = 'sentences'::regclass") == [(1,)]
    assert outside.json("ingest", "sentences", "--index", "hnsw")["index"].endswith("built over 20 rows")


def test_killed_while_it_is_built(outside: Shell, database: str) -> None:
    """The server gives it up soon; the next run removes what is left, and builds it."""
    with hindered(database):
        process = outside.start("ingest", "sentences", "--index", "hnsw")
        until(lambda: building(database), process)
        process.kill()
        process.communicate()
        until(lambda: not building(database))
    assert ask(
        database, "SELECT indisvalid FROM pg_index WHERE NOT indisprimary AND indrelid = 'sentences'::regclass"
    ) == [(False,)]
    assert outside.json("ingest", "sentences", "--index", "hnsw")["index"].endswith("_hnsw built over 20 rows")
    assert indexes(database) == [HNSW]


def test_two_runs_build_it_once(outside: Shell, database: str) -> None:
    """The second waits, and says so; it neither builds another nor takes the first's, unfinished, for a leftover."""
    with hindered(database):
        first = outside.start("ingest", "sentences", "--index", "hnsw", "--json")
        until(lambda: building(database), first)
        second = outside.start("ingest", "sentences", "--index", "hnsw", "--json")
        waits = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%try_advisory%' AND application_name = 'embedmill'"
        until(lambda: bool(ask(database, waits)), second)
        time.sleep(0.6)  # it looks again, at least once
        assert second.poll() is None
    reports = [json.loads(process.communicate()[0]) for process in (first, second)]
    assert [report["index"] for report in reports] == [
        "hnsw sentences_embedding_hnsw built over 20 rows",
        "hnsw sentences_embedding_hnsw was there, kept",
    ]
    assert indexes(database) == [HNSW]


def test_a_build_that_an_administrator_cancels(outside: Shell, database: str) -> None:
    """Is not begun again by itself, and not told as done; the vectors are stored."""
    with hindered(database):
        process = outside.start("ingest", "sentences", "--index", "hnsw")
        until(lambda: building(database), process)
        ask(database, "SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index")
        until(lambda: not building(database))
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert "the index was cancelled while it was built: give --index hnsw to build it" in err
    assert complete(database) == 20 and indexes(database) == []
