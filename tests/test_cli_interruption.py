"""Signals, and readers and disks that go away."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from cli_runs import Shell, without_progress
from embedmill.models import ModelFiles
from waiting import until

DOCUMENTS = 300


@pytest.fixture
def shell(tmp_path: Path, real_model: ModelFiles) -> Shell:
    """A folder with enough different texts to embed for some seconds, and a cache of its own."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(DOCUMENTS):
        words = " ".join(f"word{number}x{other}" for other in range(25))
        (folder / f"{number}.txt").write_text(f"Text number {number}. {words}\n")
    return Shell(tmp_path, EMBEDMILL_CACHE_DIR=str(tmp_path / "cache"), EMBEDMILL_MODEL=str(real_model.folder))


def cached_vectors(shell: Shell) -> int:
    """How many vectors the cache has: the first sign that embedding is under way."""
    path = shell.folder / "cache/vectors.db"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM vectors").fetchone()[0])
    except sqlite3.Error:
        return 0


def leave_some(shell: Shell) -> int:
    """Remove most of the texts that are not stored: twenty are enough for the next run. Gives how many there are."""
    texts = set((shell.folder / "texts").iterdir())
    with closing(sqlite3.connect(shell.folder / ".embedmill/index.db")) as database:
        stored = {Path(path) for (path,) in database.execute("SELECT path FROM paths")}
    assert stored <= texts
    for path in sorted(texts - stored)[20:]:
        path.unlink()
        texts.remove(path)
    return len(texts)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_what_is_finished(shell: Shell, number: signal.Signals) -> None:
    """Findings: no checkpoint, and finished work that is lost or done twice."""
    process = shell.start("index", "texts", "--json")
    until(lambda: cached_vectors(shell) > 0, process)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert "stopping: storing what is finished" in err and "the same command goes on" in err
    assert "Traceback" not in err

    first = subprocess_json(out)
    assert first["interrupted"] is True
    assert 0 < first["embedded"] < DOCUMENTS
    assert first["chunks"] == first["embedded"] + first["cached"] + first["duplicates"] + first["failed"]
    assert shell.json("status")["chunks"] <= first["chunks"]

    left = leave_some(shell)
    # Without the cache, so that it is the store that has kept the vectors.
    second = shell.json("index", "texts", "--no-cache")
    assert second["interrupted"] is False
    status = shell.json("status")
    assert status["documents"] == left
    assert first["embedded"] + second["embedded"] == status["chunks"]
    assert shell.run("search", "text number 7", "-k1").returncode == 0


def subprocess_json(out: str) -> dict[str, int]:
    import json

    value = json.loads(out)
    assert isinstance(value, dict)
    return value


TWICE = """
import os, signal, time
from embedmill.cli.signals import StopOnSignal

class Run:
    def stop(self):
        pass

with StopOnSignal() as stopping:
    stopping.watch(Run())
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    print("goes on", flush=True)
    time.sleep(0.6)
    os.kill(os.getpid(), signal.SIGTERM)
    print("too long", flush=True)
"""


def test_a_signal_that_comes_twice_at_once_is_one() -> None:
    """`timeout` sends it to the process and to its group, as some supervisors do."""
    done = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "goes on\n")
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["stopping", "interrupted"]


def test_a_second_signal_ends_the_run_at_once(shell: Shell) -> None:
    process = shell.start("index", "texts", "--json")
    until(lambda: cached_vectors(shell) > 0, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any(line.startswith("stopping") for line in process.stderr)  # after progress, where that took long
    time.sleep(0.6)  # sooner it would count as the same one
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    # Either the second came first, and there is no report, or the run had ended in the meantime.
    assert (out == "") == (without_progress(err) == "interrupted\n")
    left = leave_some(shell)
    assert shell.json("index", "texts")["interrupted"] is False
    assert shell.json("status")["documents"] == left


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_writes_nothing_is_interrupted_quietly(shell: Shell, number: signal.Signals) -> None:
    os.mkfifo(shell.folder / "waits")
    # The settings are read from a pipe that nobody writes to: there the command waits.
    (shell.folder / "embedmill.toml").symlink_to("waits")
    process = shell.start("status")
    writer = os.open(shell.folder / "waits", os.O_WRONLY)  # returns when the command has begun to read
    process.send_signal(number)
    out, err = process.communicate()
    os.close(writer)
    assert (process.returncode, out, without_progress(err)) == (130, "", "interrupted\n")


def test_a_reader_that_goes_away_is_no_error(shell: Shell) -> None:
    (shell.folder / "texts/large.md").write_text("# Large\n\nMany words about gardens.\n")
    shell.run("index", "texts/large.md")
    for arguments in (["search", "gardens"], ["search", "gardens", "--json"], ["status"], ["index", "texts/large.md"]):
        process = shell.start(*arguments)
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate()
        assert (process.returncode, without_progress(err)) == (0, ""), arguments


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_standard_output_is_an_error(shell: Shell) -> None:
    shell.run("index", "texts/1.txt")
    for arguments in (["status"], ["search", "words"], ["--version"]):
        with Path("/dev/full").open("w") as full:
            process = shell.start(*arguments, stdout=full)
            _, err = process.communicate()
        assert process.returncode == 1, arguments
        assert err.startswith("error: cannot write to standard output: ") and err.count("\n") == 1, arguments


def test_closed_streams_are_borne(shell: Shell) -> None:
    shell.run("index", "texts/1.txt")
    command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", sys.executable, "-m", "embedmill", "status"]
    assert subprocess.run(command, cwd=shell.folder, env=shell.environment).returncode == 0
