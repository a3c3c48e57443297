"""What is remembered of runs: that it is there, bounded, survives a kill, and harms no run."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tables
from cli_runs import Shell
from embedmill.api.read_settings import read_settings
from embedmill.api.run_logs import run_folder
from embedmill.core.reports import Progress
from embedmill.engine import run_log
from embedmill.engine.run_log import KEPT, RecordedRun, RunLog, read_runs
from samples import prose
from waiting import until


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "cache"))
    return tables.shell(tmp_path, f"sqlite:{tmp_path / 'index.db'}")


def runs(shell: Shell, url: str = "") -> list[RecordedRun]:
    return read_runs(run_folder(read_settings({"store": url or shell.environment["EMBEDMILL_STORE"]}, ["store"])))


def write_files(folder: Path, number: int) -> None:
    folder.mkdir()
    for each in range(number):
        (folder / f"{each}.txt").write_text(prose(each, 4))


def test_a_run_is_remembered_with_what_it_did(shell: Shell) -> None:
    write_files(shell.folder / "docs", 3)
    report = shell.json("index", "docs")
    (run,) = runs(shell)
    assert (run.command, run.table, run.outcome) == ("index", "", "finished")
    for name in ("chunks", "embedded", "cached", "seconds", "stages", "model"):
        assert run.report[name] == report[name]
    shell.json("index", "docs")
    assert len(runs(shell)) == 1, "a run that had nothing to do"


def test_while_it_runs_and_after_a_kill(shell: Shell) -> None:
    write_files(shell.folder / "docs", 40)
    slow = ("--sleep", "0.2", "--batch-size", "1", "--workers", "1")
    process = shell.start("index", "docs", *slow, stderr=None)
    until(lambda: runs(shell) and len(runs(shell)[0].moments) >= 2, process)
    (run,) = runs(shell)
    assert (run.outcome, run.report) == ("running", {})
    process.kill()
    process.communicate()
    (run,) = runs(shell)
    assert run.outcome == "killed"
    first, second, *_ = run.moments
    assert 1 <= first.seconds < second.seconds and 0 < first.done < second.done
    assert [each.worker for each in first.memory] == [-1]
    assert first.memory[0].megabytes > 20
    process = shell.start("index", "docs", *slow)
    until(lambda: len(runs(shell)) == 2, process)
    process.terminate()
    process.communicate()
    newest, _ = runs(shell)
    assert newest.outcome == "interrupted"


def test_each_worker_process_is_remembered(shell: Shell) -> None:
    write_files(shell.folder / "docs", 20)
    report = shell.json("index", "docs", "--executor", "processes", "--workers", "2", "--sleep", "0.2")
    (run,) = runs(shell)
    assert [each["worker"] for each in run.report["worker_stats"]] == [0, 1]
    assert sum(each["batches"] for each in run.report["worker_stats"]) > 0
    assert report["restarts"] == run.report["restarts"] == 0
    assert {each.worker for moment in run.moments for each in moment.memory} >= {-1, 0, 1}


def test_runs_over_tables_are_remembered_where_their_database_is(shell: Shell, database: str) -> None:
    tables.make(database, 5)
    app = f"sqlite:{shell.folder / 'app.db'}"
    with closing(sqlite3.connect(shell.folder / "app.db")) as db, db:
        db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        db.execute("INSERT INTO notes (text) VALUES ('Bread is baked.'), ('')")
    for table, url in (("sentences", database), ("notes", app)):
        shell.run("ingest", table, "--create", "--store", url)
        (run,) = runs(shell, url)
        assert (run.command, run.table, run.outcome) == ("ingest", table, "finished")
    shell.run("retry-failed", "notes", "--store", app)
    assert [run.command for run in runs(shell, app)] == ["retry-failed", "ingest"]
    with closing(sqlite3.connect(shell.folder / "app.db")) as db, db:
        db.execute("UPDATE notes SET text = 'Tea is drunk.' WHERE id = 1")
    assert shell.json("verify", "notes", "--repair", "--store", app)["repaired"] == {"row-changed": 1}
    (mended, *_) = runs(shell, app)
    assert (mended.command, mended.table, mended.outcome) == ("verify", "notes", "finished")
    for path in (shell.folder / "cache" / "runs").rglob("*"):
        assert path.is_dir() or b"@" not in path.read_bytes(), "no login of any database"


def test_runs_over_a_schema_are_remembered_apart_however_it_is_named(shell: Shell, database: str) -> None:
    write_files(shell.folder / "docs", 2)
    mark = "&" if "?" in database else "?"
    for number, (url, *schema) in enumerate(
        [(f"{database}{mark}schema=one",), (f"{database}{mark}schema=two",), (database, "--schema", "one")], 1
    ):
        (shell.folder / "docs" / f"more{number}.txt").write_text(
            prose(number, 4)
        )  # a run without work is not remembered
        shell.json("index", "docs", "--store", url, *schema)
        assert len(list((shell.folder / "cache" / "runs").iterdir())) == min(number, 2) + 1  # and its .gitignore
    assert [run.command for run in runs(shell, f"{database}{mark}schema=one")] == ["index", "index"]


def test_what_failed_says_so(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), RunLog(lambda: tmp_path, "index") as log:
        log._write({"at": 1.0, "done": 1, "failed": 0, "memory": []})
        raise ZeroDivisionError
    (run,) = read_runs(tmp_path)
    assert run.outcome == "failed: ZeroDivisionError"


def test_the_files_are_few_and_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "_PLACES", 3)
    seconds = iter(range(1 << 20))
    monkeypatch.setattr(run_log.time, "perf_counter", lambda: float(next(seconds)))
    state = Progress(1, 1, 0, 1, 1, 0, 0, 0, 1, 0, 1.0)
    for place in "abcde":
        for _ in range(KEPT + 5 if place == "e" else 1):
            with RunLog(lambda place=place: tmp_path / "runs" / place, "index") as log:  # type: ignore[misc]
                show = log.watch(lambda _: None, lambda: ())
                for _ in range(20):
                    show(state)
    assert sum(path.is_dir() for path in (tmp_path / "runs").iterdir()) <= 4
    assert len(read_runs(tmp_path / "runs" / "e")) == KEPT
    assert (tmp_path / "runs" / ".gitignore").read_text() == "*\n"
    with RunLog(lambda: tmp_path / "runs" / "day", "index") as log:
        show = log.watch(lambda _: None, lambda: ())
        for _ in range(86_400):
            show(state)
    (run,) = read_runs(tmp_path / "runs" / "day")
    assert 100 < len(run.moments) < 1000
    (path,) = (tmp_path / "runs" / "day").iterdir()
    assert path.stat().st_size < 200_000


def test_a_folder_that_cannot_be_written_costs_nothing(shell: Shell) -> None:
    write_files(shell.folder / "docs", 2)
    (shell.folder / "cache").mkdir()
    (shell.folder / "cache" / "runs").write_text("a file, and no folder")
    done = shell.run("index", "docs")
    assert (done.returncode, done.stderr) == (0, "")
    assert runs(shell) == []


def test_what_is_remembered_is_no_document(shell: Shell) -> None:
    """Should the cache lie in the folder that is indexed."""
    write_files(shell.folder / "docs", 2)
    for _ in range(2):
        report = shell.json(
            "index", "docs", env=shell.environment | {"EMBEDMILL_CACHE_DIR": str(shell.folder / "docs")}
        )
        assert report["documents"] == 2
    assert list((shell.folder / "docs" / "runs").rglob("*.jsonl"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["at", "done", "failed", "memory", "cached", "report", "error", "began"]), inner
        )
    ),
    max_leaves=6,
)
LINES = st.lists(st.binary(max_size=20) | VALUES.map(lambda value: json.dumps(value).encode()), max_size=6)


@given(LINES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_a_file_nothing_breaks(tmp_path: Path, lines: list[bytes]) -> None:
    head = json.dumps({"command": "index", "table": "", "began": 1.0}).encode()
    (tmp_path / "1.jsonl").write_bytes(b"\n".join([head, *lines]))
    (tmp_path / "2.jsonl").write_bytes(b"\n".join(lines))
    os.truncate(tmp_path / "2.jsonl", max((tmp_path / "2.jsonl").stat().st_size - 1, 0))
    assert len(read_runs(tmp_path)) <= 2
