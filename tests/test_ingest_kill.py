"""Findings 5, 7 and 14: killed or stopped at any moment, a run leaves a table that the next one completes."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

import tables
from cli_runs import Shell
from tables import ask, complete, filled, make, marks_of
from waiting import until

ROWS = 800
KILLS = 3  # one run after the other, before one comes to its end
ROUNDS = 7


@pytest.fixture
def shell(tmp_path: Path, database: str) -> Shell:
    return tables.shell(tmp_path, database)


_OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' "
    "AND pid <> pg_backend_pid()"
)


def kill(process: subprocess.Popen[str], database: str, chance: random.Random) -> None:
    """Kill a run while it begins, or while it writes."""
    if chance.random() < 0.3:
        time.sleep(chance.uniform(0.2, 0.6))
    else:
        wanted = filled(database) + chance.randint(1, ROWS // 3)
        until(lambda: filled(database) >= wanted or process.poll() is not None)
    process.kill()
    process.communicate()
    until(lambda: ask(database, _OTHERS) == [(0,)])  # what the server has been sent it still does


def test_killed_at_random_moments_the_next_run_completes(shell: Shell, database: str) -> None:
    """With and without the cache, and with everything to be created, or there."""
    command = ["ingest", "sentences", "20", "--json"]
    make(database, ROWS)
    midway = 0
    for seed in range(ROUNDS):
        ask(database, "UPDATE sentences SET embedding = NULL, text = text || '.'")
        if seed % 2:
            ask(database, "DROP TABLE sentences_metrics; DROP SCHEMA embedmill CASCADE")
        chance = random.Random(seed)
        options = ["--no-cache"] if seed % 2 else []
        done = 0
        for _ in range(KILLS):
            kill(shell.start(*command, *options), database, chance)
            before, done = done, filled(database)
            midway += before < done < ROWS
        report = shell.json(*command, *options)
        assert report["chunks"] == ROWS - done, f"seed {seed}"  # nothing is done a second time
        assert complete(database) == ROWS, f"seed {seed}"
        found = ask(database, "SELECT count(*), count(DISTINCT id), count(tokens) FROM sentences_metrics")
        assert found == [(ROWS, ROWS, ROWS)]
    assert midway >= ROUNDS  # the machine may be so quick, or slow, that others had not begun, or had ended


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_a_run_stores_what_it_has(shell: Shell, database: str, number: signal.Signals) -> None:
    """All that was embedded is written, nothing is held; the same command goes on from there."""
    make(database, 2 * ROWS)
    process = shell.start("ingest", "sentences", "20", "--json", "--workers", "1")
    until(lambda: filled(database) > 0, process)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert "stopping: storing what is finished" in err and "the same command goes on" in err
    assert "Traceback" not in err
    report = json.loads(out)
    done = filled(database)
    assert report["interrupted"] is True and report["index"] == ""
    assert report["chunks"] == report["embedded"] == done < 2 * ROWS
    second = shell.json("ingest", "sentences", "--no-cache")
    assert second["embedded"] == 2 * ROWS - done
    assert complete(database) == 2 * ROWS


def test_a_second_signal_ends_the_run_at_once(shell: Shell, database: str) -> None:
    make(database, 2 * ROWS)
    process = shell.start("ingest", "sentences", "20")
    until(lambda: filled(database) > 0, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "stopping" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert shell.run("ingest", "sentences").returncode == 0
    assert complete(database) == 2 * ROWS


def test_a_row_whose_text_kills_the_run_is_not_met_by_the_next(shell: Shell, database: str) -> None:
    """What failed before a kill stays on record, even where the kill came while it was tried again."""
    make(database, ["fine", " ", "good"])
    shell.json("ingest", "sentences", code=3)
    ask(database, f"UPDATE {marks_of(database)} SET held = true, run = 999999 WHERE cause IS NOT NULL")
    report = shell.json("ingest", "sentences")
    assert (report["chunks"], report["skipped"]) == (0, {"empty text": 1})
    assert shell.json("retry-failed", "sentences", code=3)["failed"] == 1
    assert shell.json("status", "sentences", "--failures")["failed"][0]["attempts"] == 2
