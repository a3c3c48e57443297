"""What only tables in SQLite have: files of the user's, values of any type in any column, no server."""

from __future__ import annotations

import logging
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from cli_runs import Shell, obey_permissions
from embedmill.core.errors import SpaceMismatch, Stopped, StoreBusy, StoreError, StoreNotFound, UsageError
from embedmill.core.rows import IndexOptions, shown
from embedmill.storage.driver import TableRequest
from embedmill.storage.registry import open_store
from embedmill.storage.sqlite.table import SqliteTable
from store_samples import DIMENSION, fingerprint, vector
from table_places import SqlitePlace, bound, claimed, filled, ingest, run, texts
from troubled import SMALL_MODEL, TroubledEmbedder


@pytest.fixture
def place(tmp_path: Path) -> SqlitePlace:
    return SqlitePlace(tmp_path / "app.db")


def beside(place: SqlitePlace) -> list[str]:
    return sorted(path.name for path in place.path.parent.iterdir())


# The file


def test_a_file_is_never_created(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match=r"no database at .*nowhere\.db: check --store"):
        SqlitePlace.open(_at(tmp_path / "nowhere.db"))
    assert list(tmp_path.iterdir()) == []


def _at(path: Path) -> SqlitePlace:
    place = SqlitePlace.__new__(SqlitePlace)
    place.path, place.url = path, f"sqlite:{path}"
    return place


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database")
    (tmp_path / "empty").touch()
    open_store(f"sqlite:{tmp_path}/index.db").close()
    for name, words in {
        "text": "is no SQLite database: give another --store",
        "empty": "there is no table docs in sqlite:.*empty",
        "index.db": "is a store of `embedmill index`, not a database with a table",
        ".": "cannot be read",
    }.items():
        with pytest.raises((StoreError, UsageError), match=words):
            _at(tmp_path / name).open()
    for url in ("sqlite:", "sqlite::memory:"):
        with pytest.raises(UsageError, match="names no file"):
            SqliteTable(url, "docs", TableRequest())


def test_a_damaged_file_says_so(place: SqlitePlace) -> None:
    place.docs(*(f"text {number} " * 50 for number in range(200)))
    data = bytearray(place.path.read_bytes())
    data[4096 * 3 :] = os.urandom(len(data) - 4096 * 3)
    place.path.write_bytes(data)
    with pytest.raises(StoreError, match=r"malformed|corrupt|encoding") as caught:
        run(place)
    assert "\n" not in str(caught.value)


def test_odd_characters_in_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "what? #1 100%"
    folder.mkdir()
    place = SqlitePlace(folder / "app [x]*.db")
    place.docs("one")
    assert len(run(place).written) == 1
    assert beside(place) == ["app [x]*.db"]


@pytest.mark.parametrize("mode", ["delete", "truncate", "wal"])
def test_the_journal_mode_stays_and_nothing_is_left_beside_the_file(place: SqlitePlace, mode: str) -> None:
    place.execute(f"PRAGMA journal_mode = {mode}")
    place.docs("one", "bad two")
    before = beside(place)
    run(place, metrics=True)
    run(place, metrics=True)
    assert beside(place) == before
    assert place.execute("PRAGMA journal_mode") == ([(mode,)] if mode == "wal" else [("delete",)])
    header = place.execute("PRAGMA application_id") + place.execute("PRAGMA user_version")
    assert header == [(0,), (0,)], "they are the application's"
    names = {name for (name,) in place.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert names == {"docs", "docs_metrics", "embedmill_tables", "embedmill_marks_1"}


_HOLD = """
import sys, time
from embedmill.storage.registry import open_table
from store_samples import fingerprint
table = open_table(sys.argv[1], "docs", longest=1000, db_timeout=10.0)
table.bind(fingerprint(), "model")
print(len(table.claim(None, 2)), flush=True)
time.sleep(60)
"""


def killed_run(place: SqlitePlace) -> None:
    """A run that has claimed two rows, and was killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, place.url],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "2\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_what_a_killed_run_left_beside_the_file_goes_with_the_next(place: SqlitePlace) -> None:
    place.docs("one", "two", "three")
    killed_run(place)
    assert beside(place) == ["app.db", "app.db-embedmill-1-1"]
    assert len(run(place).written) == 3
    assert beside(place) == ["app.db"]


def test_a_database_has_one_name_for_its_runs(place: SqlitePlace) -> None:
    place.docs("one", "two")
    link = place.path.parent / "link.db"
    link.symlink_to(place.path)
    with bound(place) as table, bound(_at(link)) as other:
        assert len(claimed(table)) == 2
        assert (claimed(other), other.claimed_by_others()) == ([], 2)


def test_a_database_put_back_from_a_backup_does_not_confuse_runs(place: SqlitePlace) -> None:
    """Numbers of runs that live are not given to others."""
    place.docs("one", "two", "three")
    with bound(place) as table:
        assert len(table.claim(None, 1)) == 1
        place.execute("UPDATE embedmill_tables SET runs = 0")
        with bound(place) as other:
            assert texts(claimed(other)) == ["two", "three"]
            assert other.claimed_by_others() == 1


def test_a_run_that_begins_between_two_looks_keeps_what_it_claims(place: SqlitePlace) -> None:
    place.docs("one", "two", "three")
    killed_run(place)
    with bound(place) as table, bound(place) as other:
        assert isinstance(table, SqliteTable)
        seen = table._due(None, 9)
        later = table._standings(None, 9)
        assert len(seen) == 3
        assert len(other.claim(None, 9)) == 3
        assert table._claim(seen) == []
        assert [row for page in later for row in page if table._is_due(row)] == []
        assert table.claimed_by_others() == 3


# What others do with the file meanwhile


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_the_application_writes_while_a_run_is_under_way(place: SqlitePlace, mode: str) -> None:
    place.execute(f"PRAGMA journal_mode = {mode}")
    place.docs()
    with closing(sqlite3.connect(place.path)) as db, db:
        db.executemany(
            "INSERT INTO docs (id, body) VALUES (?, ?)", ((number, f"text {number} " * 9) for number in range(3000))
        )
    ended = threading.Event()
    done = []

    def work() -> None:
        with closing(sqlite3.connect(place.path, timeout=5, isolation_level=None)) as db:
            while not ended.is_set():
                db.execute("UPDATE docs SET note = 'changed' WHERE id = ?", [len(done)])
                done.append(len(done))
                time.sleep(0.002)

    thread = threading.Thread(target=work)
    thread.start()
    embedder = TroubledEmbedder()
    try:
        report = ingest(place, embedder, vector="own", create=True)
    finally:
        ended.set()
        thread.join()
    assert (report.embedded, report.failed) == (3000, 0)
    assert len(done) > 20
    notes = [note for (note,) in place.execute("SELECT note FROM docs ORDER BY id")]
    assert notes[: len(done)] == ["changed"] * len(done)


def test_a_run_that_is_stopped_waits_for_no_lock_and_reads_no_more(place: SqlitePlace) -> None:
    place.docs("one", "two")
    with closing(sqlite3.connect(place.path, isolation_level=None)) as other, bound(place, db_timeout=300) as table:
        rows = claimed(table)
        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(0.2, table.finish_within, [0.1]).start()
        with pytest.raises(StoreBusy, match=r"locked by another process \(tried until it was stopped\)"):
            table.write([filled(row) for row in rows])
        other.execute("ROLLBACK")
        assert table.write([filled(row) for row in rows]) == 0  # what is embedded is written
        for use in (lambda: table.claim(None, 1), table.counts, table.prune, lambda: table.metrics.missing(None, 1)):
            with pytest.raises(Stopped, match="run again"):
                use()


def test_a_lock_is_waited_for(place: SqlitePlace) -> None:
    place.docs("one")
    with closing(sqlite3.connect(place.path, isolation_level=None, check_same_thread=False)) as other:
        with bound(place, db_timeout=20) as table:
            rows = claimed(table)
            other.execute("BEGIN EXCLUSIVE")
            threading.Timer(0.3, lambda: other.execute("ROLLBACK")).start()
            assert table.write([filled(row) for row in rows]) == 0
        other.execute("BEGIN IMMEDIATE")
        with place.open(db_timeout=0.1) as table:
            with pytest.raises(
                StoreBusy, match=r"app\.db is locked by another process \(tried for 0\.1 s: --db-timeout"
            ):
                table.bind(fingerprint(), "model")
            other.execute("ROLLBACK")
            table.bind(fingerprint(), "model")
    assert beside(place) == ["app.db"]


def test_a_full_disk(place: SqlitePlace) -> None:
    place.docs()
    with closing(sqlite3.connect(place.path)) as db, db:
        db.executemany(
            "INSERT INTO docs (id, body) VALUES (?, ?)", ((number, f"text {number} " * 9) for number in range(3000))
        )
    shell = Shell(place.path.parent, EMBEDMILL_CACHE_DIR=str(place.path.parent / "cache"))
    command = ["ingest", "docs", "--store", place.url, "--model", SMALL_MODEL, "--precision", "f32", "--no-cache"]

    def limit() -> None:
        """No file of this process may grow: what a full disk does, without filling one."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = place.path.stat().st_size + 200_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    failed = shell.run(*command, preexec_fn=limit)
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()[-1:]
    assert line.startswith(f"error: sqlite:{place.path}: ")
    assert ": check the disk" in line or ": free some space" in line
    assert place.execute("PRAGMA integrity_check") == [("ok",)]
    report = shell.json(*command)
    assert (report["failed"], report["documents"], report["unchanged"] + report["chunks"]) == (0, 3000, 3000)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_may_not_be_written_says_so(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    place = SqlitePlace(folder / "app.db")
    place.docs("one")
    for path in [tmp_path, *tmp_path.parents][:3]:
        path.chmod(0o755)
    place.path.chmod(0o444 if what == "file" else 0o666)
    folder.chmod(0o777 if what == "file" else 0o555)
    shell = Shell(tmp_path, EMBEDMILL_CACHE_DIR=str(tmp_path / "cache"), HOME=str(tmp_path))
    arguments = ["ingest", "docs", "--store", place.url, "--model", SMALL_MODEL, "--no-cache", "--precision", "f32"]
    done = shell.run(*arguments, preexec_fn=obey_permissions)
    folder.chmod(0o755)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "app.db" in line
    assert "check the permissions" in line


# What the command sees


def test_the_command_fills_a_table_and_tells_of_it(place: SqlitePlace) -> None:
    place.docs("one", "two", "one", "", None, vectors=False)
    shell = Shell(place.path.parent, EMBEDMILL_CACHE_DIR=str(place.path.parent / "cache"))
    command = ["ingest", "docs", "--store", place.url, "--model", SMALL_MODEL, "--precision", "f32"]
    report = shell.json(*command, "--create", code=3)
    assert (report["embedded"], report["duplicates"], report["failed"]) == (2, 1, 1)
    assert report["store"] == place.url
    again = shell.json(*command)
    assert (again["embedded"], again["unchanged"], again["failures"]) == (0, 3, 0)
    assert again["skipped"] == {"NULL": 1, "empty text": 1}
    status = shell.json("status", "docs", "--store", place.url)
    assert (status["table"], status["dimension"], status["counts"]["failures"]) == ("docs", 32, 1)
    place.execute("UPDATE docs SET body = 'no longer empty' WHERE id = 4")
    retried = shell.json("retry-failed", "docs", "--store", place.url)
    assert (retried["embedded"], retried["failures"]) == (1, 0)


def test_options_that_make_no_sense_here_say_so(place: SqlitePlace) -> None:
    place.docs("one")
    for options, words in (
        ({"halfvec": True}, "--halfvec is for PostgreSQL"),
        ({"index": IndexOptions("hnsw")}, "--index hnsw is for PostgreSQL"),
        ({"index": IndexOptions(m=8)}, "--m is for PostgreSQL"),
        ({"index": IndexOptions(ef_construction=100)}, "--ef-construction is for PostgreSQL"),
        ({"index": IndexOptions(distance="l2")}, "--distance is for PostgreSQL"),
    ):
        with pytest.raises(UsageError, match=words):
            place.open(**options)
    for options in ({"schema": "any"}, {"index": IndexOptions()}, {"index": IndexOptions("none")}):
        with bound(place, **options) as table:
            assert table.build_index(lambda *_: None, lambda: False) == ""


# Vectors


def test_vectors_are_little_endian_float32(place: SqlitePlace) -> None:
    place.docs("one", vectors=False)
    run(place, create=True)
    ((kind, blob),) = place.execute("SELECT typeof(embedding), embedding FROM docs")
    assert (kind, blob) == ("blob", vector("one").astype("<f4").tobytes())
    assert place.execute("SELECT type FROM pragma_table_info('docs') WHERE name = 'embedding'") == [("BLOB",)]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ones(3, "<f4").tobytes(), rf"vectors of 3 dimensions, those of model have {DIMENSION}"),
        ("[0.1, 0.2]", "values that are no vectors"),
        (b"12345", "values that are no vectors"),
        (7, "values that are no vectors"),
    ],
)
def test_values_of_another_kind_are_refused_unless_overwritten(place: SqlitePlace, value: object, words: str) -> None:
    place.docs("one", "two", "three")
    place.execute("UPDATE docs SET embedding = ? WHERE id = 2", value)
    with pytest.raises(SpaceMismatch, match=words):
        run(place)
    assert len(run(place, overwrite=True).written) == 3
    assert [len(found) for found in place.vectors() if found is not None] == [DIMENSION] * 3


def test_no_other_blob_is_taken_for_the_vectors(place: SqlitePlace) -> None:
    place.execute("CREATE TABLE docs (id INTEGER PRIMARY KEY, body TEXT, picture BLOB)")
    place.execute("INSERT INTO docs (body) VALUES ('one')")
    with pytest.raises(UsageError, match="no column for vectors: --create adds one named embedding"):
        place.open()
    run(place, create=True)
    assert place.execute("SELECT picture, embedding IS NULL FROM docs") == [(None, 0)]
    with place.open(vector="PICTURE") as table:
        assert table.columns == ("body", "picture")
    for wrong, words in (("body", "is TEXT, not BLOB"), ("id", "is INTEGER, not BLOB")):
        with pytest.raises(UsageError, match=words):
            place.open(vector=wrong)


def test_columns_without_types(place: SqlitePlace) -> None:
    place.execute("CREATE TABLE docs (id PRIMARY KEY, body, Embedding)")
    place.execute("INSERT INTO docs VALUES (1, 'one', NULL)")
    assert texts(run(place, create=True).written) == ["one"]
    assert run(place, text="Body", vector='"EMBEDDING"').written == []
    with pytest.raises(UsageError, match="is the text, or a part of the key"):
        place.open(text="body", vector="body")


def test_generated_columns_are_read_and_not_filled(place: SqlitePlace) -> None:
    place.execute(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY, title TEXT, whole TEXT AS (title || '!') STORED, "
        "embedding BLOB, computed BLOB AS (embedding))"
    )
    place.execute("INSERT INTO docs (title) VALUES ('one'), (NULL)")
    assert texts(run(place, text="whole").written) == ["one!"]
    with pytest.raises(UsageError, match=r"--vector: docs\.computed is generated"):
        place.open(text="whole", vector="computed")


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 37), reason="SQLite knows no STRICT tables")
def test_strict_tables(place: SqlitePlace) -> None:
    place.execute("CREATE TABLE docs (id ANY PRIMARY KEY, body TEXT, embedding ANY) STRICT")
    for key in (1, "1", 1.5, b"1"):
        place.execute("INSERT INTO docs VALUES (?, ?, NULL)", key, f"text {key!r}")
    assert len(run(place, metrics=True, limit=1).written) == 4
    assert run(place, metrics=True, limit=1).written == []
    place.execute("CREATE TABLE whole (id INTEGER PRIMARY KEY, body TEXT) STRICT")
    place.execute("INSERT INTO whole VALUES (1, 'one')")
    assert len(run(place, "whole", metrics=True, create=True).written) == 1


# Texts


def test_numbers_are_embedded_as_they_are_written(place: SqlitePlace) -> None:
    place.docs()
    place.execute("CREATE TABLE numbers (id INTEGER PRIMARY KEY, value NUMERIC, embedding BLOB)")
    place.execute("INSERT INTO numbers (value) VALUES (5), (1.5), (-1e300), ('text'), (NULL)")
    assert texts(run(place, "numbers", text="value", metrics=True).written) == ["5", "1.5", "-1.0e+300", "text"]
    assert run(place, "numbers", text="value", metrics=True).written == []
    assert len(place.execute("SELECT * FROM numbers_metrics")) == 4


def test_what_is_no_text_fails_alone(place: SqlitePlace) -> None:
    place.docs("one", "blob", "broken", "surrogate \U0001f600", "two")
    place.execute("UPDATE docs SET body = CAST('blob' AS BLOB) WHERE id = 2")
    place.execute("UPDATE docs SET body = CAST(x'ff41c3' AS TEXT) WHERE id = 3")
    outcome = run(place, metrics=True)
    assert texts(outcome.written) == ["one", "surrogate \U0001f600", "two"]
    assert [(row.key, row.cause.type) for row in outcome.failed if row.cause] == [
        ((2,), "NotText"),
        ((3,), "NotUnicode"),
    ]
    assert (run(place, metrics=True).written, run(place, metrics=True).failed) == ([], [])
    assert place.execute("SELECT id FROM docs_metrics ORDER BY id") == [(1,), (4,), (5,)]
    place.execute("UPDATE docs SET body = CAST(body AS TEXT) WHERE id = 2")
    assert texts(run(place).written) == ["blob"], "another type is another text"
    with place.open() as table:
        assert table.sample(9) == ["one", "blob", "surrogate \U0001f600", "two"]


def test_a_text_that_breaks_while_it_is_embedded(place: SqlitePlace) -> None:
    place.docs("one", "two")
    with bound(place) as table:
        rows = claimed(table)
        place.execute("UPDATE docs SET body = CAST(x'ff' AS TEXT) WHERE id = 1")
        assert table.write([filled(row) for row in rows]) == 1


def test_a_text_with_nul_fails_with_its_cause(place: SqlitePlace) -> None:
    place.docs("one", "two \0 with NUL", "\0")
    report = ingest(place, TroubledEmbedder(), vector="own", create=True)
    assert (report.embedded, report.failed) == (1, 2)
    with place.open(vector="own") as table:
        causes = {failure.key: failure.cause.type for failure in table.failures()}
    assert causes == {("2",): "NulCharacter", ("3",): "NulCharacter"}


def test_a_database_in_utf_16(place: SqlitePlace) -> None:
    place.path.unlink()
    with closing(sqlite3.connect(place.path)) as db, db:
        db.execute("PRAGMA encoding = 'UTF-16le'")
        db.execute("CREATE TABLE docs (id TEXT PRIMARY KEY, body TEXT, embedding BLOB)")
        db.execute("INSERT INTO docs VALUES ('ä', 'Ä \U0001f600', NULL), ('b', 'two', NULL)")
    assert texts(run(place, limit=1, metrics=True).written) == ["two", "Ä \U0001f600"]
    assert run(place, metrics=True).written == []


# Keys


def test_a_key_column_of_values_of_all_types(place: SqlitePlace) -> None:
    place.execute("CREATE TABLE docs (id PRIMARY KEY NOT NULL, body TEXT, embedding BLOB)")
    keys = [
        *(-(2**63), -1.5, 0, 1e-300, 1, 1.5, 2**53 + 1, 2**63 - 1, 1e308, float("inf")),
        *("", "\0", "1", "1.0", "a\0b", "x'00'", "\U0001f600"),
        *(b"", b"\0", b"1", b"\xff"),
    ]
    for number, key in enumerate(keys):
        place.execute("INSERT INTO docs (id, body) VALUES (?, ?)", key, f"text {number}")
    place.execute("INSERT INTO docs (id, body) VALUES (CAST(x'ff41' AS TEXT), 'broken key')")
    place.execute("INSERT INTO docs (id, body) VALUES (CAST(x'ff42' AS TEXT), 'bad key')")
    outcome = run(place, metrics=True, limit=1)
    assert (len(outcome.written), len(outcome.failed), outcome.left_out) == (len(keys) + 1, 1, 0)
    assert [row.key for row in outcome.written if "broken" not in row.text] == [(key,) for key in keys]
    again = run(place, metrics=True, limit=1)
    assert (again.written, again.failed, again.removed) == ([], [], 0)
    assert place.execute("SELECT count(*) FROM docs_metrics m JOIN docs d ON d.id = m.id") == [(len(keys) + 2,)]


@pytest.mark.parametrize("collation", ["NOCASE", "RTRIM"])
def test_keys_are_the_same_where_their_collation_says_so(place: SqlitePlace, collation: str) -> None:
    place.execute(f"CREATE TABLE docs (id TEXT PRIMARY KEY COLLATE {collation}, body TEXT, embedding BLOB)")
    for key in ("b", "A", "c  ", "D", "e"):
        place.execute("INSERT INTO docs (id, body) VALUES (?, ?)", key, f"text {key}")
    ordered = [text for (text,) in place.execute("SELECT body FROM docs ORDER BY id")]
    assert texts(run(place, metrics=True, limit=1).written) == ordered
    same = "id = upper(id)" if collation == "NOCASE" else "id = trim(id) || '   '"
    place.execute(f"UPDATE docs SET {same}")
    outcome = run(place, metrics=True)
    assert (outcome.written, outcome.removed) == ([], 0)
    assert place.execute("SELECT count(*) FROM docs_metrics") == [(5,)]


def test_an_index_may_compare_otherwise_than_its_columns(place: SqlitePlace) -> None:
    place.execute("CREATE TABLE docs (name TEXT NOT NULL, body TEXT, embedding BLOB)")
    place.execute("CREATE UNIQUE INDEX by_name ON docs (name COLLATE NOCASE DESC)")
    for name in ("b", "A", "C"):
        place.execute("INSERT INTO docs (name, body) VALUES (?, ?)", name, f"text {name}")
    assert texts(run(place, id=["name"], text="body", limit=1).written) == ["text A", "text b", "text C"]
    assert run(place, id=["name"], text="body", limit=1).written == []
    place.execute("CREATE TABLE mixed (a TEXT, b INT, body TEXT, embedding BLOB, PRIMARY KEY (a, b DESC))")
    for a, b in ((a, b) for a in "xyz" for b in range(3)):
        place.execute("INSERT INTO mixed (a, b, body) VALUES (?, ?, ?)", a, b, f"text {a} {b}")
    expected = [f"text {a} {b}" for a in "xyz" for b in range(3)]
    assert texts(run(place, "mixed", text="body", limit=2).written) == expected


def test_a_collation_of_the_application_is_refused(place: SqlitePlace) -> None:
    with closing(sqlite3.connect(place.path)) as db, db:
        db.create_collation("OURS", lambda left, right: (left > right) - (left < right))
        db.execute("CREATE TABLE docs (id TEXT PRIMARY KEY COLLATE OURS, other INT NOT NULL UNIQUE, body TEXT)")
        db.execute("INSERT INTO docs VALUES ('a', 1, 'one')")
    with pytest.raises(UsageError, match=r"docs\.id is ordered by OURS, which only the application knows.*--id"):
        place.open(create=True, text="body")
    assert len(run(place, create=True, text="body", id=["other"]).written) == 1


def test_rows_whose_key_is_null_are_left_out_and_told_of(place: SqlitePlace, caplog: pytest.LogCaptureFixture) -> None:
    place.execute("CREATE TABLE docs (a TEXT, b INT, body TEXT, embedding BLOB, PRIMARY KEY (a, b))")
    for a, b in ((None, 1), (None, 1), ("x", None), ("x", 1), ("y", 2)):
        place.execute("INSERT INTO docs (a, b, body) VALUES (?, ?, ?)", a, b, f"text {a} {b}")
    with caplog.at_level(logging.WARNING):
        outcome = run(place, metrics=True, limit=1, text="body")
    assert texts(outcome.written) == ["text x 1", "text y 2"]
    assert "docs: 3 rows have NULL in their key and are left out" in caplog.text
    assert run(place, metrics=True, text="body").written == []
    assert place.execute("SELECT count(*) FROM docs_metrics") == [(2,)]


def test_tables_without_rowid(place: SqlitePlace) -> None:
    place.execute("CREATE TABLE docs (a TEXT, b INT, body TEXT, embedding BLOB, PRIMARY KEY (b DESC, a)) WITHOUT ROWID")
    for number in range(20):
        place.execute("INSERT INTO docs (a, b, body) VALUES (?, ?, ?)", str(number), number % 3, f"text {number}")
    rows = run(place, metrics=True, limit=3, text="body").written
    assert [shown(row.key) for row in rows] == sorted(
        ((str(number % 3), str(number)) for number in range(20)), key=lambda key: (int(key[0]), key[1])
    )
    assert run(place, metrics=True, text="body").written == []


@pytest.mark.parametrize(
    "definition",
    [
        "id INTEGER PRIMARY KEY, body TEXT, embedding BLOB)",
        "id TEXT PRIMARY KEY, body TEXT, embedding BLOB)",
        "id INT PRIMARY KEY DESC, body TEXT, embedding BLOB)",
        "id TEXT COLLATE NOCASE PRIMARY KEY, body TEXT, embedding BLOB)",
        "id TEXT, other INT, body TEXT, embedding BLOB, PRIMARY KEY (other, id))",
        "id TEXT, other INT, body TEXT, embedding BLOB, PRIMARY KEY (id, other)) WITHOUT ROWID",
    ],
)
def test_pages_are_read_in_the_order_of_the_key_and_never_sorted(place: SqlitePlace, definition: str) -> None:
    """Keyset pagination is only as good as its plan: a sort would read all that is behind the page, for each page."""
    place.execute(f"CREATE TABLE docs ({definition}")
    with bound(place, text="body") as table:
        assert isinstance(table, SqliteTable)
        table.metrics.prepare()
        key = tuple("k" for _ in table.spec.keys)
        statements, metrics = table._statements, table.metrics._statements
        for statement in (
            *(statements.standings(after, [7]) for after in (None, key)),
            *(metrics.measured(after) for after in (None, key)),
            *(statements.values(after) for after in (None, key)),
            *(statements.failures(after) for after in (None, key)),
            statements.textless([7]),
            statements.present,
            statements.holders,
            statements.claimed_by_others([7]),
            statements.left_behind([7]),
            metrics.metrics_page,
        ):
            plan = " / ".join(step for *_, step in place.execute(f"EXPLAIN QUERY PLAN {_literal(statement)}"))
            assert "TEMP B-TREE" not in plan, statement
            assert " / SCAN" not in plan, "each row's mark is looked up"
        changes = (
            statements.fill_vector,
            statements.clear,
            statements.remove_mark([7]),
            statements.claim,
        )
        for statement in (statements.holders, statements.claimed_by_others([7]), statements.left_behind([7])):
            plan = str(place.execute(f"EXPLAIN QUERY PLAN {_literal(statement)}"))
            assert "embedmill_marks_1_held" in plan, "only what is held is looked at"
        if len(key) > 1:
            for statement in (statements.standings(key, []), metrics.measured(key), statements.failures(key)):
                plan = str(place.execute(f"EXPLAIN QUERY PLAN {_literal(statement)}"))
                assert ">(?,?)" in plan, "all of the key is looked up, not only its first column"
        for statement in changes:
            plan = " / ".join(step for *_, step in place.execute(f"EXPLAIN QUERY PLAN {_literal(statement)}"))
            assert "SCAN" not in plan, statement


def _literal(statement: str) -> str:
    """With values in place of the parameters, whatever these are: a plan does not depend on them."""
    return re.sub(r":[a-z_0-9]+", "1", statement)


# What stands in the way


def test_what_is_no_ordinary_table_is_refused(place: SqlitePlace) -> None:
    place.execute("CREATE VIRTUAL TABLE found USING fts5 (body)")
    with pytest.raises(UsageError, match="found is a virtual table"):
        place.open("found")
    with pytest.raises(UsageError, match="found_content belongs to a virtual table"):
        place.open("found_content")
    for name in ("sqlite_schema", "sqlite_master", "other.found", "temp.found"):
        with pytest.raises(UsageError, match="there is no table"):
            place.open(name)
    place.docs("one")
    with place.open("MAIN.docs") as table:
        assert table.name == "docs"


def test_a_table_of_the_same_name_as_ours(place: SqlitePlace) -> None:
    place.docs("one")
    place.execute("CREATE TABLE embedmill_tables (x)")
    with pytest.raises(StoreError, match="its table embedmill_tables is not embedmill's: rename it"):
        run(place)
    assert beside(place) == ["app.db"]


def test_a_newer_version_is_left_alone(place: SqlitePlace) -> None:
    place.docs("one", "two")
    run(place)
    place.execute("UPDATE embedmill_tables SET version = version + 1")
    for use in (lambda: run(place), lambda: place.open().counts()):
        with pytest.raises(StoreError, match=r"newer embedmill.*upgrade"):
            use()


@pytest.mark.parametrize(
    "trigger",
    [
        "BEFORE UPDATE ON docs WHEN old.id = 1 BEGIN SELECT RAISE(IGNORE); END",
        "AFTER UPDATE ON docs WHEN old.id = 1 BEGIN UPDATE docs SET own = NULL WHERE id = new.id; END",
    ],
)
def test_a_trigger_that_keeps_the_vector_out(place: SqlitePlace, trigger: str) -> None:
    """The database refuses nothing, and yet there is no vector: that is no success, nor tried for ever."""
    place.docs("one", "two", "three")
    place.execute("ALTER TABLE docs ADD COLUMN own BLOB")
    place.execute(f"CREATE TRIGGER keep {trigger}")
    report = ingest(place, TroubledEmbedder(), vector="own")
    assert (report.embedded, report.failed, report.changed) == (2, 1, 0)
    assert [found is None for found in place.vectors(column="own")] == [True, False, False]
    with place.open(vector="own") as table:
        (failure,) = table.failures()
    assert (failure.key, failure.cause.type) == (("1",), "RowsRefused")
    assert "keeps the vector out" in failure.cause.message


def test_a_full_text_index_is_kept_in_step(place: SqlitePlace) -> None:
    place.docs("one", "two")
    place.execute("CREATE VIRTUAL TABLE found USING fts5 (body, content='docs', content_rowid='id')")
    place.execute(
        "CREATE TRIGGER changed AFTER UPDATE ON docs BEGIN "
        "INSERT INTO found (found, rowid, body) VALUES ('delete', old.id, old.body); "
        "INSERT INTO found (rowid, body) VALUES (new.id, new.body); END"
    )
    place.execute("INSERT INTO found (found) VALUES ('rebuild')")
    run(place)
    assert place.execute("SELECT rowid FROM found WHERE found MATCH 'two'") == [(2,)]
    place.execute("INSERT INTO found (found) VALUES ('integrity-check')")


def test_a_function_that_only_the_application_has(place: SqlitePlace) -> None:
    place.docs("one")
    place.execute("CREATE TRIGGER ours AFTER UPDATE ON docs BEGIN SELECT our_function(new.id); END")
    with pytest.raises(
        StoreError, match=r"no such function: our_function: a trigger, an index .* only the application"
    ):
        run(place)


def test_large_texts_are_read_in_small_pages(place: SqlitePlace) -> None:
    """finding 2: nothing needs to fit in memory."""
    place.docs(*(f"{number} " * 200_000 for number in range(60)))
    with bound(place, longest=10**6) as table:
        assert isinstance(table, SqliteTable)
        sizes = [len(page) for page in table._standings(None, 20)]
        assert sum(sizes) == 60
        assert sizes[0] == 20
        assert max(sizes[1:]) <= 10
        assert sizes[-2] <= 5
        assert len(claimed(table, 50)) == table.counts().rows == 60


def test_key_columns_with_the_names_of_the_rowid(place: SqlitePlace) -> None:
    place.execute('CREATE TABLE docs ("RowID" TEXT, oid TEXT, body TEXT, embedding BLOB, PRIMARY KEY ("RowID", oid))')
    place.execute("INSERT INTO docs VALUES ('a', 'b', 'one', NULL), ('b', 'a', 'one', NULL)")
    assert len(run(place, metrics=True, text="body").written) == 2
    assert place.execute("SELECT frequency FROM docs_metrics") == [(2,), (2,)]


def test_many_rows_are_counted_in_pages(place: SqlitePlace) -> None:
    place.docs()
    with closing(sqlite3.connect(place.path)) as db, db:
        rows = ((number * 1000 - 10**6, f"text {number % 7}") for number in range(2500))
        db.executemany("INSERT INTO docs (id, body) VALUES (?, ?)", rows)
    run(place, metrics=True, limit=2500)
    found = place.execute("SELECT d.body, m.frequency FROM docs_metrics m JOIN docs d ON d.id = m.id")
    assert {(text, often) for text, often in found} == {
        (f"text {number}", len(range(number, 2500, 7))) for number in range(7)
    }
    with bound(place) as table:
        assert table.counts().rows == 2500
        assert table.prune() == 0


@pytest.mark.parametrize("kind", ["float[8]", "FLOAT[ 8 ]", "f32[8]", "float32[8] NOT NULL DEFAULT x''"])
def test_columns_that_are_declared_as_sqlite_vec_does(place: SqlitePlace, kind: str) -> None:
    place.execute(f"CREATE TABLE docs (id INTEGER PRIMARY KEY, body TEXT, picture BLOB, meaning {kind})")
    place.execute("INSERT INTO docs (id, body) VALUES (1, 'one'), (2, 'two')")
    with place.open() as table:
        assert table.columns == ("body", "meaning"), "its type says what it is for"
        assert table.status().dimension == 8
        for refuse in (table.check, table.bind):
            with pytest.raises(SpaceMismatch, match="declared for 8 dimensions, the vectors of other have 3"):
                refuse(fingerprint(dimension=3), "other", overwrite=True)
    options = {"overwrite": True} if "DEFAULT" in kind else {}  # an empty BLOB is no NULL
    assert len(run(place, **options).written) == 2
    assert [len(blob) for (blob,) in place.execute("SELECT meaning FROM docs")] == [32, 32]


@pytest.mark.parametrize("kind", ["int8[8]", "bit[8]", "float", "float[]"])
def test_columns_of_other_types_of_sqlite_vec_are_refused(place: SqlitePlace, kind: str) -> None:
    place.execute(f"CREATE TABLE docs (id INTEGER PRIMARY KEY, body TEXT, embedding {kind})")
    with pytest.raises(UsageError, match=re.escape(f"embedding is {kind}, not BLOB or float[N]")):
        place.open(vector="embedding")


@pytest.mark.parametrize("value", [b"\xff\x00bad", "xx", -7, 1.5, "[[]]", "{}"])
def test_a_damaged_entry_or_mark_ends_in_one_line(place: SqlitePlace, value: object) -> None:
    place.docs("one", "two")
    run(place)
    for column in ("keys", "fields", "columns", "space", "model", "run"):
        where = "embedmill_marks_1" if column == "run" else "embedmill_tables"
        [(was,)] = place.execute(f"SELECT DISTINCT {column} FROM {where}")
        with closing(sqlite3.connect(place.path)) as db, db:
            db.execute(f"UPDATE {where} SET {column} = ?", [value])
        try:
            with place.open() as table:
                table.status()
            with bound(place) as table:
                table.claim(None, 10)
        except (StoreError, UsageError) as error:
            assert "\n" not in str(error)
        with closing(sqlite3.connect(place.path)) as db, db:
            db.execute(f"UPDATE {where} SET {column} = ?", [was])
