"""`--log-file`: all that is said, with times and tracebacks, and no secret."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

import tables
from cli_runs import Shell

LINE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4} (DEBUG  |INFO   |WARNING|ERROR  ) \d+ \S+ embedmill[\w.]*: .*"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "bread.txt").write_text("Bread is baked.")
    return tables.shell(tmp_path, "sqlite:index.db")


def log(shell: Shell) -> str:
    return (shell.folder / "log.txt").read_text()


def test_each_message_has_its_time_and_level_and_runs_follow_each_other(shell: Shell) -> None:
    for _ in range(2):
        done = shell.run("index", "docs", "--max-load", "0.5", "--log-file", "log.txt", "--include", "*.txt")
        assert done.returncode == 0
    lines = log(shell).splitlines()
    assert all(re.fullmatch(LINE, line) for line in lines), lines
    assert sum(line.endswith("exit code 0") for line in lines) == 2
    assert sum("index docs --max-load 0.5" in line for line in lines) == 2
    assert stat.S_IMODE((shell.folder / "log.txt").stat().st_mode) == 0o600


@pytest.mark.parametrize("shown", [[], ["-q"], ["-v"], ["-vv"]])
def test_what_is_shown_stays_as_it_is(shell: Shell, shown: list[str]) -> None:
    line = ["index", "docs", "--include", "*.txt", "--include", "*.none", "--no-cache", *shown]
    without = shell.run(*line, "--store", "sqlite:without.db")
    logged = shell.run(*line, "--store", "sqlite:with.db", "--log-file", "log.txt")
    assert re.sub(r"\d", "", logged.stderr) == re.sub(r"\d", "", without.stderr)
    assert ("*.none" in logged.stderr) is (shown != ["-q"])
    assert log(shell).count("'*.none' matches no file") == 1


def test_a_folder_that_is_missing_is_made(shell: Shell) -> None:
    assert shell.run("models", "--log-file", "new/deeper/log.txt").returncode == 0
    assert "exit code 0" in (shell.folder / "new/deeper/log.txt").read_text()


def test_an_error_comes_with_its_traceback(shell: Shell) -> None:
    done = shell.run("search", "bread", "--store", "sqlite:none.db", "--log-file", "log.txt")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip() in log(shell)
    assert "Traceback (most recent call last)" in log(shell) and "StoreNotFound" in log(shell)
    assert re.search(r"ERROR .*: error: ", log(shell)) and log(shell).endswith("exit code 1\n")


def test_no_password_is_in_it(shell: Shell) -> None:
    url = "postgresql://ada:s3cret@127.0.0.1:1/app?connect_timeout=1&password=s3cret"
    done = shell.run("status", "--store", url, "--log-file", "log.txt", "-vv")
    assert done.returncode == 1
    assert "s3cret" not in log(shell) + done.stderr
    assert "ada:***@127.0.0.1" in log(shell) and "Traceback" in log(shell)


def test_the_environment_and_the_file_name_it(shell: Shell) -> None:
    assert shell.run("models", env=shell.environment | {"EMBEDMILL_LOG_FILE": "log.txt"}).returncode == 0
    assert log(shell).endswith("exit code 0\n")
    (shell.folder / "embedmill.toml").write_text('log-file = "other.txt"')
    assert shell.run("cache", "stats").returncode == 0
    assert "cache stats" in (shell.folder / "other.txt").read_text()


@pytest.mark.parametrize(
    ("path", "why"), [("docs", "it is a folder"), ("docs/bread.txt/log.txt", "docs/bread.txt is no folder")]
)
def test_a_file_that_cannot_be_opened_is_refused_in_one_line(shell: Shell, path: str, why: str) -> None:
    done = shell.run("index", "docs", "--log-file", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: --log-file: {path} cannot be written: ")
    assert done.stderr.endswith(f"{why}: give another file\n") and done.stderr.count("\n") == 1


def test_a_full_disk_ends_the_log_and_not_the_command(shell: Shell) -> None:
    done = shell.run("index", "docs", "--log-file", "/dev/full")
    assert (done.returncode, done.stderr) == (0, "warning: /dev/full cannot be written: the log ends here\n")


def test_it_is_no_document(shell: Shell) -> None:
    for _ in range(2):
        report = shell.json("index", ".", "--include", "*.txt", "--log-file", "log.txt")
        assert report["documents"] == 1
