"""Tables in PostgreSQL that cannot be reached, or not be used as they should be: one line says why, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tables
from cli_runs import Shell
from servers import OwnServer, Server
from tables import ask, make, refused

SECRET = "s3cr3t-pass"


@pytest.fixture
def shell(tmp_path: Path, database: str) -> Shell:
    return tables.shell(tmp_path, database)


# Where the database is


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """A server that asks for passwords."""
    server = OwnServer()
    ask(server.dsn, f"CREATE ROLE ada LOGIN PASSWORD '{SECRET}'")
    (server.folder / "data" / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
    ask(server.dsn, "SELECT pg_reload_conf()")
    yield server
    server.close()


def test_a_wrong_password_is_never_shown(guarded: Server, tmp_path: Path) -> None:
    """In no line, report, warning or traceback, whatever part of the URL it ends up in."""
    shell = tables.shell(tmp_path, "sqlite:unused.db")
    good = guarded.url("postgres", user="ada", password=SECRET)
    ask(guarded.dsn, "CREATE TABLE sentences (id bigint PRIMARY KEY, text text)")
    for options in [], ["-v"], ["-vv", "--json"]:
        done = shell.run("ingest", "sentences", "--store", good.replace(SECRET, "wr0ng-" + SECRET), *options)
        assert done.returncode == 1 and "s3cr3t" not in done.stdout + done.stderr
        assert "password authentication failed" in done.stderr and "check user and password" in done.stderr
    done = shell.run("ingest", "sentences", "--store", good, "--create")  # who may log in, and no more
    refused(done, 1, "ada@.*(GRANT|administrator)")
    assert "s3cr3t" not in done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:s3/cr3t@127.0.0.1:1/app",
        "postgresql://ada:s3@cr3t@127.0.0.1:1/app",
        "postgresql://ada:s3:cr3t@127.0.0.1:1/app",
        "postgresql://ada:12/s3cr3t@127.0.0.1:1/app",
        "postgresql://ada:s3 cr3t@127.0.0.1:1/app",
        "postgresql://ada:s3%cr3t@127.0.0.1:1/app",
        "postgresql://ada:s3#cr3t?x@127.0.0.1:1/app",
        "postgresql://ada@127.0.0.1:1/app?password=s3cr3t",
        "postgresql://ada@127.0.0.1:1/app?sslpassword=s3cr3t",
        "postgresql://:s3cr3t@127.0.0.1:1/app",
        "postgres:ada:s3cr3t@127.0.0.1:1/app",
        "postgresql//ada:s3cr3t@127.0.0.1:1/app",
        "mysql://ada:s3cr3t@127.0.0.1:1/app",
    ],
)
def test_a_password_that_breaks_its_url_is_not_shown(tmp_path: Path, url: str) -> None:
    done = tables.shell(tmp_path, url).run("ingest", "sentences", "-v")
    assert done.returncode in (1, 2) and "error: " in done.stderr
    assert not re.search("s3|cr3t", done.stdout + done.stderr), done.stderr
