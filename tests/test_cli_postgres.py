"""The commands with PostgreSQL as the store."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import psycopg
import pytest

from cli_runs import Shell, obey_permissions
from proxy import Proxy
from samples import prose
from servers import ask
from store_children import kill, replacing
from troubled import SMALL_MODEL
from waiting import until


@pytest.fixture
def shell(tmp_path: Path, database: str) -> Shell:
    """A folder with 30 files, and a database for the store."""
    files = tmp_path / "files"
    files.mkdir()
    for number in range(30):
        (files / f"{number}.txt").write_text(prose(number, 1 + number))
    return Shell(
        tmp_path,
        EMBEDMILL_CACHE_DIR=str(tmp_path / "cache"),
        EMBEDMILL_MODEL=str(SMALL_MODEL),
        EMBEDMILL_PRECISION="f32",
        EMBEDMILL_STORE=database,
    )


def rows(database: str, schema: str = "embedmill") -> list[tuple[object, ...]]:
    """All that is stored, without what differs between runs."""
    query = psycopg.sql.SQL(
        """SELECT p.path, c.idx, c.start, c."end", c.line, c.tokens, c.hash, c.text
           FROM {0}.paths p JOIN {0}.chunks c USING (document) ORDER BY p.path, c.idx"""
    ).format(psycopg.sql.Identifier(schema))
    with psycopg.connect(database) as connection:
        return connection.execute(query).fetchall()


def test_every_command_with_a_database(shell: Shell, database: str) -> None:
    first = shell.json("index", "files", "--no-cache")
    assert (first["documents"], first["embedded"] + first["duplicates"]) == (30, first["chunks"])
    assert first["store"].startswith("postgresql://")
    assert len(rows(database)) == first["chunks"] > 100
    assert {Path(str(row[0])).name for row in rows(database)} == {f"{number}.txt" for number in range(30)}
    for name, _, start, end, _, _, _, text in rows(database):
        assert Path(str(name)).read_text()[start:end] == text

    again = shell.json("index", "files")
    assert (again["unchanged"], again["chunks"]) == (30, 0)
    dry = shell.json("index", "files", "--dry-run")
    assert (dry["unchanged"], dry["store"]) == (30, first["store"])

    query = str(rows(database)[40][7])
    found = shell.json("search", query, "-k", "5")["hits"]
    exact = shell.json("search", query, "-k", "5", "--exact")["hits"]
    assert found == exact and len(found) == 5 and found[0]["text"] == query
    assert {hit["document"] for hit in shell.json("search", query, "--glob", "2?.txt")["hits"]} <= {
        f"{shell.folder}/files/{number}.txt" for number in range(20, 30)
    }

    status = shell.json("status")
    assert (status["documents"], status["chunks"], status["dimension"]) == (30, first["chunks"], 32)
    assert shell.run("verify").stdout.startswith(f"sound: 30 documents, {first['chunks']:,} chunks in postgresql://")
    (shell.folder / "files/3.txt").unlink()
    assert shell.json("index", "files")["removed"] == 1


def test_failures_are_listed_and_tried_again(shell: Shell, database: str) -> None:
    proxy = Proxy(database)  # whoever obeys permissions may not use the server's own socket
    shell.environment["EMBEDMILL_STORE"] = proxy.url
    closed = shell.folder / "files/9.txt"
    closed.chmod(0)
    done = shell.run("index", "files", preexec_fn=obey_permissions)
    assert done.returncode == 3 and "files/9.txt: cannot be read (permission denied)" in done.stdout
    again = shell.json("retry-failed", code=3, preexec_fn=obey_permissions)
    assert (again["documents"], again["failures"]) == (1, 1)
    (failure,) = shell.json("status", "--failures")["failed"]
    assert (failure["document"], failure["attempts"]) == (str(closed), 2)
    closed.chmod(0o644)
    assert shell.json("retry-failed")["failures"] == 0
    assert (shell.json("status")["documents"], shell.json("verify")["sound"]) == (30, True)
    proxy.close()


def test_a_store_of_its_own_in_each_schema(shell: Shell, database: str) -> None:
    name = 'Odd "Name"; DROP SCHEMA public CASCADE; --'
    assert shell.json("index", "files/1.txt", "--schema", name)["documents"] == 1
    environment = shell.environment | {"EMBEDMILL_SCHEMA": name}
    assert shell.json("status", env=environment)["documents"] == 1
    assert shell.json("search", "vector", "--schema", name)["hits"]
    missing = shell.run("status")
    assert missing.returncode == 1 and "has no schema embedmill" in missing.stderr
    assert {row[0] for row in ask(database, "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^inf'")} == {
        "public",
        name,
    }
    wrong = shell.run("status", "--schema", "pg_x")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: schema 'pg_x'")


def test_a_second_run_is_told_in_one_line(shell: Shell, database: str) -> None:
    holder = replacing({"url": database, "schema": "embedmill"})
    done = shell.run("index", "files")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and f"process {holder.pid} on" in done.stderr
    kill(holder)


def test_a_store_that_is_not_sound(shell: Shell, database: str) -> None:
    shell.run("index", "files")
    ask(database, "UPDATE embedmill.chunks SET text = 'changed' WHERE idx = 0")
    done = shell.run("verify", "-v")
    assert done.returncode == 3 and len(done.stdout.splitlines()) == 30
    assert all(line.endswith("chunk 0: its hash is not that of its text") for line in done.stdout.splitlines())
    assert done.stderr.startswith("error: 30 problems in the store postgresql://") and done.stderr.count("\n") == 1
    told = shell.json("verify", code=3)
    assert (told["sound"], told["count"], told["damage"]["text-altered"]["count"]) == (False, 30, 30)


def test_a_password_is_never_printed(shell: Shell, database: str) -> None:
    proxy = Proxy(database)
    if psycopg.conninfo.conninfo_to_dict(proxy.url).get("password"):
        pytest.skip("the server wants the right password")
    right = proxy.url.replace("@", ":hushhush@", 1)
    told = []
    for command in (["index", "files"], ["status"], ["verify", "--json"]):
        done = shell.run(*command, "--store", right)
        told += [done.stdout, done.stderr]
    assert sum("postgresql://" in text for text in told) >= 3
    proxy.close()
    for url in (right, "postgresql://u@[::1:x/d?password=hushhush"):
        done = shell.run("status", "-v", "--store", url)
        assert done.returncode in (1, 2) and "Traceback" in done.stderr
        told += [done.stdout, done.stderr]
    assert not any("hushhush" in text for text in told)


def test_without_the_extra_the_line_that_installs_it_is_printed(shell: Shell) -> None:
    hidden = shell.folder / "hidden"
    (hidden / "psycopg").mkdir(parents=True)
    (hidden / "psycopg/__init__.py").write_text("raise ImportError")
    path = f"{hidden}:{shell.environment['PYTHONPATH']}"
    done = shell.run("status", env=shell.environment | {"PYTHONPATH": path})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: PostgreSQL needs an optional package: pip install 'embedmill[postgres]'\n"


def test_a_run_whose_connections_are_cut_completes(shell: Shell, database: str) -> None:
    for number in range(30, 60):
        (shell.folder / f"files/{number}.txt").write_text(prose(number, 40))
    assert shell.run("index", "files", "--no-cache", "--schema", "undisturbed").returncode == 0
    run = shell.start("index", "files", "--no-cache", "--json")
    moments, cuts, before = random.Random(1), 0, -1
    with psycopg.connect(database, autocommit=True) as connection:
        while run.poll() is None:
            if (now := stored(database)) == before:  # so the run gets on, however busy the machine is
                time.sleep(0.02)
                continue
            before = now
            found = connection.execute(
                """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()
                   AND EXISTS (SELECT FROM pg_tables WHERE schemaname = 'embedmill' AND tablename = 'chunks')"""
            ).fetchall()
            cuts += len(found)
            time.sleep(moments.uniform(0.05, 0.3))
    _, err = run.communicate()
    assert run.returncode == 0, err
    assert cuts > 2
    assert "Traceback" not in err and "rollback" not in err
    assert rows(database) == rows(database, "undisturbed")
    assert shell.json("verify")["sound"] is True


def stored(database: str) -> int:
    """How many documents a store has; there may be none yet."""
    if ask(database, "SELECT to_regclass('embedmill.documents')") == [(None,)]:
        return 0
    return int(ask(database, "SELECT count(*) FROM embedmill.documents")[0][0])


def test_a_run_that_is_killed_is_completed_by_the_next(shell: Shell, database: str) -> None:
    for number in range(30, 60):
        (shell.folder / f"files/{number}.txt").write_text(prose(number, 40))
    assert shell.run("index", "files", "--no-cache", "--schema", "undisturbed").returncode == 0
    moments = random.Random(2)
    for wanted in (0, 1, 40):  # documents
        run = shell.start("index", "files", "--no-cache")
        until(lambda: stored(database) >= wanted or run.poll() is not None)  # noqa: B023
        time.sleep(moments.uniform(0, 0.5))
        run.send_signal(signal.SIGKILL)
        run.communicate()
        done = shell.run("verify", "--json")
        if done.stdout:  # else there is none yet, or its schema is between two migrations
            assert set(json.loads(done.stdout)["damage"]) <= {"document-missing"}
        else:
            assert "run `embedmill index`" in done.stderr
    assert shell.run("index", "files", "--no-cache").returncode == 0
    assert rows(database) == rows(database, "undisturbed")


# Servers that do not answer


def test_index_that_is_stopped_does_not_wait_for_a_server_that_says_nothing(shell: Shell, database: str) -> None:
    """However long --db-timeout is; what was stored stays, and the next run goes on."""
    with Proxy(database) as proxy:
        proxy.silent_within = b"COPY chunks"
        process = shell.start("index", "files", "--store", proxy.url, "--db-timeout", "600")
        until(proxy.silent.is_set, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        assert process.returncode == 1, err
        assert "(tried until it was stopped)" in err.splitlines()[-1] and "Traceback" not in err
    assert shell.json("index", "files")["interrupted"] is False
    assert shell.json("status")["documents"] == 30


@pytest.mark.parametrize(
    ("moment", "arguments"),
    [
        (b"", ["status"]),  # connecting
        (b"", ["index", "files", "--db-timeout", "600"]),
        (b"embedmill_chunks", ["verify"]),  # in a transaction
        (b"complete AND name = ANY", ["index", "files", "--dry-run", "--db-timeout", "600"]),
    ],
)
def test_an_interrupted_command_does_not_wait_for_a_server_that_says_nothing(
    shell: Shell, database: str, moment: bytes, arguments: list[str]
) -> None:
    assert shell.run("index", "files/1.txt").returncode == 0
    with Proxy(database) as proxy:
        proxy.silent_within = moment
        if not moment:
            proxy.silent.set()
        process = shell.start(*arguments, "--store", proxy.url)
        until(lambda: proxy.silent.is_set() and proxy.met > 0, process)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        assert (process.returncode, out, err.splitlines()[-1]) == (130, "", "interrupted")
