"""A PostgreSQL server that is restarted, is full or far away, and connections that are cut, while a table is filled."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

import tables
from cli_runs import Shell, without_progress
from proxy import Proxy
from servers import OwnServer
from tables import ask, complete, filled, make, refused
from waiting import until

ROWS = 400


@pytest.fixture
def shell(tmp_path: Path, database: str) -> Shell:
    return tables.shell(tmp_path, database)


# Connections that are cut


@pytest.mark.parametrize(
    "moment", [b"embedmill_staging", b"PGCOPY", b"fresh AS (", b"pg_advisory_xact_lock", b"COMMIT\0"]
)
def test_a_connection_that_is_cut(shell: Shell, database: str, moment: bytes) -> None:
    """In the midst of preparing a writer, of COPY, of the update, of a claim, of COMMIT: the run itself goes on."""
    make(database, ROWS)
    with Proxy(database) as proxy:
        proxy.cut_within = moment
        report = shell.json("ingest", "sentences", "50", "--store", proxy.url)
        assert proxy.cuts == 1
    assert report["embedded"] == ROWS and report["changed"] == 0
    assert complete(database) == ROWS


def test_answers_to_commits_get_lost(shell: Shell, database: str) -> None:
    """What was committed is not done twice: no row is updated a second time, or embedded."""
    make(database, ROWS, columns="id int PRIMARY KEY, text text, updates int DEFAULT 0")
    ask(
        database,
        "CREATE FUNCTION up() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.updates = OLD.updates + 1; RETURN NEW; END $$; "
        "CREATE TRIGGER up BEFORE UPDATE ON sentences FOR EACH ROW EXECUTE FUNCTION up()",
    )
    with Proxy(database) as proxy:
        process = shell.start("ingest", "sentences", "20", "--store", proxy.url, "--json")
        while process.poll() is None:
            if proxy.lose_answers == 0 and proxy.lost < 6:
                proxy.lose_answers = 1  # of claims and writes, as they come
            time.sleep(0.15)
    out, err = process.communicate()
    assert process.returncode == 0, err
    report = json.loads(out)
    assert (report["embedded"], report["chunks"]) == (ROWS, ROWS) and proxy.lost > 2
    assert ask(database, "SELECT min(updates), max(updates) FROM sentences") == [(1, 1)]
    assert complete(database) == ROWS


def test_connections_that_are_cut_again_and_again(shell: Shell, database: str) -> None:
    """After numbers of bytes by chance, whatever is said then."""
    chance = random.Random(1)
    make(database, ROWS)
    with Proxy(database) as proxy:
        process = shell.start("ingest", "sentences", "20", "--store", proxy.url, "--json")
        while process.poll() is None:
            if proxy.cut_after is None and proxy.cuts < 12:
                proxy.cut_after = chance.randrange(20_000)
            time.sleep(0.005)
        cuts = proxy.cuts
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert cuts > 3 and json.loads(out)["failed"] == 0
    assert complete(database) == ROWS
    assert ask(database, "SELECT count(*), count(DISTINCT id) FROM sentences_metrics") == [(ROWS, ROWS)]


def test_a_server_that_is_far_away(shell: Shell, database: str) -> None:
    """Costs a run few round trips: some for each page, batch and writer, and none for each row."""
    trips = []
    for rows in (ROWS, 4 * ROWS):
        make(database, rows)
        with Proxy(database, delay=0.02) as proxy:
            command = ["ingest", "sentences", str(rows // 8), "--no-metrics", "--store", proxy.url]
            assert shell.json(*command)["failed"] == 0
            trips.append(proxy.answers)
        assert complete(database) == rows
        ask(database, "DROP TABLE sentences")
    few, many = trips
    assert few < ROWS / 2
    assert many < few + 40  # of writers, which are more where they are slow


# The server itself

SLOTS = 10


@pytest.fixture(scope="module")
def own() -> Iterator[OwnServer]:
    """A server that may be stopped, with few connections, and none that are kept for administrators."""
    server = OwnServer(f"fsync = off\nmax_connections = {SLOTS}\nsuperuser_reserved_connections = 0\n")
    yield server
    server.close()


@pytest.fixture
def there(own: OwnServer) -> Iterator[str]:
    """A database on it with a table to fill."""
    url = own.create()
    make(url, ROWS)
    yield url
    own.drop(url)


def stop(server: OwnServer, how: signal.Signals) -> None:
    """Stop it: SIGINT rolls back what is open, SIGQUIT is as a crash."""
    (pid, *_) = (server.folder / "data" / "postmaster.pid").read_text().splitlines()
    os.kill(int(pid), how)
    until(lambda: not (server.folder / "data" / "postmaster.pid").exists())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_server_that_is_restarted(own: OwnServer, there: str, tmp_path: Path, how: signal.Signals) -> None:
    """Costs the run some seconds, and nothing else."""
    process = tables.shell(tmp_path, there).start("ingest", "sentences", "20", "--json")
    until(lambda: filled(there) > 0, process)
    stop(own, how)
    time.sleep(0.3)
    own.start()
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert all(
        line.startswith("warning: ") and "trying again" in line for line in without_progress(err).splitlines()
    ), err
    assert json.loads(out)["embedded"] == ROWS
    assert complete(there) == ROWS


def test_a_server_that_stays_away(own: OwnServer, there: str, tmp_path: Path) -> None:
    """Is an error, after the time that was given; the next run goes on where this one was."""
    shell = tables.shell(tmp_path, there)
    process = shell.start("ingest", "sentences", "20", "--db-timeout", "1")
    until(lambda: filled(there) > 0, process)
    stop(own, signal.SIGINT)
    try:
        out, err = process.communicate()
        assert (process.returncode, out) == (1, "")
        line = err.splitlines()[-1]
        assert line.startswith("error: ") and "(tried for 1 s: --db-timeout)" in line and "Traceback" not in err
        refused(shell.run("ingest", "sentences"), 1, "check host and port in the store's URL, and that it runs")
    finally:
        own.start()
    done = filled(there)
    assert 0 < done < ROWS
    assert shell.json("ingest", "sentences")["chunks"] == ROWS - done
    assert complete(there) == ROWS


def test_stopped_while_the_server_stays_away(own: OwnServer, there: str, tmp_path: Path) -> None:
    """Who asks to end does not wait for as long as the server is given to come back."""
    process = tables.shell(tmp_path, there).start("ingest", "sentences", "20", "--db-timeout", "250")
    until(lambda: filled(there) > 0, process)
    stop(own, signal.SIGINT)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "trying again" in line:
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        line = err.splitlines()[-1]
        assert process.returncode == 1 and line.startswith("error: ") and "(tried until it was stopped)" in line, err
    finally:
        own.start()
    assert tables.shell(tmp_path, there).run("ingest", "sentences").returncode == 0
    assert complete(there) == ROWS


def test_limits_of_time_do_not_hold_for_what_takes_long(own: OwnServer, there: str, tmp_path: Path) -> None:
    """Such as the building of an index, or the removal of many documents."""
    name = tables.name_of(there)
    for limit in ("statement_timeout", "transaction_timeout", "idle_session_timeout"):
        if ask(there, "SELECT 1 FROM pg_settings WHERE name = %s", [limit]):  # the second from version 17 on
            ask(own.dsn, f"ALTER DATABASE {name} SET {limit} = '60ms'")
    shell = tables.shell(tmp_path, there)
    report = shell.json("ingest", "sentences", "--index", "hnsw")
    assert report["index"].endswith(f"built over {ROWS} rows")
    (tmp_path / "a.txt").write_text("a text\n")
    assert shell.json("index", "a.txt")["documents"] == 1
    assert shell.run("verify").returncode == 0


def test_a_standby_is_told_at_once(own: OwnServer, there: str, tmp_path: Path) -> None:
    """Before anything is tried; what only reads works."""
    shell = tables.shell(tmp_path, there, tables.Within)
    (tmp_path / "a.txt").write_text("a text\n")
    assert shell.json("index", "a.txt")["documents"] == 1
    assert shell.json("ingest", "sentences")["embedded"] == ROWS
    ask(there, "UPDATE sentences SET text = 'another' WHERE id = 1")
    own.stop()
    signal_file = own.folder / "data" / "standby.signal"
    signal_file.touch()
    own.start()
    try:
        for arguments in (
            ["ingest", "sentences"],
            ["ingest", "sentences", "--metrics-only"],
            ["ingest", "sentences", "--overwrite"],
            ["retry-failed", "sentences"],
            ["bench", "ingest", "sentences"],
            ["index", "a.txt"],
            ["retry-failed"],
        ):
            done = shell.run(*arguments)
            refused(done, 1, "is a standby, which can only be read: connect to the primary server")
            assert "trying again" not in done.stderr
        for arguments in (["status"], ["status", "sentences"], ["search", "a text"], ["verify"]):
            done = shell.run(*arguments)
            assert done.returncode == 0, (arguments, done.stderr)
        assert shell.json("ingest", "sentences", "--dry-run")["chunks"] == 1
    finally:
        own.stop()
        signal_file.unlink()
        own.start()


def test_few_connections_are_left(own: OwnServer, there: str, tmp_path: Path) -> None:
    """Then fewer writers work, which is said once."""
    with ExitStack() as stack:
        for _ in range(SLOTS - 2):
            stack.enter_context(psycopg.connect(there))
        done = tables.shell(tmp_path, there).run("ingest", "sentences", "10", "--workers", "4", "--index", "hnsw")
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stderr.splitlines() if "connections" in line]
    assert "warning: the server takes no more connections: fewer writers go on (max_connections)" in notes
    assert len(notes) == len(set(notes)) <= 2 and all("the server takes no more connections" in note for note in notes)
    assert complete(there) == ROWS


def test_no_connections_are_left(own: OwnServer, there: str, tmp_path: Path) -> None:
    """At the beginning that is an error; later it is waited for one."""
    shell = tables.shell(tmp_path, there)
    with ExitStack() as stack:
        for _ in range(SLOTS - 1):
            stack.enter_context(psycopg.connect(there))
        with psycopg.connect(there):
            refused(shell.run("ingest", "sentences"), 1, "too many clients already: end other sessions, or raise")
        until(lambda: free(own) == 1)
        refused(shell.run("ingest", "sentences", "--db-timeout", "1"), 1, "too many clients .*tried for 1 s")
        process = shell.start("ingest", "sentences")
        time.sleep(1)
        assert process.poll() is None
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert complete(there) == ROWS


def free(own: OwnServer) -> int:
    """How many more connections the server takes."""
    with ExitStack() as stack:
        for number in range(SLOTS + 1):
            try:
                stack.enter_context(psycopg.connect(own.dsn))
            except psycopg.OperationalError:
                return number
    raise AssertionError("there is no limit")
