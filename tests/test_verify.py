"""`verify` computes some vectors again: only so is one found that is sound, and another text's."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from cli_runs import Shell
from embedmill.storage.checksums import checksums
from embedmill.storage.registry import open_store
from samples import copy_model
from tables import Within

DOCUMENTS = {f"{name}.txt": f"All about {name}, and nothing else." for name in ("bees", "ships", "law", "snow")}


@pytest.fixture
def shell(tmp_path: Path, fixture_models: Path) -> Shell:
    shell = Within(
        tmp_path,
        EMBEDMILL_CACHE_DIR=str(tmp_path / "cache"),
        EMBEDMILL_MODEL=str(fixture_models / "bert-mean"),
        EMBEDMILL_PRECISION="f32",
    )
    (tmp_path / "docs").mkdir()
    for name, text in DOCUMENTS.items():
        (tmp_path / "docs" / name).write_text(text)
    return shell


def swap(path: Path, table: str, column: str) -> None:
    """Give two rows each other's vectors: both stay finite and of length 1."""
    with closing(sqlite3.connect(path)) as db:
        (one, first), (two, second) = db.execute(f"SELECT rowid, {column} FROM {table} ORDER BY rowid LIMIT 2")
        db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (second, one))
        db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (first, two))
        db.commit()


def note(path: Path) -> None:
    """Have a store take the vectors that it has for those that were written."""
    with closing(sqlite3.connect(path)) as db, db:
        db.create_function("checksum", 2, lambda key, blob: next(checksums([key], [blob])))
        db.execute("UPDATE vectors SET checksum = checksum((SELECT hash FROM chunks WHERE id = chunk), vector)")


def test_vectors_of_other_texts_are_found_in_a_store(shell: Shell) -> None:
    shell.json("index", "docs")
    sound = shell.run("verify")
    assert (sound.returncode, sound.stderr) == (0, "")
    assert sound.stdout.startswith("sound: 4 documents, 4 chunks in ")
    assert sound.stdout.splitlines()[0].endswith("; 4 vectors computed again")
    assert shell.json("verify", "--sample", 2)["recomputed"] == 2
    path = shell.folder / ".embedmill" / "index.db"
    swap(path, "vectors", "vector")
    altered = shell.json("verify", "--sample", 0, code=3)
    assert (altered["damage"].keys(), altered["count"], altered["recomputed"]) == ({"vector-altered"}, 2, 0)
    note(path)
    wrong = shell.json("verify", code=3)
    assert (wrong["sound"], wrong["count"], wrong["recomputed"]) == (False, 2, 4)
    assert all(
        "its vector is not that of its text (cosine " in problem
        for problem in wrong["damage"]["vector-wrong"]["examples"]
    )
    unseen = shell.json("verify", "--sample", 0)
    assert (unseen["sound"], unseen["recomputed"], unseen["not_recomputed"]) == (True, 0, None)


def test_a_model_that_is_not_here_is_said(shell: Shell, fixture_models: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    copy_model(fixture_models / "bert-mean", model)
    shell.json("index", "docs", "--model", model)
    model.rename(tmp_path / "elsewhere")
    told = shell.run("verify")
    assert told.returncode == 0
    assert told.stdout.startswith("sound: 4 documents") and "; 0 vectors computed again" in told.stdout
    assert told.stderr.startswith("no vector was computed again: ") and len(told.stderr.splitlines()) == 1
    assert shell.json("verify", "--model", tmp_path / "elsewhere")["recomputed"] == 4
    other = shell.json("verify", "--model", fixture_models / "bert-cls", code=3)
    assert other["recomputed"] == 0 and "is of space" in other["not_recomputed"]
    assert other["not_recomputed"].endswith("give the --model that they were made with"), "one was given"
    unproven = shell.run("verify", "--read-data")
    assert unproven.returncode == 3 and unproven.stderr.startswith("error: no vector was computed again: ")
    for number, code in ((5, 3), (0, 0)):
        assert shell.run("verify", "--sample", number).returncode == code, "what was asked for was not done"


def test_of_many_problems_of_a_kind_ten_are_shown(shell: Shell) -> None:
    for number in range(30):
        (shell.folder / "docs" / f"{number}.md").write_text(f"Number {number}.")
    shell.json("index", "docs")
    for number in range(30):
        (shell.folder / "docs" / f"{number}.md").write_text(f"Another {number}, and longer.")
    shown = shell.run("verify", "--sample", 0).stdout.splitlines()
    assert len(shown) == 11 and shown[-1] == "document-changed: 20 more, which -v shows"
    everything = shell.run("verify", "--sample", 0, "-v").stdout
    assert len([line for line in everything.splitlines() if ".md" in line]) == 30


def test_options_that_change_nothing_are_refused(shell: Shell) -> None:
    for wrong in (["--sample", "0", "--model", "x"], ["--sample", "-1"], ["--sample", "many"], ["--vector", "v"]):
        done = shell.run("verify", *wrong)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "from 0 up" in shell.run("verify", "--sample", "-1").stderr


@pytest.fixture(params=["sqlite", "postgresql"])
def table(request: pytest.FixtureRequest, shell: Shell) -> Iterator[str]:
    """The URL of a database with a table of sentences that is filled."""
    rows = list(DOCUMENTS.values())
    if request.param == "sqlite":
        url = f"sqlite:{shell.folder / 'app.db'}"
        with closing(sqlite3.connect(shell.folder / "app.db")) as db:
            db.execute("CREATE TABLE sentences (id INTEGER PRIMARY KEY, text TEXT, embedding BLOB)")
            db.executemany("INSERT INTO sentences (text) VALUES (?)", [(row,) for row in rows])
            db.commit()
    else:
        import psycopg

        url = request.getfixturevalue("database")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE sentences (id serial PRIMARY KEY, text text)")
            for row in rows:
                connection.execute("INSERT INTO sentences (text) VALUES (%s)", [row])
    done = shell.run("ingest", "sentences", "--store", url, "--create")
    assert done.returncode == 0, done.stderr
    yield url


def test_vectors_of_other_texts_are_found_in_a_table(shell: Shell, table: str) -> None:
    sound = shell.run("verify", "sentences", "--store", table)
    assert (sound.returncode, sound.stderr) == (0, "")
    assert sound.stdout.startswith("sound: 4 rows of sentences in ")
    assert sound.stdout.splitlines()[0].endswith("; 4 vectors computed again")
    if table.startswith("sqlite"):
        swap(shell.folder / "app.db", "sentences", "embedding")
    else:
        import psycopg

        with psycopg.connect(table) as connection:
            connection.execute(
                "UPDATE sentences s SET embedding = o.embedding FROM sentences o WHERE (s.id, o.id) IN ((1, 2), (2, 1))"
            )
    wrong = shell.json("verify", "sentences", "--store", table, code=3)
    assert (wrong["sound"], wrong["count"], wrong["table"], wrong["recomputed"]) == (False, 2, "sentences", 2)
    told = shell.run("verify", "sentences", "--store", table)
    assert told.returncode == 3 and "--repair mends what can be mended" in told.stderr
    if table.startswith("sqlite"):
        with closing(sqlite3.connect(shell.folder / "app.db")) as db:
            db.execute("UPDATE sentences SET embedding = ? WHERE id = 1", (np.full(32, np.nan, "<f4").tobytes(),))
            db.execute("UPDATE sentences SET embedding = x'0000' WHERE id = 2")
            db.commit()
        assert shell.json("verify", "sentences", "--store", table, code=3)["count"] >= 1


def test_a_postgresql_store(shell: Shell, database: str) -> None:
    import psycopg

    shell.json("index", "docs", "--store", database)
    assert shell.json("verify", "--store", database)["recomputed"] == 4
    with psycopg.connect(database) as connection:
        connection.execute("SET search_path TO embedmill, public")
        connection.execute(
            "UPDATE chunks SET vector = (SELECT vector FROM chunks o WHERE o.id <> chunks.id ORDER BY o.id LIMIT 1)"
        )
    assert shell.json("verify", "--store", database, code=3)["count"] >= 3


def test_a_postgresql_store_bound_to_nonsense_ends_in_one_line(shell: Shell, database: str) -> None:
    import psycopg

    shell.json("index", "docs", "--store", database)
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE embedmill.meta SET fields = '5'")
    for command in (["status"], ["verify"], ["search", "bees"], ["index", "docs"]):
        done = shell.run(*command, "--store", database)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert "is damaged" in done.stderr


def test_what_the_vectors_are_like_is_told_and_limited(shell: Shell) -> None:
    shell.json("index", "docs")
    told = shell.json("verify")["quality"]
    assert (told["vectors"], told["near_sampled"], told["exact_duplicates"]) == (4, 4, 0.0)
    assert told["norms"]["min"] == pytest.approx(1, abs=1e-3) and 0 < told["effective_dimension"] <= 4
    kept = shell.run("verify", "--limit", "exact-duplicates=0", "--limit", "norm-max=1.01")
    assert (kept.returncode, kept.stderr) == (0, "")
    beyond = ["--limit", "mean-cosine=-1", "--limit", "effective-dimension=1000"]
    assert len(shell.json("verify", *beyond, code=3)["exceeded"]) == 2
    lines = shell.run("verify", *beyond).stderr.splitlines()
    assert [line.split(" is ")[0] for line in lines] == ["error: mean-cosine", "error: effective-dimension"]
    (shell.folder / "docs" / "copy.txt").write_text(DOCUMENTS["bees.txt"])
    shell.json("index", "docs")
    assert shell.json("verify", "--limit", "near-duplicates=0.05", code=3)["quality"]["exact_duplicates"] == 0.2


def test_a_limit_that_cannot_be_measured_is_not_kept(shell: Shell, tmp_path: Path) -> None:
    limits = ["--limit", "effective-dimension=10", "--limit", "norm-max=2"]
    shell.json("index", "docs", "--exclude", "*")
    assert len(shell.json("verify", *limits, code=3)["exceeded"]) == 1
    told = shell.run("verify", *limits)
    line = "error: effective-dimension, norm-max cannot be measured: there is no sound vector: see --limit"
    assert told.returncode == 3 and line in told.stderr.splitlines()
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.execute("CREATE TABLE words (id INTEGER PRIMARY KEY, text TEXT)")
    url = f"sqlite:{tmp_path / 'app.db'}"
    shell.json("ingest", "words", "--store", url, "--create")
    assert shell.json("verify", "words", "--store", url)["sound"]
    assert len(shell.json("verify", "words", "--store", url, *limits, code=3)["exceeded"]) == 1
    with closing(sqlite3.connect(tmp_path / "app.db")) as db, db:
        db.execute("INSERT INTO words (text) VALUES ('one')")
    shell.json("ingest", "words", "--store", url)
    one = shell.json("verify", "words", "--store", url, "--limit", "mean-cosine=1", "--limit", "norm-max=2", code=3)
    assert one["exceeded"] == ["mean-cosine cannot be measured: there is one vector"]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_run_that_goes_on_is_neither_held_up_nor_taken_for_damage(
    kind: str, shell: Shell, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:{shell.folder / 'x.db'}" if kind == "sqlite" else request.getfixturevalue("database")
    for number in range(300):
        (shell.folder / "docs" / f"{number}.txt").write_text("\n\n".join(f"{number} {part}." for part in range(400)))
    run = shell.start("index", "docs", "--store", url, "--json", "--no-cache")
    looked = 0
    while run.poll() is None:
        done = shell.run("verify", "--store", url, "--json", "--sample", 8)
        if run.poll() is None and done.returncode != 1:  # before it has begun there is no store
            assert (done.returncode, json.loads(done.stdout)["damage"]) == (0, {}), done.stdout
            looked += 1
    out, err = run.communicate()
    assert run.returncode == 0, err
    assert looked and json.loads(out)["failed"] == 0
    assert (shell.json("status", "--store", url)["documents"], shell.json("verify", "--store", url)["count"]) == (
        304,
        0,
    )


def test_a_store_that_a_run_writes_to_is_not_mended(shell: Shell) -> None:
    shell.json("index", "docs")
    with closing(open_store("sqlite:" + str(shell.folder / ".embedmill" / "index.db"), create=False)):
        (shell.folder / "docs" / "new.txt").write_text("All about something new.")
        assert shell.json("verify")["damage"] == {}, "it may be about to be stored"
        refused = shell.run("verify", "--repair")
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
        assert "is writing to the store" in refused.stderr
    assert shell.json("verify", code=3)["damage"].keys() == {"document-missing"}


def test_what_the_options_leave_out_is_not_missing(shell: Shell) -> None:
    (shell.folder / "docs" / "notes.log").write_text("Words of a log.")
    (shell.folder / "docs" / "picture.txt").write_bytes(b"\0\1\2\3" * 100)
    shell.json("index", "docs", "--exclude", "*.log")
    assert shell.json("verify", "--read-data")["damage"] == {}


def test_a_file_that_was_only_touched_has_not_changed(shell: Shell) -> None:
    shell.json("index", "docs")
    os.utime(shell.folder / "docs" / "bees.txt", (1, 1))
    assert shell.json("verify")["damage"] == {}
    shell.folder.joinpath("docs", "bees.txt").chmod(0o600)
    assert shell.json("verify", "--read-data")["damage"] == {}
