"""Tables in PostgreSQL that cannot be reached, or not be used as they should be: one line says why, and what to do."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import tables
from cli_runs import Shell
from servers import OwnServer, Server
from tables import Within, ask, filled, make, refused, user

SECRET = "s3cr3t-pass"


@pytest.fixture
def shell(tmp_path: Path, database: str) -> Shell:
    return tables.shell(tmp_path, database, Within)


# Where the database is


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """A server that asks for passwords."""
    server = OwnServer()
    ask(server.dsn, f"CREATE ROLE ada LOGIN PASSWORD '{SECRET}'")
    ask(server.dsn, "CREATE EXTENSION vector")
    (server.folder / "data" / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
    ask(server.dsn, "SELECT pg_reload_conf()")
    yield server
    server.close()


def test_a_password_is_never_shown(guarded: Server, tmp_path: Path) -> None:
    """A wrong or right one, in no line, report, warning or traceback."""
    shell = tables.shell(tmp_path, "sqlite:unused.db")
    good = guarded.url("postgres", user="ada", password=SECRET)
    make(guarded.dsn, 3)
    for options in [], ["-v"], ["-vv", "--json"]:
        done = shell.run("ingest", "sentences", "--store", good.replace(SECRET, "wr0ng-" + SECRET), *options)
        assert done.returncode == 1 and "s3cr3t" not in done.stdout + done.stderr
        assert "password authentication failed" in done.stderr and "check user and password" in done.stderr
    refused(shell.run("ingest", "sentences", "--store", good), 1, "ada@.*GRANT")  # who may log in, and no more
    ask(guarded.dsn, "ALTER TABLE sentences OWNER TO ada; CREATE SCHEMA embedmill AUTHORIZATION ada")
    for options in (
        ["ingest", "--no-metrics", "-vv"],
        ["ingest", "--no-metrics", "--json"],
        ["status"],
        ["status", "--json"],
    ):
        done = shell.run(*options, "sentences", "--store", good)
        assert done.returncode == 0 and "ada" in done.stdout
        assert "s3cr3t" not in done.stdout + done.stderr


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
    done = tables.shell(tmp_path, url, Within).run("ingest", "sentences", "-v")
    assert done.returncode in (1, 2) and "error: " in done.stderr
    assert not re.search("s3|cr3t", done.stdout + done.stderr), done.stderr


@pytest.mark.parametrize(
    ("url", "code", "pattern"),
    [
        ("postgresql://ada@127.0.0.1:1/app", 1, "refused.*: check host and port"),
        ("postgresql://ada@nowhere.invalid/app", 1, "nowhere.invalid.*: check the host"),
        ("postgresql://ada@/app?host=/nowhere", 1, r"/app\?host=/nowhere: .*No such file.*: check host and port"),
        ("postgresql://ada@127.0.0.1/app?nosuch=1", 2, "has nosuch, which is no parameter of libpq's: leave it out"),
        ("postgresql://ada@[1/app", 2, "malformed: give postgresql://user@host:port/database"),
        ("mysql://127.0.0.1/app", 2, "no tables are known in mysql:.*postgresql://"),
    ],
)
def test_a_wrong_address(tmp_path: Path, url: str, code: int, pattern: str) -> None:
    refused(tables.shell(tmp_path, url, Within).run("ingest", "sentences"), code, pattern)


def test_a_wrong_user_or_database(shell: Shell, server: Server, database: str) -> None:
    url = server.url("nosuch")
    refused(shell.run("ingest", "sentences", "--store", url), 1, '"nosuch" does not exist: check the database')
    url = database.replace("//postgres@", "//nosuch@")
    refused(shell.run("ingest", "sentences", "--store", url), 1, 'role "nosuch" does not exist: check the user')


# What is there


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ("sentence", "no table sentence in postgresql://.*: did you mean sentences"),
        ("Sentences.x", "no table Sentences.x in postgresql://"),
        ("other", "no table other in .*: did you mean app.other"),
        ("app.othr", "no table app.othr in .*: did you mean app.other"),
        ("a.b.c", "'a.b.c' has 3 parts: give TABLE or SCHEMA.TABLE"),
        ("'\"sentences'", "a quote is not closed"),
        ("sentences --id nosuch", r"--id: public.sentences has no column 'nosuch'; it has id \(bigint\), text"),
        ("sentences --text nosuch", "--text: public.sentences has no column 'nosuch'; it has id"),
        ("sentences --vector nosuch", "--vector: public.sentences has no column 'nosuch'; it has id"),
        ("sentences --text id", "--text: public.sentences.id is bigint, not text"),
        ("sentences --vector text", "--vector: public.sentences.text is text, not vector or halfvec.*--create"),
        ("sentences --vector text --create", "--vector: public.sentences.text is text, not vector"),
        ("sentences --id text", "--id: public.sentences has no unique index on text whose columns are NOT NULL"),
        ("sentences --id id --id text", "--id: public.sentences has no unique index on id, text"),
        ("sentences --create --halfvec", "--halfvec: public.sentences.embedding is a vector: leave --halfvec out"),
        ("many", "public.many has several columns for vectors: name one with --vector: title_vector, summary_vector"),
        ("many --vector title_vector", "several columns with text: name one with --text: title, summary"),
        ("bare", "public.bare has no column for vectors: --create adds one named embedding, --vector names another"),
        ("numbers", r"public.numbers has no column with text; it has id \(bigint\), embedding"),
        ("keyless", "public.keyless has no primary key: .*--id: a unique index on NOT NULL columns will do"),
        ("unique_only", "public.unique_only has no primary key: .*--id: unique are code; a, b"),
        ("unique_only --id a", "--id: public.unique_only has no unique index on a "),
        ("unique_only --id maybe", "--id: public.unique_only has no unique index on maybe whose columns are NOT NULL"),
        ("view", "public.view is a view: give the table that it is made from"),
        ("materialized", "public.materialized is a materialized view: give the table that it is made from"),
        ("foreign_one", "public.foreign_one is a foreign table: .*--store"),
        ("computed", r"--vector: public.computed.embedding is generated: name another column"),
        ("id_seq", "no table id_seq in"),
    ],
)
def test_what_is_not_there_or_does_not_fit(tmp_path: Path, shapes: str, arguments: str, pattern: str) -> None:
    refused(tables.shell(tmp_path, shapes, Within).run("ingest", *shlex.split(arguments)), 2, pattern)


@pytest.fixture(scope="module")
def shapes(server: Server) -> Iterator[str]:
    """A database with tables of which none can be ingested just like that."""
    url = server.create()
    make(url, 3)
    ask(
        url,
        """
        CREATE SCHEMA app; CREATE TABLE app.other (id bigint PRIMARY KEY, text text);
        CREATE SEQUENCE id_seq;
        CREATE TABLE many (id bigint PRIMARY KEY, title text, summary varchar(9), title_vector vector(32),
                           summary_vector vector(32));
        CREATE TABLE bare (id bigint PRIMARY KEY, text text);
        CREATE TABLE numbers (id bigint PRIMARY KEY, embedding vector(32));
        CREATE TABLE keyless (id bigint, text text, embedding vector(32));
        CREATE TABLE unique_only (code char(3) NOT NULL UNIQUE, a int NOT NULL, b int NOT NULL, maybe int UNIQUE,
                                  text text, embedding vector(32), UNIQUE (a, b));
        CREATE UNIQUE INDEX ON unique_only (lower(code)); CREATE UNIQUE INDEX ON unique_only (a) WHERE b > 0;
        CREATE VIEW view AS SELECT * FROM sentences;
        CREATE MATERIALIZED VIEW materialized AS SELECT * FROM sentences;
        CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
        CREATE FOREIGN TABLE foreign_one (id bigint, text text, embedding vector(32)) SERVER nowhere;
        CREATE TABLE computed (id bigint PRIMARY KEY, text text, numbers real[],
                               embedding vector(32) GENERATED ALWAYS AS (numbers::vector(32)) STORED)
        """,
    )
    yield url
    server.drop(url)


# Rights

_READ = "GRANT SELECT ON sentences TO {}"
_WRITE = "GRANT SELECT, UPDATE ON sentences TO {}"
_SCHEMA = "CREATE SCHEMA embedmill AUTHORIZATION {}"
_METRICS = "GRANT CREATE ON SCHEMA public TO {}"


@pytest.mark.parametrize(
    ("grants", "options", "pattern"),
    [
        ([], "", r'may not read id, text, embedding .*GRANT SELECT \("id", "text", "embedding"\), UPDATE'),
        ([_READ], "", r'may not write embedding .* run GRANT UPDATE \("embedding"\) ON "public"."sentences" TO'),
        (
            [_WRITE],
            "",
            'may not create the schema embedmill.* run CREATE SCHEMA IF NOT EXISTS "embedmill" AUTH.*--schema',
        ),
        (
            [_WRITE, _SCHEMA],
            "",
            'may not create "public"."sentences_metrics": .*GRANT CREATE ON SCHEMA "public" TO .*--no-m',
        ),
        (
            [_WRITE, _SCHEMA],
            "--no-metrics --create --vector v",
            "only the owner .* run ALTER TABLE .*sentences.* ADD COLUMN",
        ),
        (
            [_WRITE, _SCHEMA, _METRICS, "ALTER ROLE {} SET default_transaction_read_only = on"],
            "",
            "default_transaction_read_only is on .*who may write",
        ),
    ],
)
def test_lacking_rights(shell: Shell, database: str, grants: Sequence[str], options: str, pattern: str) -> None:
    make(database, 3)
    with user(database, *grants) as limited:
        refused(shell.run("ingest", "sentences", "--store", limited, *options.split()), 1, pattern)
    assert filled(database) == 0


def test_the_rights_that_messages_ask_for_are_enough(shell: Shell, database: str) -> None:
    """A user who follows the messages gets there, each asking for one thing."""
    make(database, 3)
    with user(database) as limited:
        for _ in range(3):
            line = refused(shell.run("ingest", "sentences", "--store", limited), 1, "let ")
            (statement,) = re.findall("(?:GRANT|CREATE) .*?(?=, or give|$)", line)
            ask(database, statement)
        assert shell.run("ingest", "sentences", "--store", limited).returncode == 0
        assert shell.json("status", "sentences", "--store", limited)["counts"]["left"] == 0
    assert filled(database) == 3


def test_no_temporary_tables(shell: Shell, database: str) -> None:
    make(database, 3)
    name = database.split("/")[3].split("?")[0]
    with user(database, _WRITE, _SCHEMA, f"REVOKE TEMP ON DATABASE {name} FROM PUBLIC") as limited:
        refused(shell.run("ingest", "sentences", "--store", limited), 1, "GRANT TEMP ON DATABASE")


def test_looking_needs_no_more_than_reading(shell: Shell, database: str) -> None:
    """Status and a dry run leave no trace, not even an extension."""
    ask(database, "DROP EXTENSION vector")
    make(database, 3, vector="")
    with user(database, _READ) as limited:
        refused(shell.run("status", "sentences", "--store", limited), 2, "no column for vectors")
        dry = shell.json("ingest", "sentences", "--store", limited, "--dry-run", "--create")
    assert dry["embedded"] == 3
    assert ask(database, "SELECT 1 FROM pg_extension WHERE extname = 'vector'") == []


def test_pgvector_that_is_missing(shell: Shell, database: str) -> None:
    """Whoever may not create the extension is told so; metrics do without it."""
    ask(database, "DROP EXTENSION vector")
    make(database, 3, vector="")
    with user(database, _WRITE, _SCHEMA, _METRICS) as limited:
        done = shell.run("ingest", "sentences", "--store", limited, "--create")
        refused(done, 1, "no pgvector, and this user may not add it: .*CREATE EXTENSION vector")
        report = shell.json("ingest", "sentences", "--store", limited, "--metrics-only")
        assert (report["measured"], report["chunks"]) == (3, 0)
    assert ask(database, "SELECT count(*), min(characters) > 0 FROM sentences_metrics") == [(3, True)]
    assert shell.run("ingest", "sentences", "--create").returncode == 0  # an administrator may
    assert filled(database) == 3


def test_a_bench_adds_pgvector_and_nothing_else(shell: Shell, database: str) -> None:
    """As the documentation says: the extension stays, and only who may create it can measure without it."""
    ask(database, "DROP EXTENSION vector")
    make(database, 30, vector="")
    (name,) = re.findall("/(embedmill_[^?]*)", database)
    bench = ["bench", "ingest", "sentences", "--max-workers", "1"]
    with user(database, _READ, f"GRANT CREATE ON DATABASE {name} TO {{}}") as limited:
        refused(shell.run(*bench, "--store", limited), 1, "no pgvector, and this user may not add it")
    objects = "SELECT oid FROM pg_class WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_')"
    before = ask(database, objects)
    assert shell.json(*bench)["rows"] == 30
    assert ask(database, "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'") == [
        ("public",)
    ]
    assert ask(database, objects) == before
    assert ask(database, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'embedmill%'") == []


@pytest.mark.parametrize(
    "option", ["--dry-run", "--no-metrics", "--create", "--overwrite", "--no-truncate", "--no-cache"]
)
def test_metrics_alone_take_no_options_of_vectors(tmp_path: Path, database: str, option: str) -> None:
    make(database, 3)
    refused(tables.shell(tmp_path, database, Within).run("ingest", "sentences", "--metrics-only", option), 2, option)
    assert ask(database, "SELECT to_regclass('sentences_metrics')") == [(None,)]


def test_nothing_is_added_where_metrics_cannot_be(tmp_path: Path, database: str) -> None:
    make(database, 3, vector="")
    ask(database, "CREATE TABLE sentences_metrics (mine integer)")
    refused(tables.shell(tmp_path, database, Within).run("ingest", "sentences", "--create"), 1, "--no-metrics")
    assert ask(database, "SELECT count(*) FROM information_schema.columns WHERE column_name = 'embedding'") == [(0,)]


def test_embedmills_own_tables_are_not_filled(tmp_path: Path, database: str) -> None:
    make(database, 3)
    shell = tables.shell(tmp_path, database, Within)
    shell.json("ingest", "sentences")
    refused(shell.run("ingest", "embedmill.tables", "--create", "--text", "model"), 2, "embedmill's own")
