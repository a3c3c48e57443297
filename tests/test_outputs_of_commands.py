"""Files that commands are told to write: what is there is replaced where it is of the same kind, and else stays."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest

import embedmill
import tables
from cli_runs import Shell
from embedmill.core.errors import ManifestError, UsageError
from embedmill.quality.golden_file import read_golden
from embedmill.runtime.outputs import TEXT, check_output
from troubled import SMALL_MODEL

LINES = {
    "--html": "report --html",
    "--profile-json": "index docs --force --profile-json",
    "--log-file": "status --log-file",
    "FILE": "golden record --overwrite",
}
"""Commands, without the file that each writes."""

DATABASES = ["index.db", "hard.db", "soft.db", "index.db.lock", "other.db"]

TEXTS = ["docs/bread.txt", "page.html", "mine.json"]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A folder with a store, its documents, links to the store and another database."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "bread.txt").write_text("Bread is baked.")
    (tmp_path / "page.html").write_text("<!DOCTYPE html>\n<html><head><title>Mine</title></head></html>\n")
    (tmp_path / "mine.json").write_text('{"seconds": "many"}')
    with closing(sqlite3.connect(tmp_path / "other.db")) as db, db:
        db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY)")
    shell = tables.shell(tmp_path, "sqlite:index.db", tables.Within)
    assert shell.run("index", "docs").returncode == 0
    (tmp_path / "hard.db").hardlink_to(tmp_path / "index.db")
    (tmp_path / "soft.db").symlink_to("index.db")
    return shell


@pytest.mark.parametrize(
    ("option", "target"),
    [
        *product(LINES, DATABASES),
        *product(["--html", "--profile-json", "FILE"], TEXTS),
    ],  # a log is appended to any text
)
def test_what_is_something_else_stays(shell: Shell, option: str, target: str) -> None:
    path = shell.folder / target
    before = path.read_bytes()
    done = shell.run(*LINES[option].split(), target)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: {option}: {target} cannot be written: it is ")
    assert done.stderr.endswith(": give another file\n")
    if target.startswith(("index", "hard", "soft")):
        assert "it is the store of this command, or belongs to it" in done.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("option", ["--profile-json", "--log-file"])
@pytest.mark.parametrize("target", ["new.db", "new.db-wal", "there/new.db", "link.db"])
def test_a_store_that_is_not_there_yet_is_none_either(shell: Shell, option: str, target: str) -> None:
    (shell.folder / "there").symlink_to(".")
    (shell.folder / "link.db").symlink_to("new.db")
    done = shell.run("index", "docs", "--store", "sqlite:new.db", option, target)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{option}: {target} cannot be written: it is the store of this command" in done.stderr
    assert not list(shell.folder.glob("new.db*"))


@pytest.mark.parametrize("option", LINES)
@pytest.mark.parametrize("target", ["-", ""])
def test_what_is_no_name_is_refused(shell: Shell, option: str, target: str) -> None:
    done = shell.run(*LINES[option].split(), target)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert target != "-" or done.stderr == f"error: {option}: '-' is no file: give the name of one\n"
    assert not (shell.folder / "-").exists()


def test_a_tree_is_written_over_a_text_alone(shell: Shell) -> None:
    (shell.folder / "terms.txt").write_text("fox\nwolf\n")
    before = (shell.folder / "other.db").read_bytes()
    for target, said in (("other.db", "it is there already, and no text"), ("-", "'-' is no file")):
        done = shell.run("arrange", "terms.txt", "-o", target, "--format", "yaml")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1) and said in done.stderr
    assert (shell.folder / "other.db").read_bytes() == before


@pytest.mark.parametrize("target", ["earlier", "hard", "soft", "empty"])
def test_what_is_of_the_same_kind_is_replaced(shell: Shell, target: str) -> None:
    for option, first in LINES.items():
        for name in ("earlier", "hard", "soft", "empty"):
            (shell.folder / name).unlink(missing_ok=True)
        (shell.folder / "empty").touch()
        assert shell.run(*first.split(), "earlier").returncode == 0, option
        (shell.folder / "hard").hardlink_to(shell.folder / "earlier")
        (shell.folder / "soft").symlink_to("earlier")
        assert shell.run(*first.split(), target).returncode == 0, option
        text = (shell.folder / target).read_text()
        if option == "--html":
            assert text.count("<!DOCTYPE html>") == text.count("</html>") == 1
        elif option == "--profile-json":
            assert json.loads(text)["stages"]
        elif option == "FILE":
            assert list(read_golden(shell.folder / target).texts)
        else:
            assert text.count("exit code 0\n") == (1 if target == "empty" else 2), "appended to"


def test_a_log_goes_on_in_any_text(shell: Shell) -> None:
    (shell.folder / "log.txt").write_text("of another program\n")
    assert shell.run("status", "--log-file", "log.txt").returncode == 0
    assert (shell.folder / "log.txt").read_text().startswith("of another program\n2")


@pytest.mark.parametrize("option", [each for each in LINES if each != "--log-file"])
@pytest.mark.parametrize("log", ["log.txt", "./log.txt", "link.txt"])
def test_one_file_is_not_both_the_log_and_something_else(shell: Shell, option: str, log: str) -> None:
    (shell.folder / "link.txt").symlink_to("log.txt")
    done = shell.run(*LINES[option].split(), "log.txt", "--log-file", log)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{option}: log.txt cannot be written: it is the log of this command: give another file" in done.stderr
    assert (shell.folder / "log.txt").read_text().endswith("exit code 2\n")


def test_without_overwrite_a_golden_set_stays(shell: Shell) -> None:
    assert shell.run("golden", "record", "golden.jsonl").returncode == 0
    done = shell.run("golden", "record", "golden.jsonl")
    assert (done.returncode, done.stderr) == (
        2,
        "error: golden.jsonl is there already: give another file, or --overwrite\n",
    )


def test_it_is_looked_at_before_a_retry(shell: Shell) -> None:
    done = shell.run("retry-failed", "--profile-json", "docs/bread.txt")
    assert done.returncode == 2 and "it is there already, and no profile that embedmill wrote" in done.stderr
    assert (shell.folder / "docs" / "bread.txt").read_text() == "Bread is baked."


def test_in_python(shell: Shell) -> None:
    store, model = f"sqlite:{shell.folder / 'index.db'}", str(SMALL_MODEL)
    document = shell.folder / "docs" / "bread.txt"
    for path, said in ((shell.folder / "hard.db", "it is the store"), (document, "no profile")):
        with pytest.raises(UsageError, match=f"^--profile-json: .* cannot be written: .*{said}"):
            embedmill.index(document.parent, store=store, model=model, profile_json=os.fspath(path), force=True)
    for path, said in ((shell.folder / "hard.db", "it is the store"), (document, "no golden set")):
        with pytest.raises(UsageError, match=f"^FILE: .* cannot be written: .*{said}"):
            embedmill.golden_record(path, store=store, overwrite=True)


def test_jobs_of_a_batch_see_through_links(shell: Shell) -> None:
    (shell.folder / "a.json").touch()
    (shell.folder / "b.json").hardlink_to(shell.folder / "a.json")
    jobs = [
        {"name": "one", "index": "docs", "store": "sqlite:one.db", "profile_json": "a.json"},
        {"name": "two", "index": "docs", "store": "sqlite:two.db", "profile_json": "b.json"},
        {"name": "three", "index": "docs", "store": "sqlite:hard.db"},
        {"name": "four", "index": "docs", "store": "sqlite:four.db", "profile_json": "index.db"},
    ]
    (shell.folder / "manifest.json").write_text(json.dumps({"jobs": jobs}))
    with pytest.raises(ManifestError) as raised:
        embedmill.read_manifest(shell.folder / "manifest.json")
    told = "\n".join(raised.value.mistakes)
    assert "'two' writes the file" in told and ", as 'one' in" in told
    assert "'four' writes the file" in told and ", as 'three' in" in told
    assert len(raised.value.mistakes) == 2


def test_a_database_that_is_open_here_keeps_its_locks(shell: Shell) -> None:
    """To open and close it once more would take them away, and another process could write meanwhile."""
    path = shell.folder / "other.db"
    write = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    with closing(sqlite3.connect(path)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(UsageError, match="it is there already, and no text"):
            check_output("--log-file", path, TEXT)
        done = subprocess.run([sys.executable, "-c", write, path], capture_output=True, text=True)
        assert "database is locked" in done.stderr
