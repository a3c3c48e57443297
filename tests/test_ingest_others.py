"""PostgreSQL tables that others work with at the same time: other sessions, and other runs."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import tables
from cli_runs import Shell, without_progress
from tables import ask, complete, filled, make, refused, terminal, until

ROWS = 800  # which take a run a good half second, in small batches


@pytest.fixture
def shell(tmp_path: Path, database: str) -> Shell:
    return tables.shell(tmp_path, database)


def waiting(url: str) -> bool:
    """Whether a run waits for a lock."""
    query = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'embedmill' AND wait_event_type = 'Lock'"
    return bool(ask(url, query))


# Locks


@pytest.mark.parametrize(
    "lock",
    [
        "LOCK TABLE sentences",
        "SELECT * FROM sentences WHERE id = 17 FOR UPDATE",
        "UPDATE sentences SET text = text WHERE id IN (3, 30)",
    ],
)
def test_a_lock_is_waited_for(shell: Shell, database: str, lock: str) -> None:
    make(database, 30)
    with psycopg.connect(database) as other:
        other.execute(lock)  # type: ignore[call-overload]
        process = shell.start("ingest", "sentences", "5")
        until(lambda: waiting(database), process)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, without_progress(err)) == (0, "")
    assert complete(database) == 30


@pytest.mark.parametrize("lock", ["LOCK TABLE sentences", "SELECT * FROM sentences WHERE id = 17 FOR UPDATE"])
def test_a_lock_that_is_held_too_long(shell: Shell, database: str, lock: str) -> None:
    """Is an error, after the time that was given; the rest is stored, and the next run goes on."""
    make(database, 30)
    with psycopg.connect(database) as other:
        other.execute(lock)  # type: ignore[call-overload]
        done = shell.run("ingest", "sentences", "5", "--db-timeout", "1", "--workers", "1")
        refused(done, 1, r"another session holds a lock; .*\(tried for 1 s: --db-timeout\)")
    assert shell.run("ingest", "sentences").returncode == 0
    assert complete(database) == 30


# What others do to rows


def test_a_text_that_changes_while_it_is_embedded(shell: Shell, database: str) -> None:
    """Gets the vector of what it has become, in the same run; what has gone by then is forgotten."""
    make(database, 30)
    with psycopg.connect(database) as other:
        other.execute("UPDATE sentences SET text = 'has changed' WHERE id = 7")
        other.execute("UPDATE sentences SET text = NULL WHERE id = 8")
        other.execute("DELETE FROM sentences WHERE id = 9")
        other.execute("UPDATE sentences SET id = 99 WHERE id = 10")
        process = shell.start("ingest", "sentences", "5", "--json")
        until(lambda: waiting(database), process)
    out, err = process.communicate(timeout=60)
    report = json.loads(out)
    assert (process.returncode, report["changed"], report["removed"]) == (0, 4, 3), (err, report)
    assert complete(database) == 28


def test_rows_come_and_go_all_the_time(shell: Shell, database: str) -> None:
    """No vector is ever that of another text than the one it was made of; a run after the last change completes."""
    make(database, ROWS)
    chance = random.Random(1)
    process = shell.start("ingest", "sentences", "30")
    until(lambda: filled(database) > 0, process)
    with psycopg.connect(database, autocommit=True) as other:
        number = 0
        while process.poll() is None:
            number += 1
            time.sleep(0.001)
            row = chance.randrange(1, ROWS)
            match chance.randrange(4):
                case 0:
                    other.execute("DELETE FROM sentences WHERE id = %s", [row])
                case 1:
                    other.execute("INSERT INTO sentences VALUES (%s, %s)", [ROWS + number, f"new {number}"])
                case _:
                    other.execute("UPDATE sentences SET text = %s WHERE id = %s", [f"changed {number}", row])
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert number > 20
    assert shell.run("ingest", "sentences").returncode == 0
    complete(database)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ("DROP TABLE sentences", 'relation "public.sentences" does not exist: it is gone'),
        ("ALTER TABLE sentences RENAME text TO body", "column t.text does not exist: it is gone"),
        ("ALTER TABLE sentences RENAME embedding TO other", '"embedding" of .* does not exist: it is gone|t.embedding'),
        ("ALTER TABLE sentences DROP embedding", '"embedding" of .* does not exist: it is gone|t.embedding'),
        ("ALTER TABLE sentences RENAME id TO number", "column t.id does not exist: it is gone"),
        (
            "ALTER TABLE sentences ALTER embedding TYPE vector(3) USING NULL",
            "embedding was changed to another type while it was filled: run again",
        ),
        ("DROP SCHEMA embedmill CASCADE", '"embedmill.*" does not exist: it is gone'),
    ],
)
def test_a_table_that_is_changed_while_it_is_filled(shell: Shell, database: str, change: str, pattern: str) -> None:
    """One line says what is gone."""
    make(database, ROWS)
    process = shell.start("ingest", "sentences", "10")
    until(lambda: filled(database) > 0, process)
    ask(database, change)
    out, err = process.communicate(timeout=60)
    refused(subprocess.CompletedProcess("", process.returncode, out, err), 1, pattern)


# Other runs


def shells(folder: Path, url: str) -> Iterator[Shell]:
    """Of machines that share nothing but the database."""
    for number in range(9):
        own = folder / str(number)
        own.mkdir()
        yield tables.shell(own, url)


def test_two_runs_share_the_work(tmp_path: Path, database: str) -> None:
    """Neither embeds what the other does, though they begin at once and create all that they need."""
    make(database, ROWS, vector="")
    processes = [
        shell.start("ingest", "sentences", "20", "--create", "--json")
        for shell, _ in zip(shells(tmp_path, database), range(3), strict=False)
    ]
    reports = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        reports.append(json.loads(out))
    assert sum(report["embedded"] for report in reports) == ROWS
    assert [report["chunks"] - report["embedded"] for report in reports] == [0, 0, 0]
    assert sum(report["embedded"] > 0 for report in reports) > 1
    assert complete(database) == ROWS
    assert ask(database, "SELECT count(*), count(DISTINCT id) FROM sentences_metrics") == [(ROWS, ROWS)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_of_two_runs_is_killed(tmp_path: Path, database: str, seed: int) -> None:
    """The other does its part too, without being asked."""
    make(database, ROWS)
    first, second = (
        shell.start("ingest", "sentences", "20", "--json")
        for shell, _ in zip(shells(tmp_path, database), range(2), strict=False)
    )
    until(lambda: filled(database) > 0, first, second)
    time.sleep(random.Random(seed).uniform(0, 0.3))
    first.kill()
    first.communicate()
    _, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert complete(database) == ROWS


def test_a_run_that_stands_still_keeps_what_it_holds(tmp_path: Path, database: str) -> None:
    """The other waits for it, wherever it stands, and says so; when the first goes on, each row is embedded once."""
    make(database, ROWS)
    first, second, *_ = shells(tmp_path, database)
    stopped = first.start("ingest", "sentences", "50", "--json")
    until(lambda: filled(database) > 0, stopped)
    stopped.send_signal(signal.SIGSTOP)
    with terminal() as (end, see):
        try:
            waits = second.start("ingest", "sentences", "50", "--json", stderr=end)
            see("waiting for rows that another run holds")
            assert 0 < held(database) == ROWS - filled(database)
            assert waits.poll() is None
        finally:
            stopped.send_signal(signal.SIGCONT)
        reports = [json.loads(process.communicate(timeout=60)[0]) for process in (stopped, waits)]
    assert [stopped.returncode, waits.returncode] == [0, 0]
    assert sum(report["embedded"] for report in reports) == ROWS
    assert complete(database) == ROWS


def test_an_interrupted_run_waits_for_nobody(tmp_path: Path, database: str) -> None:
    make(database, ROWS)
    first, second, *_ = shells(tmp_path, database)
    stopped = first.start("ingest", "sentences", "50")
    until(lambda: filled(database) > 0, stopped)
    stopped.send_signal(signal.SIGSTOP)
    try:
        waits = second.start("ingest", "sentences", "50")
        until(lambda: living(database) == 2 and held(database) == ROWS - filled(database), waits)
        waits.send_signal(signal.SIGINT)
        _, err = waits.communicate(timeout=30)
        assert waits.returncode == 130, err
    finally:
        stopped.kill()
        stopped.communicate()
    assert second.run("ingest", "sentences").returncode == 0
    assert complete(database) == ROWS


def living(url: str) -> int:
    """How many runs there are."""
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted"
    return int(ask(url, query)[0][0])


def held(url: str) -> int:
    return int(ask(url, f"SELECT count(*) FROM {tables.marks_of(url)} WHERE held")[0][0])
