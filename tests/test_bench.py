"""`embedmill bench ingest`: what it measures, and that it leaves no trace."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from cli_runs import Shell
from tables import ask, refused, user
from troubled import SMALL_MODEL


@pytest.fixture
def shell(tmp_path: Path, database: str) -> Shell:
    return Shell(tmp_path, EMBEDMILL_STORE=database, EMBEDMILL_MODEL=str(SMALL_MODEL))


def contents(database: str) -> list[tuple[object, ...]]:
    """Every relation of the user's, and the rows of the table."""
    with psycopg.connect(database) as connection:
        relations = connection.execute(
            """SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname !~ '^(pg_|information_schema)' ORDER BY 1, 2"""
        ).fetchall()
        return relations + connection.execute("SELECT * FROM sentences ORDER BY id").fetchall()


def test_settings_are_tried_on_a_copy(shell: Shell, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE sentences (id integer PRIMARY KEY, text text, embedding vector(5))")
        connection.execute("INSERT INTO sentences SELECT g, 'sentence number ' || g FROM generate_series(1, 300) g")
        connection.execute("INSERT INTO sentences VALUES (301, ''), (302, NULL)")
    before = contents(database)
    found = shell.json("bench", "ingest", "sentences", "--batch", "20", "--max-workers", "3", "--rows", "250")
    assert (found["table"], found["rows"]) == ("public.sentences", 250)
    assert [(each["workers"], each["batch"]) for each in found["tried"]] == [
        (workers, batch) for batch in (20, 80) for workers in (1, 2, 3)
    ]
    assert found["tried"][0]["speed_up"] == 1
    for each in found["tried"]:
        assert each["rows_per_second"] > 0
        assert all(0 <= each[stage] <= 1 for stage in ("reading", "model", "writing"))
        assert each["reading"] + each["model"] + each["writing"] == pytest.approx(1, abs=0.002)
    assert found["best"] in found["tried"]
    assert contents(database) == before
    people = shell.run("bench", "ingest", "sentences", "--max-workers", "1", "--rows", "50")
    assert people.returncode == 0
    assert people.stdout.splitlines()[-1].startswith("best: embedmill ingest public.sentences ")
    assert contents(database) == before


def test_what_a_killed_bench_has_left_goes_with_the_next(shell: Shell, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE sentences (id integer PRIMARY KEY, text text)")
        connection.execute("INSERT INTO sentences SELECT g, 'sentence number ' || g FROM generate_series(1, 100) g")
    process = shell.start("bench", "ingest", "sentences", "--max-workers", "1")
    schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'embedmill%'"
    with psycopg.connect(database, autocommit=True) as connection:
        while connection.execute(schemas).fetchone() == (0,):
            assert process.poll() is None
        process.kill()
        process.communicate()
        connection.execute("CREATE SCHEMA embedmill_bench_mine")
        assert connection.execute(schemas).fetchone() == (2,)
        shell.json("bench", "ingest", "sentences", "--max-workers", "1")
        assert connection.execute(schemas).fetchone() == (1,), "what is the user's own stays"


def test_who_may_create_no_copy_is_told_what_is_missing(shell: Shell, database: str) -> None:
    ask(
        database,
        "CREATE TABLE sentences (id integer PRIMARY KEY, text text); INSERT INTO sentences VALUES (1, 'a text')",
    )
    with user(database, "GRANT SELECT ON sentences TO {}") as limited:
        done = shell.run("bench", "ingest", "sentences", "--store", limited)
        refused(done, 1, "may not create a schema for the copy: .*GRANT CREATE ON DATABASE .* TO ")


def test_a_table_without_texts_cannot_be_measured(shell: Shell, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE sentences (id integer PRIMARY KEY, text text)")
    done = shell.run("bench", "ingest", "sentences")
    assert (done.returncode, done.stdout) == (2, "")
    assert "public.sentences has no texts to measure with" in done.stderr
    assert shell.run("bench", "ingest", "sentences", "--batch", "0").returncode == 2
