"""What every store promises whose vectors may become another model's. Stores are those of tests/store_places.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from embedmill.core.errors import SpaceMismatch, StoreBusy, StoreError
from embedmill.core.interfaces.reembedding import ReembeddableStore
from embedmill.core.interfaces.store import Store
from embedmill.core.spaces import Fingerprint
from embedmill.storage.registry import open_store
from store_samples import DIMENSION, failure, fingerprint, record, replacement, state, vector

Open = Callable[..., ReembeddableStore]

OTHER = fingerprint(weights="others")


@pytest.fixture
def open_(place: dict[str, str]) -> Iterator[Open]:
    """Opens the same store again and again, with the other arguments of `open_store`."""
    opened: list[Store] = []

    def open_it(**arguments: Any) -> ReembeddableStore:
        opened.append(open_store(**place, **arguments))
        assert isinstance(opened[-1], ReembeddableStore)
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def store(open_: Open) -> ReembeddableStore:
    """Three documents in one root, and one that has failed."""
    store = open_()
    store.bind(fingerprint(), "model")
    store.register(["/usr/"], '{"hidden": true}')
    store.replace([replacement(f"/usr/{name}", [f"{name} {row}" for row in range(3)]) for name in "abc"])
    store.fail("/usr/x", [failure("/usr/x", -1)])
    return store


def fill(second: ReembeddableStore, names: str = "abc", of: Fingerprint = OTHER) -> None:
    """Put other vectors, of texts of their own, into a second store, and close it."""
    second.bind(of, "other")
    dimension = of.space.dimension
    for name in names:
        new = replacement(f"/usr/{name}", [f"{name} new {row}" for row in range(2)])
        records = [replace(each, vector=vector(each.chunk.text, dimension)) for each in new.records]
        second.replace([replace(new, records=records)])
    second.prepare_search()
    second.close()


def texts(store: Store, query: str = "anything", dimension: int = DIMENSION) -> set[str]:
    return {hit.text for hit in store.search(vector(query, dimension), 100)}


OLD = {f"{name} {row}" for name in "abc" for row in range(3)}
NEW = {f"{name} new {row}" for name in "abc" for row in range(2)}


def test_a_second_store_is_seen_by_nobody_until_it_is_swapped(store: ReembeddableStore, open_: Open) -> None:
    assert store.second() is None
    fill(store.begin_second())
    reader = open_(write=False)
    assert texts(reader) == texts(store) == OLD
    assert reader.status().model == "model"
    second = reader.second()
    assert second is not None and (second.status().model, second.status().documents) == ("other", 3)
    second.close()
    store.swap()
    assert store.second() is None and open_(write=False).second() is None
    assert texts(store) == texts(open_(write=False)) == NEW
    status = store.status()
    assert (status.model, status.space, status.documents, status.chunks) == ("other", OTHER.space.id, 3, 6)
    assert list(store.verify()) == []


@pytest.mark.parametrize("dimension", [DIMENSION, 2 * DIMENSION])
def test_who_has_it_open_is_told_and_never_given_both(store: ReembeddableStore, open_: Open, dimension: int) -> None:
    reader = open_(write=False)
    assert texts(reader) == OLD
    fill(store.begin_second(), of=fingerprint(weights="others", dimension=dimension))
    assert texts(reader) == OLD
    store.swap()
    for _ in range(2):
        with pytest.raises(SpaceMismatch, match=r"another model since it was opened .*: open it anew"):
            reader.search(vector("anything"), 3)
    assert texts(open_(write=False), dimension=dimension) == NEW


def test_a_second_store_is_gone_on_with(store: ReembeddableStore, open_: Open) -> None:
    fill(store.begin_second(), "a")
    store.close()
    store = open_()
    fill(store.begin_second(), "bc")
    store.swap()
    assert texts(store) == NEW
    assert set(store.states(["/usr/a", "/usr/b", "/usr/c", "/usr/x"])) == {"/usr/a", "/usr/b", "/usr/c"}
    assert list(store.failures()) == []


def test_a_second_store_knows_the_folders_of_the_first(store: ReembeddableStore, open_: Open) -> None:
    second = store.begin_second()
    assert second.root_list() == [replace(root, documents=0) for root in store.root_list()]
    given = second.given_as("/usr/a")
    assert given is not None and (given.path, given.options) == ("/usr/", {"hidden": True})
    fill(second)
    store.register(["/etc/"])
    store.swap()
    assert [root.path for root in store.root_list()] == ["/usr"]
    store.register(["/etc/"])
    store.replace([replacement("/etc/new", ["more"])])
    assert texts(open_(write=False)) == NEW | {"more"}


def test_a_second_store_that_is_dropped_leaves_nothing(store: ReembeddableStore, open_: Open) -> None:
    store.drop_second()
    fill(store.begin_second())
    store.drop_second()
    assert store.second() is None
    with pytest.raises(StoreError, match="has no second space"):
        store.swap()
    assert texts(store) == OLD
    second = store.begin_second()
    assert second.status().documents == 0
    second.close()


def test_a_second_store_without_a_model_is_not_swapped(store: ReembeddableStore) -> None:
    store.begin_second().close()
    with pytest.raises(StoreError):
        store.swap()
    assert texts(store) == OLD


def test_a_store_goes_on_as_any_after_a_swap(store: ReembeddableStore, open_: Open) -> None:
    fill(store.begin_second())
    store.swap()
    store.bind(OTHER, "other")
    with pytest.raises(SpaceMismatch):
        store.bind(fingerprint(), "model")
    store.stage("/usr/d", [record("/usr/d", 0, "d 0")], "f32")
    store.replace([replacement("/usr/d", ["d 1"], first=1), replacement("/usr/a", ["a newest"])])
    assert texts(store) == (NEW - {"a new 0", "a new 1"}) | {"d 0", "d 1", "a newest"}
    store.close()
    store = open_()
    store.mark_seen(["/usr/d"])
    assert store.remove_unseen(["/usr/"]) == 3
    fill(store.begin_second(), of=fingerprint(weights="third"))
    store.swap()
    assert texts(open_(write=False)) == NEW


def test_a_reader_cannot_change_the_space(store: ReembeddableStore, open_: Open) -> None:
    reader = open_(write=False)
    for change in (reader.swap, reader.drop_second, lambda: reader.rebind(OTHER, "other")):
        with pytest.raises(StoreError):
            change()
    assert texts(reader) == OLD


def test_a_second_store_that_is_open_is_not_swapped(store: ReembeddableStore, place: dict[str, str]) -> None:
    if place["url"].startswith("postgresql"):
        pytest.skip("there the lock of the first store is the only one")
    with closing(store.begin_second()) as second:
        second.bind(OTHER, "other")
        with pytest.raises((StoreBusy, StoreError)):
            store.swap()
        with pytest.raises((StoreBusy, StoreError)):
            store.drop_second()


def test_another_name_of_the_space_is_noted(store: ReembeddableStore, open_: Open) -> None:
    recipe = f"{fingerprint().space.id}-f32/cut"
    store.replace([replace(replacement("/usr/r", ["r"]), state=state("/usr/r", "r", recipe=recipe))])
    store.rebind(OTHER, "moved")
    assert store.states(["/usr/r"])["/usr/r"].recipe == f"{OTHER.space.id}-f32/cut"
    assert store.states(["/usr/a"])["/usr/a"].recipe == "recipe"
    store.bind(OTHER, "other")
    assert texts(store) == OLD | {"r"}
    store.close()
    status = open_(write=False).status()
    assert (status.model, status.space, status.chunks) == ("moved", OTHER.space.id, 10)
    assert list(open_(write=False).verify()) == []


def test_chunks_are_given_as_they_are_stored(store: ReembeddableStore) -> None:
    assert [state.id for state in store.ledger()] == ["/usr/a", "/usr/b", "/usr/c"]
    new = replacement("/usr/long", [f"text {row}" for row in range(2500)])
    paged = [replace(each, chunk=replace(each.chunk, page=3, context="# Title")) for each in new.records]
    store.replace([replace(new, records=paged)])
    assert list(store.chunks_of("/usr/long")) == [each.chunk for each in paged]
    assert list(store.chunks_of("/usr/none")) == []


def test_a_sample_is_of_visible_chunks_and_their_own_vectors(store: ReembeddableStore) -> None:
    store.stage("/usr/s", [record("/usr/s", 0, "staged")], "f32")
    everything = store.sample_chunks(100)
    assert {chunk.input for chunk in everything} == OLD and len(everything) == 9
    for chunk in everything:
        np.testing.assert_array_equal(chunk.vector, vector(chunk.input))
        assert chunk.precision == "f32" and chunk.document.startswith("/usr/")
    some = store.sample_chunks(5)
    assert 1 <= len(some) <= 5 and {chunk.input for chunk in some} <= OLD


# Of a file


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def in_file(sqlite_file: Path) -> Iterator[ReembeddableStore]:
    store = open_store(f"sqlite:{sqlite_file}")
    assert isinstance(store, ReembeddableStore)
    store.bind(fingerprint(), "model")
    store.replace([replacement("/usr/a", ["a 0"])])
    yield store
    store.close()


def test_files_of_a_second_store_go_with_it(in_file: ReembeddableStore, sqlite_file: Path) -> None:
    second = in_file.begin_second()
    second.bind(OTHER, "other")
    second.replace([replacement("/usr/long", [f"text {row}" for row in range(3000)])])
    fill(second)
    made = sqlite_file.with_name("index.db.next.matrix").read_bytes()
    in_file.swap()
    assert not list(sqlite_file.parent.glob("*.next*"))
    assert len(texts(in_file)) == 100
    assert sqlite_file.with_name("index.db.matrix").read_bytes() == made


def test_what_else_has_the_second_s_name_stays(in_file: ReembeddableStore, sqlite_file: Path) -> None:
    other = sqlite_file.with_name("index.db.next")
    other.write_text("a file of the user's")
    assert in_file.second() is None
    in_file.drop_second()
    with pytest.raises(StoreError, match=r"index\.db\.next is no second space .*rename it"):
        in_file.begin_second()
    assert other.read_text() == "a file of the user's"
    other.unlink()
    with closing(open_store(f"sqlite:{other}")) as own:
        own.bind(fingerprint(), "model")
    with pytest.raises(StoreError, match="is no second space"):
        in_file.begin_second()


def test_a_second_store_that_was_only_begun_is_begun_again(in_file: ReembeddableStore, sqlite_file: Path) -> None:
    sqlite_file.with_name("index.db.next").touch()
    sqlite_file.with_name("index.db.next-wal").write_bytes(b"of another file")
    fill(in_file.begin_second())
    in_file.swap()
    assert texts(in_file) == NEW


def test_what_a_swap_that_was_killed_has_left_is_no_second_store(in_file: ReembeddableStore, sqlite_file: Path) -> None:
    second = sqlite_file.with_name("index.db.next")
    fill(in_file.begin_second())
    left = second.read_bytes()
    in_file.swap()
    second.write_bytes(left)  # the kill came before it was removed
    assert in_file.second() is None
    begun = in_file.begin_second()
    assert begun.status().space is None
    begun.close()


# Of a database


@pytest.fixture
def in_database(own_database: str) -> Iterator[ReembeddableStore]:
    store = open_store(own_database, schema="docs")
    assert isinstance(store, ReembeddableStore)
    store.bind(fingerprint(), "model")
    store.replace([replacement("/usr/a", ["a 0"])])
    yield store
    store.close()
    with psycopg.connect(own_database, autocommit=True) as db:
        db.execute("DROP SCHEMA docs CASCADE; DROP SCHEMA IF EXISTS docs_next CASCADE")


def test_what_others_may_do_they_may_after_a_swap(in_database: ReembeddableStore, own_database: str) -> None:
    with psycopg.connect(own_database, autocommit=True) as db:
        db.execute("CREATE ROLE reading_role")
        try:
            db.execute("GRANT USAGE ON SCHEMA docs TO reading_role")
            db.execute("GRANT SELECT ON docs.chunks, docs.paths TO reading_role")
            fill(in_database.begin_second())
            in_database.swap()
            db.execute("SET ROLE reading_role")
            assert db.execute("SELECT count(*) FROM docs.chunks").fetchone() == (6,)
            db.execute("SELECT * FROM docs.paths")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute("SELECT * FROM docs.documents")
            db.execute("RESET ROLE")
            assert db.execute("SELECT to_regnamespace('docs_next')").fetchone() == (None,)
        finally:
            db.execute("RESET ROLE")
            db.execute("DROP OWNED BY reading_role")
            db.execute("DROP ROLE reading_role")


def test_a_view_of_the_user_s_is_named_before_the_work(in_database: ReembeddableStore, own_database: str) -> None:
    with psycopg.connect(own_database, autocommit=True) as db:
        db.execute("CREATE VIEW public.mine AS SELECT text FROM docs.chunks")
        with pytest.raises(StoreError, match=r"mine of the database depends .*drop it, and make it anew"):
            in_database.begin_second()
        db.execute("DROP VIEW public.mine")
        fill(in_database.begin_second())
        db.execute("CREATE VIEW public.mine AS SELECT text FROM docs.chunks")
        with pytest.raises(StoreError, match="mine of the database depends"):
            in_database.swap()
        assert texts(in_database) == {"a 0"}
        db.execute("DROP VIEW public.mine")
        in_database.swap()
        assert texts(in_database) == NEW


def test_a_schema_that_is_the_user_s_stays(in_database: ReembeddableStore, own_database: str) -> None:
    with psycopg.connect(own_database, autocommit=True) as db:
        db.execute("CREATE SCHEMA docs_next")
        db.execute("CREATE TABLE docs_next.mine AS SELECT 1 AS one")
        fill(in_database.begin_second())
        in_database.swap()
        left = db.execute("SELECT relname FROM pg_class WHERE relnamespace = 'docs_next'::regnamespace").fetchall()
        assert left == [("mine",)]
    other = open_store(own_database, schema="docs_next")
    other.bind(fingerprint(), "model")
    other.close()
    assert in_database.second() is None
    with pytest.raises(StoreError, match="is no second space"):
        in_database.begin_second()


def test_a_search_that_goes_on_holds_a_swap_up_and_is_whole(in_database: ReembeddableStore, own_database: str) -> None:
    """A transaction that has begun on the old tables ends on them."""
    fill(in_database.begin_second())
    with psycopg.connect(own_database) as db:
        db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        db.execute(sql.SQL("SET search_path TO docs, public"))
        assert db.execute("SELECT model FROM meta").fetchone() == ("model",)
        in_database.finish_within(1.0)
        with pytest.raises(StoreError):
            in_database.swap()
        assert db.execute("SELECT count(*) FROM chunks").fetchone() == (1,)
