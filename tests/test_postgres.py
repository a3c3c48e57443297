"""What the adapters for PostgreSQL share, against a real server."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import tables
from embedmill.core.errors import StoreError, StoreNotFound, UsageError
from embedmill.storage.postgres import migrate as schema
from embedmill.storage.postgres import urls
from embedmill.storage.postgres.connection import connect, dial, parameters, redact_url
from embedmill.storage.postgres.copy_format import copy_buffer
from embedmill.storage.postgres.pgvector import require_vector
from embedmill.storage.postgres.retry import Retry
from embedmill.storage.postgres.server_errors import translated
from servers import Server

# The binary format


@pytest.mark.parametrize("kind", ["vector", "halfvec"])
def test_a_buffer_arrives_as_it_was(database: str, kind: str) -> None:
    generator = np.random.default_rng(1)
    vectors = generator.standard_normal((100, 7)).astype(np.float32)
    if kind == "halfvec":
        vectors = vectors.astype(np.float16).astype(np.float32)
    numbers, small = np.arange(100) - 50, np.arange(100, dtype=np.int32)
    digests = np.array([generator.bytes(16) for _ in range(99)] + [bytes(16)], "S16")
    buffer = copy_buffer({"a": numbers, "v": vectors, "b": digests, "c": small}, vector=kind)
    with connect(database) as connection:
        connection.execute(f"CREATE TABLE t (a bigint, v {kind}, b bytea, c integer)")
        with connection.cursor().copy("COPY t FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(buffer)
        rows = connection.execute("SELECT a, v::real[], b, c FROM t").fetchall()
    assert [row[0] for row in rows] == numbers.tolist()
    np.testing.assert_array_equal(np.array([row[1] for row in rows], np.float32), vectors)
    assert [row[2] for row in rows] == [bytes(digest).ljust(16, b"\0") for digest in digests]
    assert [row[3] for row in rows] == small.tolist()


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="lengths"):
        copy_buffer({"a": np.arange(2), "b": np.arange(3)})
    with pytest.raises(ValueError, match="float64"):
        copy_buffer({"a": np.zeros(2)})


# Connections and their errors


def test_errors_say_what_to_do_and_never_the_password(server: Server, database: str) -> None:
    for url, words in {
        server.url("nosuch"): r'database "nosuch" does not exist: check the database',
        "postgresql://u:hushhush@127.0.0.1:1/d": r"postgresql://u@127.0.0.1:1/d: .*refused.*: check host and port",
        "postgresql://u:hushhush@nowhere.invalid/d": r"resolve host.*: check the host",
        "postgresql://u:hush hush@[x/d": r"malformed: give postgresql://",
    }.items():
        with pytest.raises((StoreError, UsageError), match=words) as caught:
            connect(url)
        assert "hush" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["role", "database"])
def test_a_limit_of_one_role_or_database_is_not_taken_for_the_servers(
    server: Server, database: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The remedy is a statement that lets the next connection in."""
    # Neither limit is for superusers.
    with tables.user(database) as limited, psycopg.connect(server.dsn, autocommit=True) as administrator:
        who = conninfo_to_dict(limited)["user" if kind == "role" else "dbname"]
        administrator.execute(f'ALTER {kind} "{who}" CONNECTION LIMIT 0')
        for use in (lambda: connect(limited), lambda: Retry(limited, 0.3)(lambda: dial(limited))):
            with pytest.raises(StoreError, match=f'many connections for {kind} "{who}": .*{kind.upper()}') as caught:
                use()
            assert "max_connections" not in str(caught.value)
        assert f'{kind} "{who}" takes no more connections (ALTER {kind.upper()} ' in caplog.text
        assert "max_connections" not in caplog.text
        (remedy,) = re.findall(r"ALTER \w+ .* CONNECTION LIMIT", str(caught.value))
        administrator.execute(f"{remedy} 5")
        connect(limited).close()


def test_a_full_server_says_so(server: Server) -> None:
    for message in (
        "sorry, too many clients already",
        "remaining connection slots are reserved for roles with the SUPERUSER attribute",
    ):
        error = psycopg.OperationalError(f"connection failed: FATAL:  {message}")
        told = str(translated(error, server.dsn))
        assert told.endswith(f"{message}: end other sessions, or raise the server's max_connections")


def test_a_shown_url_has_no_password() -> None:
    assert redact_url("postgresql://ada:secret@db:5433/app?sslmode=require") == "postgresql://ada@db:5433/app"
    assert redact_url("postgresql://db/app?user=ada&password=secret") == "postgresql://ada@db/app"
    assert redact_url("postgresql://u:s p@[h/d") == "postgresql:..."


# The schema


def test_a_schema_is_created_once_and_required(database: str) -> None:
    with connect(database) as connection:
        extension = require_vector(connection)
        with pytest.raises(StoreNotFound, match="embedmill index"):
            schema.require(connection, "Own Schema")
        for _ in range(2):
            schema.migrate(connection, "Own Schema", extension)
        schema.require(connection, "Own Schema")
        connection.execute('INSERT INTO "Own Schema".migrations VALUES (9999)')
        with pytest.raises(StoreError, match="newer embedmill"):
            schema.require(connection, "Own Schema")


def test_many_create_a_schema_at_once(database: str) -> None:
    """One does, the others wait and see what it has done, whatever their sessions remember of the time before."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(database)) for _ in range(8)]
        for connection in connections:
            assert schema.version(connection, "s") == 0
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda connection: schema.migrate(connection, "s", "public"), connections))
        schema.require(connections[0], "s")


def test_a_migration_that_fails_leaves_what_was(database: str, tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("CREATE TABLE one (n integer);")
    (tmp_path / "0002_b.sql").write_text("CREATE TABLE two (n integer); SELECT 1/0;")
    with connect(database) as connection:
        with pytest.raises(StoreError, match="division by zero"):
            Retry(database)(lambda: schema.migrate(connection, "s", "public", tmp_path))
        assert schema.version(connection, "s", newest=2) == 1
        assert connection.execute("SELECT to_regclass('s.one'), to_regclass('s.two')").fetchone() == ("s.one", None)


def test_a_schema_of_somebody_elses_is_left_alone(database: str) -> None:
    with connect(database) as connection:
        connection.execute("CREATE TABLE documents (id integer)")
        with pytest.raises(StoreError, match="schema public has documents of somebody else's: give another --schema"):
            schema.migrate(connection, "public", "public")
        assert connection.execute("SELECT to_regclass('migrations'), to_regclass('tables')").fetchone() == (None, None)


# What passes


def test_a_lost_connection_is_tried_again(database: str) -> None:
    waits: list[float] = []
    tried: list[BaseException] = []
    with connect(database) as other:

        def work() -> int:
            with connect(database) as connection:
                if len(tried) < 3:
                    other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
                return int((connection.execute("SELECT 1").fetchone() or (0,))[0])

        assert Retry(database, 30, waits.append)(work, tried.append) == 1
    assert len(waits) == len(tried) == 3
    assert all(isinstance(error, psycopg.OperationalError) for error in tried)
    assert waits[0] <= 0.1 < waits[2] <= 0.4


def test_patience_has_an_end_and_is_not_for_mistakes(database: str) -> None:
    def lost() -> None:
        raise psycopg.OperationalError("the connection is lost")

    with pytest.raises(StoreError, match=r"lost.*tried for 0\.3 s: --db-timeout"):
        Retry(database, 0.3)(lost)
    tries: list[int] = []
    with connect(database) as connection:

        def wrong() -> None:
            tries.append(1)
            connection.execute("SELECT 1 FROM nowhere")

        with pytest.raises(StoreError, match='"nowhere" does not exist: it is gone'):
            Retry(database)(wrong)
    assert tries == [1]


def test_patience_that_is_hurried_ends_soon(database: str) -> None:
    """Whoever has asked to end does not wait for a server that stays away."""
    retry = Retry(database, 300)
    tries: list[int] = []

    def lost() -> None:
        tries.append(1)
        if len(tries) == 5:  # the next pause is a second and a half
            threading.Timer(0.1, retry.finish_within, [0.2]).start()
        raise psycopg.OperationalError("the connection is lost")

    with pytest.raises(StoreError, match=r"lost.*\(tried until it was stopped\)"):
        retry(lost)
    assert len(tries) == 6


# URLs as others write them


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("postgresql+psycopg://u:p@h:5433/d", "postgresql://u:p@h:5433/d"),
        ("postgresql+psycopg2://u@h/d?sslmode=require", "postgresql://u@h/d?sslmode=require"),
        ("postgres+asyncpg://h/d", "postgresql://h/d"),
        ("postgres://h/d", "postgres://h/d"),
        ("postgresql://h/d?pgbouncer=true", "postgresql://h/d"),
        ("postgresql://h/d?schema=public&sslmode=prefer&pgbouncer=true", "postgresql://h/d?sslmode=prefer"),
        ("postgresql+asyncpg://h/d?statement_cache_size=0&prepared_statement_cache_size=0", "postgresql://h/d"),
        ("postgresql://u:a%3Fb%26c@h/d?application_name=a%26b", "postgresql://u:a%3Fb%26c@h/d?application_name=a%26b"),
    ],
)
def test_urls_that_other_tools_write_are_taken(given: str, plain: str) -> None:
    assert urls.plain(given) == plain
    assert parameters(given) == parameters(plain)
    assert redact_url(given) == redact_url(plain)


@pytest.mark.parametrize(
    ("query", "remedy"),
    [
        ("schema=app", r"has schema, .*name the table as SCHEMA\.TABLE"),
        ("currentSchema=app", r"has currentSchema, .*name the table as"),
        ("ssl=true", "has ssl, .*write sslmode=require"),
        ("connection_limit=1", "has connection_limit, .*leave it out; --workers"),
        ("socket_timeout=3", "has socket_timeout, .*--db-timeout"),
        ("sslmode=require&reWriteBatchedInserts=true", "has reWriteBatchedInserts, .*leave it out"),
    ],
)
def test_parameters_of_other_tools_are_told_with_what_to_write(query: str, remedy: str) -> None:
    for url in (f"postgresql+psycopg://u:hush@h/d?{query}", f"postgres://u:hush@h/d?{query}"):
        with pytest.raises(UsageError, match=remedy) as refused:
            parameters(url)
        assert "hush" not in str(refused.value) and "hush" not in redact_url(url)


def test_a_question_mark_in_a_password_begins_no_parameters() -> None:
    url = "postgresql://u:hush?ssl=1&quiet@h/d"
    assert conninfo_to_dict(parameters(url))["password"] == "hush?ssl=1&quiet"
    assert redact_url(url) == "postgresql://u@h/d"


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql+asyncpg", "postgres"])
def test_every_command_takes_such_urls(database: str, tmp_path: Path, scheme: str) -> None:
    url = database.replace("postgresql", scheme, 1) + "&pgbouncer=true"
    tables.make(database, 2)
    shell = tables.shell(tmp_path, url, tables.Within)
    assert shell.json("ingest", "sentences")["embedded"] == 2
    assert shell.json("status", "sentences")["model"]
    (tmp_path / "a.txt").write_text("a text\n")
    assert shell.json("index", "a.txt")["documents"] == 1
    assert shell.json("status")["documents"] == 1
    assert "sentences" in shell.run("status").stdout
