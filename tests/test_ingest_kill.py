"""Findings 5, 7 and 14: killed or stopped at any moment, a run leaves a table that the next one completes."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest

import tables
from cli_runs import Shell
from tables import ask, complete, filled, make, marks_of, until

ROWS = 500
KILLS = 3  # one run after the other, before one comes to its end
ROUNDS = 7


@pytest.fixture
def shell(tmp_path: Path, database: str) -> Shell:
    return tables.shell(tmp_path, database)


@pytest.mark.timeout(600)
def test_killed_at_random_moments_the_next_run_completes(shell: Shell, database: str) -> None:
    """With and without the cache; by the second round everything that can be there is there."""
    command = ["ingest", "sentences", "20", "--json", "--create"]
    make(database, ROWS, vector="")
    started = time.monotonic()
    shell.json(*command)
    seconds = time.monotonic() - started
    midway = 0
    for seed in range(ROUNDS):
        ask(database, "ALTER TABLE sentences DROP embedding; UPDATE sentences SET text = text || '.' WHERE id % 3 = 0")
        if seed % 2:
            ask(database, "DROP TABLE sentences_metrics; DROP SCHEMA embedmill CASCADE")
        chance = random.Random(seed)
        options = ["--no-cache"] if seed % 2 else []
        for _ in range(KILLS):
            process = shell.start(*command, *options)
            time.sleep(chance.uniform(0.3, 1) * seconds)
            process.kill()
            process.communicate()
        there = ask(
            database, "SELECT 1 FROM pg_attribute WHERE attrelid = 'sentences'::regclass AND attname = 'embedding'"
        )
        done = filled(database) if there else 0
        midway += 0 < done < ROWS
        report = shell.json(*command, *options)
        assert report["chunks"] == ROWS - done, f"seed {seed}"  # nothing is done a second time
        assert complete(database) == ROWS, f"seed {seed}"
        assert ask(database, "SELECT count(*), count(DISTINCT id), count(tokens) FROM sentences_metrics") == [
            (ROWS, ROWS, ROWS)
        ]
    assert midway >= 2  # the machine may be so quick, or slow, that others had not begun, or had ended


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_a_run_stores_what_it_has(shell: Shell, database: str, number: signal.Signals) -> None:
    """All that was embedded is written, nothing is held; the same command goes on from there."""
    make(database, 4 * ROWS)
    process = shell.start("ingest", "sentences", "20", "--json", "--workers", "1")
    until(lambda: filled(database) > 0, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopping: storing what is finished" in err and "the same command goes on" in err
    assert "Traceback" not in err
    report = json.loads(out)
    done = filled(database)
    assert report["interrupted"] is True and report["index"] == ""
    assert report["chunks"] == report["embedded"] == done < 4 * ROWS
    second = shell.json("ingest", "sentences", "--no-cache")
    assert second["embedded"] == 4 * ROWS - done
    assert complete(database) == 4 * ROWS


def test_a_second_signal_ends_the_run_at_once(shell: Shell, database: str) -> None:
    make(database, 4 * ROWS)
    process = shell.start("ingest", "sentences", "20")
    until(lambda: filled(database) > 0, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "stopping" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert shell.run("ingest", "sentences").returncode == 0
    assert complete(database) == 4 * ROWS


def test_a_row_whose_text_kills_the_run_is_not_met_by_the_next(shell: Shell, database: str) -> None:
    """What failed before a kill stays on record, even where the kill came while it was tried again."""
    make(database, ["fine", " ", "good"])
    shell.json("ingest", "sentences", code=3)
    ask(database, f"UPDATE {marks_of(database)} SET held = true, run = 999999 WHERE cause IS NOT NULL")
    report = shell.json("ingest", "sentences", code=3)
    assert (report["chunks"], report["failures"]) == (0, 1)
    assert shell.json("retry-failed", "sentences", code=3)["failed"] == 1
    assert shell.json("status", "sentences", "--failures")["failed"][0]["attempts"] == 2
