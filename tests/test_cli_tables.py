"""What the commands say of tables, and of what to run next."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

import tables
from cli_runs import Shell, obey_permissions
from proxy import Proxy
from table_places import Place, PostgresPlace, SqlitePlace, bound
from tables import Within, ask, user

PLACES = ["sqlite", "postgres"]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield SqlitePlace(tmp_path / "app.db")
        return
    place = PostgresPlace(request.getfixturevalue("shared"))
    place.clear()
    yield place
    place.close()


@pytest.fixture
def postgres(shared: str) -> Iterator[PostgresPlace]:
    place = PostgresPlace(shared)
    place.clear()
    yield place
    place.close()


def elsewhere(folder: Path) -> Shell:
    """Where nothing says what commands act on, but they themselves."""
    return tables.shell(folder, "sqlite:elsewhere.db", Within)


def named(text: str, *words: str) -> list[str]:
    """The arguments of the command that a text names, as a shell takes them."""
    beginning = f"embedmill {' '.join(words)}"
    (line,) = (line[line.index(beginning) :] for line in text.splitlines() if beginning in line)
    return shlex.split(line)[1:]


# Commands to be run next


def test_hints_act_on_the_same_table(place: Place, tmp_path: Path) -> None:
    column = "BLOB" if "sqlite" in place.url else f"vector({tables.DIMENSION})"
    place.execute(f'CREATE TABLE "a b" (id bigint PRIMARY KEY, body text, v {column})')
    place.execute("""INSERT INTO "a b" VALUES (1, 'one', NULL), (2, '', NULL)""")
    shell = elsewhere(tmp_path)
    where = ["--vector", "v", "--store", place.url, *(["--schema", "my mill"] if "postgres" in place.url else [])]
    done = shell.run("ingest", "a b", *where)
    assert done.returncode == 3, done.stderr
    try:
        again = named(done.stdout, "retry-failed")
        assert again == ["retry-failed", "a b", *where]
        assert shell.json(*again, code=3)["failed"] == 1
        listing = named(done.stderr, "status")
        assert listing == ["status", "a b", "--failures", *where]
        shown = shell.run(*listing)
        assert "a b 2: EmptyText: the text is empty (2 attempts)" in shown.stdout
        assert named(shown.stderr, "retry-failed") == again
    finally:
        if "postgres" in place.url:
            place.execute('DROP SCHEMA "my mill" CASCADE')


def test_what_failed_is_tried_again_as_it_was_taken(place: Place, tmp_path: Path) -> None:
    """No text is cut, and no table of metrics made, by following a hint; what was too long may be taken after all."""
    place.docs("words " * 500, "several words " * 4, "one", vectors=False)
    shell = tables.shell(tmp_path, place.url, Within)
    done = shell.run(
        "ingest", "docs", "--text", "body", "--create", "--no-metrics", "--no-truncate", "--max-text", "50"
    )
    again = named(done.stdout, "retry-failed")
    assert again == ["retry-failed", "docs", "--no-metrics", "--no-truncate", "--max-text", "50"]
    assert shell.json(*again, code=3)["failed"] == 2
    assert shell.json(*again[:-1], "5000", code=3)["embedded"] == 1  # one has more tokens than the model reads
    with pytest.raises((sqlite3.OperationalError, psycopg.errors.UndefinedTable)):
        place.execute("SELECT * FROM docs_metrics")
    report = shell.json("retry-failed", "docs")
    assert (report["embedded"], report["truncated"], report["measured"]) == (1, 1, 3)
    tables.refused(shell.run("retry-failed", "--no-metrics"), 2, "--metrics is about a table: name the TABLE")


def test_what_the_model_for_tests_has_failed_at_is_tried_again(place: Place, tmp_path: Path) -> None:
    """That model has to be allowed each time."""
    place.docs("", "one", vectors=False)
    shell, where = elsewhere(tmp_path), ["--store", place.url]
    done = shell.run("ingest", "docs", "--text", "body", "--create", "--model", "test:8", "--allow-test-model", *where)
    again = named(done.stdout, "retry-failed")
    assert again == ["retry-failed", "docs", *where, "--allow-test-model"]
    assert named(shell.run("status", "docs", *where).stderr, "retry-failed") == again
    assert shell.json(*again, code=3)["failed"] == 1
    measured = shell.run(
        "bench", "ingest", "docs", "--text", "body", "--max-workers", 1, "--rows", 2, "--model", "test:8", *where
    )
    best = named(measured.stdout, "ingest")
    assert best[-1] == "--allow-test-model" and shell.run(*best).returncode == 0


def test_hints_leave_out_what_still_holds(place: Place, tmp_path: Path) -> None:
    place.docs("", vectors=False)
    shell = tables.shell(tmp_path, place.url, Within)
    done = shell.run("ingest", "docs", "--text", "body", "--create")
    assert named(done.stdout, "retry-failed") == ["retry-failed", "docs"]
    assert named(done.stderr, "status") == ["status", "docs", "--failures"]


def test_hints_act_on_the_same_store(tmp_path: Path) -> None:
    shell = tables.shell(tmp_path, "sqlite:elsewhere.db")
    closed = tmp_path / "closed.txt"
    closed.write_text("Words.")
    closed.chmod(0)
    where = ["--store", "sqlite:my own.db"]
    done = shell.run("index", "closed.txt", *where, preexec_fn=obey_permissions)
    again = named(done.stdout, "retry-failed")
    assert again == ["retry-failed", *where]
    listing = named(done.stderr, "status")
    assert listing == ["status", "--failures", *where]
    shown = shell.run(*listing)
    assert "closed.txt" in shown.stdout and named(shown.stderr, "retry-failed") == again
    closed.chmod(0o644)
    assert shell.json(*again)["chunks"] == 1


def test_a_password_is_in_no_hint(postgres: PostgresPlace, tmp_path: Path) -> None:
    postgres.docs("one", "", vectors=False)
    shell = elsewhere(tmp_path)
    with Proxy(postgres.url) as proxy:
        if psycopg.conninfo.conninfo_to_dict(proxy.url).get("password"):
            pytest.skip("the server wants the right password")
        url = proxy.url.replace("@", ":hush?hush@", 1)
        ingested = shell.run("ingest", "docs", "--text", "body", "--create", "--store", url)
        listing = named(ingested.stderr, "status")
        assert listing == ["status", "docs", "--failures", "--store", proxy.url]
        shown = [ingested, shell.run("status", "docs", "--store", url), shell.run("status", "--store", url)]
        shown.append(shell.run("bench", "ingest", "docs", "--text", "body", "--max-workers", 1, "--store", url))
        best = named(shown[-1].stdout, "ingest")
        assert (best[:2], best[3:]) == (
            ["ingest", "public.docs"],
            ["--workers", "1", "--text", "body", "--store", proxy.url],
        )
        assert [done.returncode for done in shown] == [3, 0, 0, 0]
        assert not any("hush" in done.stdout + done.stderr for done in shown)
        assert shell.run(*listing).returncode == 0, "the rest of the URL is whole"


# A retry


def test_what_fails_again_is_told_once(place: Place, tmp_path: Path) -> None:
    place.docs(*[""] * 7, vectors=False)
    shell = elsewhere(tmp_path)
    place_options = ["--store", place.url]
    shell.run("ingest", "docs", "--text", "body", "--create", *place_options)
    done = shell.run("retry-failed", "docs", *place_options)
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    assert lines[0].startswith("no rows filled (")
    assert lines[-6:] == [f"docs {key}: EmptyText: the text is empty" for key in range(1, 6)] + ["... and 2 more"]
    assert "retry-failed" not in done.stdout + done.stderr, "that has just been done"
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: 7 failures left: see embedmill status docs --failures")


def test_nothing_of_a_key_drives_the_terminal(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path / "app.db")
    place.execute("CREATE TABLE docs (name TEXT PRIMARY KEY, body TEXT)")
    place.execute("INSERT INTO docs VALUES (?, '')", "\x1b[2Jgone\nagain")
    done = elsewhere(tmp_path).run("ingest", "docs", "--create", "--store", place.url)
    assert "docs \ufffd[2Jgone again: EmptyText: the text is empty" in done.stdout.splitlines()


# The tables of a database


def test_status_lists_the_tables_of_a_database_without_a_store(place: Place, tmp_path: Path) -> None:
    place.docs("one", "two")
    place.execute(f'CREATE TABLE "My.Table" (id bigint PRIMARY KEY, text text, v {place.vector})')
    place.execute(f"CREATE TABLE dropped (id bigint PRIMARY KEY, text text, v {place.vector})")
    place.execute(f"CREATE TABLE changed (id bigint PRIMARY KEY, text text, v {place.vector})")
    place.execute("CREATE TABLE other (id bigint PRIMARY KEY, text text)")
    for table in ('"My.Table"', "dropped", "changed"):
        bound(place, table, vector="v").close()
    with bound(place, text="body") as table:
        table.mark_complete()
    place.execute("DROP TABLE dropped")
    place.execute("ALTER TABLE changed RENAME COLUMN v TO w")

    shell, where = elsewhere(tmp_path), ["--store", place.url]
    prefix = "public." if "postgres" in place.url else ""
    listed = shell.json("status", *where)["tables"]
    assert [(each["table"], each["text"], each["vector"], each["model"], each["filled"]) for each in listed] == [
        (f'{prefix}"My.Table"', "text", "v", "model", False),
        (f"{prefix}changed", "text", "w", "model", False),
        (f"{prefix}docs", "body", "embedding", "model", True),
    ]
    done = shell.run("status", *where)
    assert done.returncode == 0
    store, first, _, second = done.stdout.splitlines()
    assert store.startswith("store  ") and place.url.partition("?")[0] in store
    assert first == f'table  {prefix}"My.Table", text to v, model, no run has finished yet'
    assert second == f"table  {prefix}docs, body to embedding, model, a run has finished"
    one = named(done.stderr, "status")
    assert one == ["status", f'{prefix}"My.Table"', "--vector", "v", *where]
    assert shell.run(*one).stdout.startswith(f'table  {prefix}"My.Table", text to v')
    assert shell.run("status", *where, "--quiet", "--json").stderr == ""


def test_status_of_a_database_with_a_store_and_tables(postgres: PostgresPlace, tmp_path: Path) -> None:
    postgres.docs("one")
    (tmp_path / "a.txt").write_text("Some words.")
    shell = tables.shell(tmp_path, postgres.url, Within)
    assert shell.run("index", "a.txt").returncode == 0
    alone = shell.json("status")
    assert "tables" not in alone and "table " not in shell.run("status").stdout
    bound(postgres, text="body").close()
    both = shell.json("status")
    assert both.pop("tables")[0]["table"] == "public.docs"
    assert {**both, "bytes": 0} == {**alone, "bytes": 0}
    lines = [line.split()[0] for line in shell.run("status").stdout.splitlines()]
    assert lines == ["store", "documents", "chunks", "failures", "model", "space", "precision", "table"]


@pytest.mark.parametrize("command", ["verify", "retry-failed"])
def test_a_command_without_a_table_tells_of_the_tables(place: Place, tmp_path: Path, command: str) -> None:
    """A database with nothing but tables was called sound, or no store of embedmill's."""
    place.docs("one", vectors=False)
    shell = elsewhere(tmp_path)
    assert shell.run("ingest", "docs", "--text", "body", "--create", "--store", place.url).returncode == 0
    done = shell.run(command, "--store", place.url)
    if "sqlite" in place.url:
        tables.refused(done, 1, r"give the TABLE \(`embedmill status` lists them\)")
        return
    line = named(done.stderr, command)
    assert (done.returncode, line) == (0, [command, "public.docs", "--store", place.url])
    assert shell.run(*line).returncode == 0
    assert shell.run(command, "--store", place.url, "--quiet").stderr == ""


def test_verify_counts_rows_that_have_a_vector(place: Place, tmp_path: Path) -> None:
    place.docs("one", "two", "", None, vectors=False)
    shell, where = elsewhere(tmp_path), ["--store", place.url]
    assert shell.run("ingest", "docs", "--text", "body", "--create", *where).returncode == 3
    assert shell.run("verify", "docs", *where).stdout.startswith("sound: 2 rows of docs")


def test_status_where_there_is_neither(place: Place, tmp_path: Path) -> None:
    """A database of another application's, which nothing has been filled in."""
    place.docs("one")
    done = elsewhere(tmp_path).run("status", "--store", place.url)
    words = "no embedmill store" if "sqlite" in place.url else "run `embedmill index` first"
    tables.refused(done, 1, words)


def test_an_sqlite_store_has_no_tables(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Some words.")
    shell = tables.shell(tmp_path, "sqlite:store.db", Within)
    shell.run("index", "a.txt")
    with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        db.execute("CREATE TABLE embedmill_tables (id INTEGER)")  # whatever somebody has put there
    status = shell.json("status")
    assert status["documents"] == 1 and "tables" not in status


def test_who_may_only_search_sees_the_store(postgres: PostgresPlace, tmp_path: Path) -> None:
    postgres.docs("one")
    (tmp_path / "a.txt").write_text("Some words.")
    tables.shell(tmp_path, postgres.url, Within).run("index", "a.txt")
    bound(postgres, text="body").close()
    store = "migrations, meta, writer, roots, documents, chunks, failures"
    readable = ", ".join(f"embedmill.{name.strip()}" for name in store.split(","))
    with user(postgres.url, "GRANT USAGE ON SCHEMA embedmill TO {}", f"GRANT SELECT ON {readable} TO {{}}") as url:
        shell = tables.shell(tmp_path, url, Within)
        status = shell.json("status")
    assert status["documents"] == 1 and "tables" not in status
    assert ask(postgres.url, "SELECT count(*) FROM embedmill.tables") == [(1,)]


def test_a_column_without_its_table(tmp_path: Path) -> None:
    for command in "status", "retry-failed":
        tables.refused(
            elsewhere(tmp_path).run(command, "--vector", "v"), 2, "--vector is about a table: name the TABLE"
        )


def test_empty_texts_are_failures_of_the_first_run_alone(place: Place, tmp_path: Path) -> None:
    """A job that runs every night must not fail each time over a row that nobody will fill."""
    place.docs("one", "", "  ", vectors=False)
    shell, where = elsewhere(tmp_path), ["--store", place.url]
    assert shell.run("ingest", "docs", "--text", "body", "--create", *where).returncode == 3
    for _ in range(2):
        done = shell.run("ingest", "docs", *where)
        assert done.returncode == 0
        assert "2 empty text" in done.stdout
    assert shell.json("status", "docs", *where)["counts"]["failures"] == 2
    place.execute("INSERT INTO docs (id, body) VALUES (4, '')")
    assert shell.run("ingest", "docs", *where).returncode == 3, "another one"
    assert shell.run("ingest", "docs", *where).returncode == 0
    assert shell.run("retry-failed", "docs", *where).returncode == 3
