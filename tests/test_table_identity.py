"""Which table is meant, and what is known of its rows, whatever becomes of names, keys and whole tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from embedmill.errors import SpaceMismatch
from embedmill.rows import Counts, TableStatus
from embedmill.tables.listing import listed
from table_places import MODEL, Place, PostgresPlace, SqlitePlace, made_by, quick_folder, run, space_of, texts

PLACES = ("sqlite", "postgresql")


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with quick_folder() as folder:
        if request.param == "sqlite":
            yield SqlitePlace(folder / "app.db")
        else:
            place = PostgresPlace(request.getfixturevalue("shared"))
            place.clear()
            yield place
            place.close()


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


def tables(place: Place) -> list[Any]:
    return listed(place.url, schema="embedmill", lock_timeout=10)


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
