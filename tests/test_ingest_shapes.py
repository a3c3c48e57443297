"""Tables in PostgreSQL of every shape: odd names, keys, text columns, partitions. All are filled, and filled right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from psycopg import sql

import tables
from cli_runs import Shell
from embedmill.storage.driver import TableRequest
from embedmill.storage.postgres.table import PostgresTable
from servers import Server
from tables import Within, ask, complete, filled, make, name_of, refused, vectors
from troubled import small_embedder


@pytest.fixture
def shell(tmp_path: Path, database: str) -> Shell:
    return tables.shell(tmp_path, database, Within)


# Keys


KEYS = {  # -> the value of row n
    "uuid": "md5(n::text)::uuid",
    "text": "'key ' || n",
    'text COLLATE "C"': "chr(64 + n) || 'é'",
    'text COLLATE app."Odd%{}"': "repeat('{}', n)",
    "varchar(5)": "n",
    "char(5)": "n",
    "name": "'n' || n",
    "timestamptz": "timestamptz '2024-10-27 00:30 UTC' + n * interval '10 minutes 0.000001 s'",
    "timestamp": "timestamp '0044-03-15 BC' + n * interval '1 day'",
    "date": "date '0001-12-30 BC' + n",
    "interval": "n * interval '-1 year 2 days 3.5 s'",
    "numeric": "10 ^ n + 1 / n::numeric",
    "numeric(9,3)": "n / 7.0",
    "double precision": "1 / n::float8",
    "real": "1 / n::real",
    "smallint": "-n",
    "bytea": "decode(lpad(to_hex(n), 4, '0'), 'hex')",
    "boolean": "n = 1",
    "inet": "inet '10.0.0.0' + n",
    "bit(9)": "n::bit(9)",
    "int[]": "ARRAY[n, NULL, 2]",
    'app."mood%"': '(enum_range(NULL::app."mood%"))[n]',
    "app.code": "'c{' || n || '}'",
    "int4range": "int4range(n, n + 1)",
    "jsonb": "jsonb_build_object('a', n)",
}


@pytest.mark.parametrize("kinds", [list(KEYS)[:1], list(KEYS)[1:2], *(list(KEYS)[place::4] for place in range(2, 6))])
def test_keys_of_every_type(shell: Shell, database: str, kinds: Sequence[str]) -> None:
    """Read in pages of two rows, failures and metrics by their keys too; nothing is done twice by the next run."""
    ask(
        database,
        """
        CREATE SCHEMA app;
        CREATE COLLATION app."Odd%{}" (provider = libc, locale = 'C');
        CREATE TYPE app."mood%" AS ENUM ('z', 'it''s', 'a "b"', '', 'm{}');
        CREATE DOMAIN app.code AS text CHECK (value > '');
        """,
    )
    for setting in (
        "DateStyle = 'SQL, DMY'",
        "IntervalStyle = 'sql_standard'",
        "TimeZone = 'Europe/Berlin'",
        "bytea_output = 'escape'",
        "extra_float_digits = 0",
    ):
        ask(database, f"ALTER DATABASE {name_of(database)} SET {setting}")
    columns = {"id" if place == 0 else f"k{place}": kind for place, kind in enumerate(kinds)}
    key = ", ".join(columns)
    typed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    values = ", ".join(f"({KEYS[kind]})::{kind}" for kind in kinds)
    ask(
        database,
        f"CREATE TABLE sentences ({typed}, text text, embedding vector(32), PRIMARY KEY ({', '.join(columns)}))",
    )
    ask(database, f"INSERT INTO sentences SELECT {values}, 'text ' || n FROM generate_series(1, 5) n")
    ask(database, "UPDATE sentences SET text = ' ' WHERE text = 'text 2'")

    report = shell.json("ingest", "sentences", "2", "--text", "text", code=3)
    assert (report["embedded"], report["failed"], report["changed"]) == (4, 1, 0)
    ask(database, "DELETE FROM sentences_metrics")
    assert shell.json("ingest", "sentences", "--metrics-only", "--text", "text")["measured"] == 5
    assert ask(database, f"SELECT count(*) FROM sentences JOIN sentences_metrics USING ({key})") == [(5,)]
    (failure,) = shell.json("status", "sentences", "--failures")["failed"]
    same = " AND ".join(f"{name} = %s::{kind.replace('%', '%%')}" for name, kind in columns.items())
    assert ask(database, f"SELECT text FROM sentences WHERE {same}", failure["key"]) == [(" ",)]
    ask(database, "UPDATE sentences SET text = 'mended' WHERE text = ' '")
    again = shell.json("retry-failed", "sentences")
    assert (again["embedded"], again["chunks"], again["failures"]) == (1, 1, 0)
    assert complete(database) == 5


_CASELESS = """
    CREATE SCHEMA "e%x";
    SET search_path = "e%x", public;
    CREATE TYPE caseless;
    CREATE FUNCTION read(cstring) RETURNS caseless LANGUAGE internal IMMUTABLE STRICT AS 'textin';
    CREATE FUNCTION write(caseless) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
    CREATE TYPE caseless (INPUT = read, OUTPUT = write, LIKE = text, CATEGORY = 'S');
    CREATE CAST (caseless AS text) WITHOUT FUNCTION AS IMPLICIT;
    CREATE CAST (text AS caseless) WITHOUT FUNCTION AS ASSIGNMENT;
    CREATE FUNCTION compare(a caseless, b caseless) RETURNS int LANGUAGE sql IMMUTABLE
        AS $$ SELECT bttextcmp(lower(a::text) COLLATE "C", lower(b::text) COLLATE "C") $$;
    DO $do$ DECLARE sign text; BEGIN
        FOREACH sign IN ARRAY ARRAY['<', '<=', '=', '>=', '>'] LOOP
            EXECUTE format('CREATE FUNCTION %I(a caseless, b caseless) RETURNS boolean LANGUAGE sql IMMUTABLE
                            AS $$ SELECT "e%%x".compare(a, b) %s 0 $$', sign, sign);
            EXECUTE format('CREATE OPERATOR %s (LEFTARG = caseless, RIGHTARG = caseless, FUNCTION = %I)', sign, sign);
        END LOOP;
    END $do$;
    CREATE OPERATOR CLASS caseless_ops DEFAULT FOR TYPE caseless USING btree AS OPERATOR 1 <, OPERATOR 2 <=,
        OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 compare(caseless, caseless)
"""


@pytest.mark.parametrize("key", ["id", "id, part", "part, id"])
def test_keys_of_a_type_whose_operators_are_not_looked_for(shell: Shell, database: str, key: str) -> None:
    """As those of citext in a schema that the path does not name: compared as text, rows would be passed over."""
    ask(database, _CASELESS)
    columns = f'id "e%x".caseless, part int DEFAULT 7, text text, PRIMARY KEY ({key})'
    make(database, 0, columns=columns)
    ask(
        database,
        """INSERT INTO sentences (id, text) SELECT (CASE n % 3 WHEN 0 THEN 'k' ELSE 'K' END || n)::"e%x".caseless,
           'text ' || n FROM generate_series(1, 9) n""",
    )
    assert shell.json("ingest", "sentences", "2", "--text", "text")["embedded"] == 9
    assert shell.json("ingest", "sentences", "2", "--text", "text")["unchanged"] == 9
    ask(database, """UPDATE sentences SET id = lower(id::text)::"e%x".caseless, text = 'other ' || text""")
    report = shell.json("ingest", "sentences", "2", "--text", "text")
    assert (report["embedded"], report["skipped"], report["removed"]) == (9, {}, 0)
    ask(database, "DELETE FROM sentences_metrics")
    assert shell.json("ingest", "sentences", "2", "--metrics-only", "--text", "text")["measured"] == 9


@pytest.mark.parametrize("kind", ["bigint", "text", 'text COLLATE "C"', "app.code"])
def test_rows_and_what_is_known_of_them_meet_through_indexes(database: str, kind: str) -> None:
    """Whatever their collation: else each page would read all that is known, and a run take the square of the rows."""
    ask(database, 'CREATE SCHEMA app; CREATE DOMAIN app.code AS varchar COLLATE "POSIX"')
    make(database, 3, columns=f"id {kind} PRIMARY KEY, text text")
    with PostgresTable(database, "sentences", TableRequest()) as table:
        embedder = small_embedder()
        table.bind(embedder.fingerprint, embedder.name)
        (row, *_) = table.claim(None, 1)
        parameters = table._parameters | {"limit": 10, "key1": row.key[0]}
        table._session.write(lambda each: each.once(table._statements.create_staging))
        for query in table._statements.claim(after=True), table._statements.fill(measured=False):
            explain = sql.SQL("EXPLAIN ") + query
            plan = table._session.write(lambda each, explain=explain: each.execute(explain, parameters).fetchall())
            assert not re.search(r"Seq Scan on (marks_|sentences)", str(plan)), plan


# Names

ODD = [
    "Dot.dot, 'quote'\"s\"",
    '"',
    "100%s %(run)s {} {0} {marks}",
    'x"; DROP TABLE sentences; --',
    "back\\slash",
    "select",
    "naïve ☃" + "n" * 52,
]


@pytest.mark.parametrize("name", ODD)
def test_names_are_names(shell: Shell, database: str, name: str) -> None:
    """As table, schema and column: nothing in them is obeyed, and an index and the metrics are named after them."""
    make(database, 2)  # what must not be dropped
    shell.environment["EMBEDMILL_SCHEMA"] = f"s{name}"
    quoted = sql.Identifier(name).as_string(None)
    ask(database, f"CREATE SCHEMA {quoted}")
    columns = [sql.Identifier(kind + name).as_string(None) for kind in "kt"]
    typed = f"{columns[0]} int PRIMARY KEY, {columns[1]} text"
    table = f"{quoted}.{quoted}"
    make(database, 3, columns=typed, vector="", name=table, into=", ".join(columns))
    options = ["--id", f"k{name}", "--text", f"t{name}", "--vector", f"v{name}"]
    assert shell.json("ingest", table, "2", *options, "--create", "--index", "hnsw")["embedded"] == 3
    ask(database, f"UPDATE {table} SET {columns[1]} = '' WHERE {columns[0]} = 1")
    report = shell.json("ingest", table, *options, code=3)
    assert (report["chunks"], report["failed"], report["unchanged"]) == (1, 1, 2)
    found = shell.run("status", table, *options[4:], "--failures").stdout
    assert "1: EmptyText" in found and "(hnsw)" in found
    ask(database, f"UPDATE {table} SET {columns[1]} = NULL WHERE {columns[0]} = 1")
    assert shell.json("ingest", table, *options)["failures"] == 0
    ((metrics,),) = ask(database, "SELECT tablename FROM pg_tables WHERE tablename ~ '_metrics$'")
    assert metrics == f"{name}_metrics" or len(f"{name}_metrics".encode()) > 63
    assert ask(database, f"SELECT count(*) FROM {quoted}.{sql.Identifier(metrics).as_string(None)}") == [(2,)]
    assert filled(database) == 0 and ask(database, "SELECT count(*) FROM sentences") == [(2,)]


def test_names_are_found_as_people_write_them(shell: Shell, database: str) -> None:
    """Quoted or not, in any case as long as that is clear, with or without the schema."""
    ask(database, 'CREATE SCHEMA "My App"')
    make(
        database,
        3,
        name='"My App"."My Table"',
        columns='"ID" int PRIMARY KEY, "Body" text',
        vector='"V" vector(32)',
        into='"ID", "Body"',
    )
    for name in '"My App"."My Table"', "My App.My Table", '"My App".My Table':
        assert shell.json("ingest", name, "--id", "id", "--text", '"Body"', "--vector", "v")["documents"] == 3
    make(database, 3)
    for name in "SENTENCES", "Public.Sentences", '"sentences"', "public.sentences":
        assert shell.json("ingest", name)["documents"] == 3
    assert shell.run("ingest", '"SENTENCES"').returncode == 2


def test_a_column_that_is_created_has_the_name_that_was_meant(shell: Shell, database: str) -> None:
    make(database, 3, vector="")
    for name in '"My Vector"', "my vector", "My Vector":  # the same
        assert shell.json("ingest", "sentences", "--create", "--vector", name)["documents"] == 3
    assert filled(database, vector='"My Vector"') == 3
    for name in "n" * 64, "ñ" * 32, "":
        refused(shell.run("ingest", "sentences", "--create", "--vector", name), 2, "--vector: .* give 1 to 63 bytes")
    ((columns,),) = ask(database, "SELECT relnatts FROM pg_class WHERE relname = 'sentences'")
    assert columns == 3


def test_long_names_have_metrics_of_their_own(shell: Shell, database: str) -> None:
    """Tables whose names differ at the end only do not share what is counted of them."""
    for ending in "ab":
        make(database, 3, name=62 * "n" + ending)
        assert shell.json("ingest", 62 * "n" + ending)["chunks"] == 3
    found = ask(database, "SELECT tablename FROM pg_tables WHERE tablename LIKE '%metrics'")
    assert len(found) == 2
    assert [ask(database, f"SELECT count(*) FROM {name}") for (name,) in found] == [[(3,)], [(3,)]]


# Columns


@pytest.mark.parametrize(
    ("definition", "values"),
    [
        ("text varchar(12)", ["short", "ends in  ", "exactly 12 c"]),
        ("text char(12)", ["short", "padded", "exactly 12 c"]),
        ("text app.short", ["a domain", "over", "varchar"]),
        ("text name", ["a", "b", "c"]),
        ("source text, text text GENERATED ALWAYS AS (lower(source) || '!') STORED", ["ONE", "Two", "three"]),
        ('text text COLLATE "C" NOT NULL', ["one", "TWO", "Straße, 統一碼, e\u0301, \U0001f600"]),
    ],
)
def test_texts_of_every_type(shell: Shell, database: str, definition: str, values: Sequence[str]) -> None:
    """Changed by nothing but the row's own change: the next run finds all as it should be."""
    ask(database, "CREATE SCHEMA app; CREATE DOMAIN app.short AS varchar(12) NOT NULL")
    make(database, values, columns=f"id int PRIMARY KEY, {definition}", into=f"id, {definition.split()[0]}")
    assert shell.json("ingest", "sentences", "--text", "text")["embedded"] == 3
    assert shell.json("ingest", "sentences", "--text", "text")["unchanged"] == 3
    assert complete(database) == 3


def test_halfvec(shell: Shell, database: str) -> None:
    """Numbers of 16 bits: right within their precision."""
    make(database, 5, vector="")
    assert shell.json("ingest", "sentences", "--create", "--halfvec", "--index", "hnsw")["embedded"] == 5
    assert ask(
        database,
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 'sentences'::regclass AND attname = 'embedding'",
    ) == [("halfvec(32)",)]
    assert complete(database, atol=2**-11) == 5
    assert shell.json("ingest", "sentences")["unchanged"] == 5


def test_a_vector_without_a_dimension(shell: Shell, database: str) -> None:
    """Is filled; only an index needs one, and then says so."""
    make(database, 5, vector="embedding vector")
    done = shell.run("ingest", "sentences")
    assert (done.returncode, done.stderr) == (0, "")
    done = shell.run("ingest", "sentences", "--index", "hnsw")
    assert done.returncode == 0 and "none: the column has no dimension" in done.stdout
    assert "ALTER its type to vector(32)" in done.stderr
    assert complete(database) == 5


@pytest.mark.parametrize("vector", [f"embedding vector({dimension})" for dimension in (31, 384)])
def test_a_column_of_another_dimension(shell: Shell, database: str, vector: str) -> None:
    make(database, 3, vector=vector)
    for options in [], ["--create"], ["--overwrite"]:
        line = refused(shell.run("ingest", "sentences", *options), 1, "name another column with --vector")
        assert re.search(r"sentences.embedding has (31|384) dimensions, .* have 32: ", line)
    assert ask(database, "SELECT to_regnamespace('embedmill')") == [(None,)]  # nothing has been begun
    assert shell.json("ingest", "sentences", "--create", "--vector", "other")["embedded"] == 3
    assert complete(database, vector="other") == 3


# Tables


def test_a_partitioned_table(shell: Shell, database: str) -> None:
    """Rows of all partitions, and one index for all, which cannot be built concurrently."""
    make(database, [], columns="id int, text text, part int, PRIMARY KEY (part, id)", name="old")
    ask(
        database,
        """
        DROP TABLE old;
        CREATE TABLE sentences (id int, text text, part int, embedding vector(32), PRIMARY KEY (part, id))
            PARTITION BY LIST (part);
        CREATE TABLE one PARTITION OF sentences FOR VALUES IN (1); CREATE TABLE rest PARTITION OF sentences DEFAULT;
        INSERT INTO sentences SELECT n, 'text ' || n, n % 3 FROM generate_series(1, 30) n
        """,
    )
    report = shell.json("ingest", "sentences", "7", "--index", "hnsw")
    assert (report["embedded"], report["last_key"]) == (30, "2, 29")
    assert "hnsw sentences_embedding_hnsw built over 30 rows" in report["index"]
    assert ask(database, "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%hnsw%'") == [(3,)]
    ask(database, "UPDATE sentences SET text = 'changed' WHERE id = 3")
    assert shell.json("ingest", "sentences")["embedded"] == 1
    rows = ask(database, "SELECT text, embedding::real[] FROM sentences ORDER BY id")
    np.testing.assert_allclose([found for _, found in rows], vectors([text for text, _ in rows]), atol=2e-6)


def test_tables_that_inherit_are_tables_of_their_own(shell: Shell, database: str) -> None:
    """Their rows may have the same keys: neither read, counted nor written where their parent is meant."""
    make(database, ["one", "two", None])
    ask(
        database,
        """
        CREATE TABLE child (PRIMARY KEY (id)) INHERITS (sentences);
        INSERT INTO child VALUES (1, 'another one'), (2, NULL), (3, 'another three'), (4, 'four')
        """,
    )
    assert shell.json("ingest", "sentences", "--dry-run")["chunks"] == 2
    report = shell.json("ingest", "sentences", "--index", "hnsw")
    assert (report["documents"], report["embedded"], report["skipped"]) == (2, 2, {"NULL": 1})
    assert "built over 2 rows" in report["index"]
    assert ask(database, "SELECT id, frequency FROM sentences_metrics ORDER BY id") == [(1, 1), (2, 1)]
    assert filled(database, "child") == 0
    assert complete(database, "ONLY sentences") == 2
    ask(database, "DELETE FROM ONLY sentences WHERE id = 1; UPDATE ONLY sentences SET text = NULL WHERE id = 2")
    assert shell.json("ingest", "sentences")["removed"] == 2
    assert ask(database, "SELECT id FROM sentences_metrics") == []
    ask(database, "INSERT INTO sentences VALUES (1, 'one')")

    assert shell.json("ingest", "child")["embedded"] == 3
    assert shell.json("status", "sentences")["counts"] == {
        "rows": 1,
        "left": 1,
        "without_text": 2,
        "empty": 0,
        "foreign": 0,
        "failures": 0,
    }
    rows = ask(database, "SELECT text, embedding::real[] FROM child WHERE text IS NOT NULL ORDER BY id")
    np.testing.assert_allclose([found for _, found in rows], vectors([text for text, _ in rows]), atol=2e-6)


def test_a_unique_index_in_place_of_a_primary_key(shell: Shell, database: str) -> None:
    make(database, 5, columns="id int NOT NULL, text text, part int NOT NULL DEFAULT 7, UNIQUE (part, id)")
    assert shell.json("ingest", "sentences", "2", "--id", "id", "--id", "part")["embedded"] == 5
    assert shell.json("ingest", "sentences", "--id", "part", "--id", "ID")["unchanged"] == 5
    ask(database, "ALTER TABLE sentences ADD PRIMARY KEY (id)")
    assert shell.json("ingest", "sentences")["skipped"] == {}  # by what is known
    assert shell.json("ingest", "sentences", "--id", "id")["unchanged"] == 5  # what is known is carried over
    assert filled(database) == 5


def test_another_way_to_look_at_the_schemas(shell: Shell, database: str) -> None:
    """What is known of a table does not hang on where names are looked for."""
    ask(database, "CREATE SCHEMA app; CREATE TYPE app.code AS ENUM ('a', 'b'); ALTER EXTENSION vector SET SCHEMA app")
    ask(database, "CREATE TABLE app.sentences (id app.code PRIMARY KEY, text text, embedding app.vector(32))")
    ask(database, "INSERT INTO app.sentences VALUES ('a', 'one'), ('b', 'two')")
    assert shell.json("ingest", "app.sentences")["embedded"] == 2
    ask(database, f"ALTER DATABASE {name_of(database)} SET search_path = app")
    assert shell.json("ingest", "sentences", "--index", "hnsw")["unchanged"] == 2
    assert shell.json("status", "sentences")["counts"]["foreign"] == 0
    ask(database, f"ALTER DATABASE {name_of(database)} SET search_path = ''")
    assert shell.json("ingest", "app.sentences", "--index", "hnsw")["unchanged"] == 2
    refused(shell.run("ingest", "sentences"), 2, "no table sentences in .*: did you mean app.sentences")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_databases_of_other_encodings(server: Server, tmp_path: Path, encoding: str) -> None:
    """Texts arrive as they are; where the server does not know what bytes mean, those that are no UTF-8 fail alone."""
    name = f"embedmill_{encoding.lower()}"
    ask(server.dsn, f"DROP DATABASE IF EXISTS {name}")
    ask(server.dsn, f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    url = server.url(name)
    ask(url, "CREATE EXTENSION vector")
    make(url, ["plain", "more"])
    shell = tables.shell(tmp_path, url, Within)
    ask(url, r"SET client_encoding = LATIN1; UPDATE sentences SET text = E'caf\xe9' WHERE id = 2")
    if encoding == "LATIN1":
        assert shell.json("ingest", "sentences")["embedded"] == 2
        assert complete(url) == 2
    else:
        report = shell.json("ingest", "sentences", code=3)
        assert (report["embedded"], report["failed"]) == (1, 1)
        (failed,) = shell.json("status", "sentences", "--failures")["failed"]
        assert (failed["key"], failed["cause"]["type"]) == (["2"], "NotUnicode")
        assert shell.json("ingest", "sentences", "--metrics-only")["measured"] == 0
        assert ask(url, "SELECT id FROM sentences_metrics") == [(1,)]
        ask(url, r"UPDATE sentences SET text = E'na\xc3\xafve' WHERE id = 2")
        assert shell.json("ingest", "sentences")["embedded"] == 1
        assert shell.json("ingest", "sentences")["unchanged"] == 2
    server.drop(url)


def test_what_is_known_is_lost(shell: Shell, database: str) -> None:
    """A table of embedmill's that somebody has dropped is made anew; vectors count as of unknown origin then."""
    make(database, 5)
    shell.json("ingest", "sentences")
    ask(database, f"DROP TABLE {tables.marks_of(database)}, sentences_metrics")
    assert shell.json("ingest", "sentences")["skipped"] == {"vector of unknown origin": 5}
    assert shell.json("ingest", "sentences", "--overwrite")["cached"] == 5
    ask(database, "DROP SCHEMA embedmill CASCADE")
    assert shell.json("ingest", "sentences", "--overwrite")["cached"] == 5
    assert complete(database) == 5
