"""PostgreSQL tables that others work with at the same time: other sessions, and other runs."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
import pytest

import tables
from cli_runs import Shell, without_progress
from tables import ask, complete, filled, make, refused, terminal
from waiting import until

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
        "LOCK TABLE sentences IN SHARE MODE",
    ],
)
def test_a_lock_is_waited_for(shell: Shell, database: str, lock: str) -> None:
    make(database, 30)
    with psycopg.connect(database) as other:
        other.execute(lock)  # type: ignore[call-overload]
        process = shell.start("ingest", "sentences", "5")
        until(lambda: waiting(database), process)
    _, err = process.communicate()
    assert (process.returncode, without_progress(err)) == (0, "")
    assert complete(database) == 30


def test_a_lock_that_is_held_too_long(shell: Shell, database: str) -> None:
    """Is an error, after the time that was given, and says who holds it; the next run goes on."""
    make(database, 30)
    with psycopg.connect(database, application_name="an accountant") as other:
        other.execute("LOCK TABLE sentences")
        done = shell.run("ingest", "sentences", "5", "--db-timeout", "1", "--workers", "1")
        line = refused(done, 1, r"another session holds a lock; .*\(tried for 1 s: --db-timeout\)")
        assert f"process {other.info.backend_pid} of the server (an accountant, in a transaction since " in line
    assert shell.run("ingest", "sentences").returncode == 0
    assert complete(database) == 30


def left(done: subprocess.CompletedProcess[str], number: int, other: psycopg.Connection[Any]) -> None:
    """A run that has left so many rows that another session has locked, and says so."""
    rows = "1 locked row" if number == 1 else f"{number} locked rows"
    assert done.returncode == 3, done.stderr
    assert f"error: {rows} left: the same command embeds them" in done.stderr
    assert f"locked by another session (process {other.info.backend_pid} of the server (an accountant" in done.stderr


@pytest.mark.parametrize("cache", ["--cache", "--no-cache"])
def test_rows_that_others_have_locked_are_left_out(shell: Shell, database: str, cache: str) -> None:
    """All others are written; these are named at the end, and embedded by the next run."""
    make(database, 300)
    arguments = ["ingest", "sentences", "50", "--db-timeout", "1", cache]
    with psycopg.connect(database, application_name="an accountant") as other:
        other.execute("UPDATE sentences SET id = id WHERE id IN (17, 150, 299)")
        done = shell.run(*arguments, "--json")
        left(done, 3, other)
        report = json.loads(done.stdout)
        assert (report["locked"], report["embedded"], report["chunks"], report["failed"]) == (3, 297, 297, 0)
        assert filled(database) == 297
        assert ask(database, "SELECT count(*) FROM sentences_metrics") == [(300,)]
        left(shell.run(*arguments), 3, other)
    again = shell.json(*arguments)
    assert again["chunks"] == again["embedded"] + again["cached"] == 3
    assert complete(database) == 300


def test_rows_that_are_let_go_in_time_are_written_in_the_same_run(shell: Shell, database: str) -> None:
    """With the vectors that they have now; also those that fail, and lose what they had."""
    make(database, 60)
    assert shell.run("ingest", "sentences").returncode == 0
    ask(database, "UPDATE sentences SET text = 'again ' || id; UPDATE sentences SET text = '' WHERE id IN (5, 6)")
    with terminal() as (end, see), psycopg.connect(database) as other:
        other.execute("SELECT FROM sentences WHERE id IN (5, 7) FOR UPDATE")
        other.execute("UPDATE sentences SET text = 'changed at last' WHERE id = 9")
        process = shell.start("ingest", "sentences", stderr=end)
        see("waiting for 3 rows that another session has locked")
        assert filled(database) == 59  # the vector of row 5 is still there
        other.commit()
        out, _ = process.communicate()
    assert process.returncode == 3, out  # two texts are empty
    assert filled(database) == 58
    ask(database, "DELETE FROM sentences WHERE text = ''")
    assert shell.run("ingest", "sentences").returncode == 0
    assert complete(database) == 58


def test_vectors_of_locked_rows_without_a_text_stay_until_the_next_run(shell: Shell, database: str) -> None:
    make(database, 30)
    assert shell.run("ingest", "sentences").returncode == 0
    ask(database, "UPDATE sentences SET text = NULL WHERE id IN (3, 4)")
    with psycopg.connect(database) as other:
        other.execute("SELECT FROM sentences WHERE id = 3 FOR UPDATE")
        done = shell.run("ingest", "sentences", "--db-timeout", "1")
        assert "1 row without a text still has a vector, since another session has locked it" in done.stderr
        assert filled(database) == 29
    assert shell.run("ingest", "sentences").returncode == 0
    assert filled(database) == complete(database) == 28


def test_locked_rows_whose_vectors_are_overwritten(shell: Shell, database: str) -> None:
    make(database, 30)
    ask(database, "UPDATE sentences SET embedding = array_fill(1::real, ARRAY[32])::vector")
    with psycopg.connect(database, application_name="an accountant") as other:
        other.execute("SELECT FROM sentences WHERE id = 3 FOR UPDATE")
        left(shell.run("ingest", "sentences", "--overwrite", "--db-timeout", "1"), 1, other)
    assert shell.json("ingest", "sentences", "--overwrite")["chunks"] > 0
    assert complete(database) == 30


def test_locked_rows_that_have_failed_before(shell: Shell, database: str) -> None:
    make(database, 30)
    assert shell.run("ingest", "sentences", "--max-text", "21").returncode == 3
    ((failed,), *_) = ask(database, "SELECT id FROM sentences WHERE embedding IS NULL ORDER BY id")
    with psycopg.connect(database, application_name="an accountant") as other:
        other.execute("SELECT FROM sentences WHERE id = %s FOR UPDATE", [failed])
        left(shell.run("retry-failed", "sentences", "--db-timeout", "1"), 1, other)
    assert shell.run("retry-failed", "sentences").returncode == 0
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
    out, err = process.communicate()
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


def changed(database: str, change: str) -> bool:
    """Whether a change was made; it may meet the run's locks in another order, and be the one that is given up."""
    try:
        ask(database, change)
    except psycopg.errors.DeadlockDetected:
        return False
    return True


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
        ("DROP SCHEMA embedmill CASCADE", '"embedmill.*" does not exist: what was known of the table'),
    ],
)
def test_a_table_that_is_changed_while_it_is_filled(shell: Shell, database: str, change: str, pattern: str) -> None:
    """One line says what is gone."""
    make(database, ROWS)
    process = shell.start("ingest", "sentences", "10")
    until(lambda: filled(database) > 0, process)
    until(lambda: changed(database, change))
    out, err = process.communicate()
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
        out, err = process.communicate()
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
    _, err = second.communicate()
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
        reports = [json.loads(process.communicate()[0]) for process in (stopped, waits)]
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
        _, err = waits.communicate()
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


# Definitions that are changed while others read and write


@contextmanager
def readers(url: str, query: str) -> Iterator[list[BaseException]]:
    """Others that read all the while, none of whom may wait for long; gives what they have met."""
    ended, met = threading.Event(), list[BaseException]()

    def read() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET lock_timeout = '5s'")  # far longer than they are kept, far less than was
            while not ended.wait(0.02):
                try:
                    connection.execute(cast(LiteralString, query))
                except psycopg.Error as error:
                    met.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield met
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_a_column_is_added_behind_an_open_transaction_without_keeping_others(shell: Shell, database: str) -> None:
    """Who waits for the table's lock makes all that come later wait behind: it waits briefly, and again."""
    make(database, 30, vector="")
    with (
        psycopg.connect(database, application_name="an accountant") as other,
        readers(database, "SELECT count(*) FROM sentences") as met,
    ):
        other.execute("SELECT count(*) FROM sentences")
        done = shell.run("ingest", "sentences", "--create", "--db-timeout", "2")
        line = refused(done, 1, "another session holds a lock")
        pid = other.info.backend_pid
        assert f"process {pid} of the server (an accountant, in a transaction since " in line
        assert "its last statement of " in line and "(tried for 2 s: --db-timeout)" in line
        process = shell.start("ingest", "sentences", "--create")
        until(lambda: bool(waiting(database)), process)
        other.rollback()
        _, err = process.communicate()
        assert process.returncode == 0, err
        assert not met
    assert complete(database) == 30


def test_an_index_of_a_partitioned_table_keeps_nobody_behind_an_open_transaction(shell: Shell, database: str) -> None:
    """It can only be built while nobody writes: for that it waits briefly, and again."""
    ask(
        database,
        f"""CREATE TABLE sentences (id int PRIMARY KEY, text text, embedding vector({tables.DIMENSION}))
                PARTITION BY RANGE (id);
            CREATE TABLE part PARTITION OF sentences DEFAULT; INSERT INTO sentences SELECT g, 'text' || g
            FROM generate_series(1, 20) g""",
    )
    assert shell.run("ingest", "sentences").returncode == 0
    write = "UPDATE sentences SET id = id WHERE id = 2"
    with psycopg.connect(database, application_name="an accountant") as other, readers(database, write) as met:
        other.execute("UPDATE sentences SET id = id WHERE id = 1")
        done = shell.run("ingest", "sentences", "--index", "hnsw", "--db-timeout", "2")
        refused(done, 1, f"another session holds a lock; .*process {other.info.backend_pid} of the server .an account")
        assert not met
    report = shell.json("ingest", "sentences", "--index", "hnsw")
    assert report["index"].endswith("built over 20 rows")
