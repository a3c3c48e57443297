"""What every store promises. A new store joins by a line in `PLACES` (tests/store_places.py)."""

from __future__ import annotations

import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import DocumentState, Replacement, StoredChunk, text_hash
from embedmill.core.errors import SpaceMismatch, StoreBusy, StoreError, StoreNotFound
from embedmill.core.interfaces.store import Store
from embedmill.core.spaces import Fingerprint
from embedmill.sources.files.selection import Selection
from embedmill.storage.registry import open_store
from store_children import kill, replacing
from store_places import DURABLE, PLACES
from store_samples import DIMENSION, failure, fingerprint, record, replacement, state, vector
from waiting import until

Open = Callable[..., Store]


@pytest.fixture
def open_(place: dict[str, str]) -> Iterator[Open]:
    """Opens the same store again and again, with the other arguments of `open_store`."""
    opened: list[Store] = []

    def open_it(**arguments: Any) -> Store:
        opened.append(open_store(**place, **arguments))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def store(open_: Open) -> Store:
    store = open_()
    store.bind(fingerprint(), "model")
    return store


def contents(store: Store) -> dict[str, list[tuple[int, str]]]:
    """All visible chunks of a store, by document."""
    found: dict[str, list[tuple[int, str]]] = {}
    for hit in store.search(vector("anything"), 10_000):
        found.setdefault(hit.document, []).append((hit.chunk, hit.text))
    return {document: sorted(chunks) for document, chunks in found.items()}


# The space


def test_a_store_without_vectors_takes_another_model(store: Store, open_: Open) -> None:
    """A first run in which every chunk failed must not bind the store for ever."""
    store.fail("/a", [failure("/a", 0)])
    other = fingerprint(weights="others", dimension=2 * DIMENSION)
    store.bind(other, "other")
    store.close()
    reopened = open_()
    assert (reopened.status().model, reopened.status().space) == ("other", other.space.id)
    reopened.prepare_search()
    assert reopened.search(np.ones(2 * DIMENSION, np.float32), 3) == []


def test_a_store_refuses_a_second_model_of_the_same_dimension(store: Store, open_: Open) -> None:
    store.replace([replacement("/a", ["one"])])
    with pytest.raises(SpaceMismatch, match=r"holds vectors of model \(space .*not of other .*weights.*--store"):
        store.bind(fingerprint(weights="others"), "other")
    store.close()
    with pytest.raises(SpaceMismatch):
        open_().bind(fingerprint(weights="others"), "other")


def test_a_renamed_model_or_another_precision_is_the_same_space(store: Store) -> None:
    store.bind(fingerprint(precision="bf16"), "renamed")
    status = store.status()
    assert (status.model, status.space, status.dimension) == ("model", fingerprint().space.id, DIMENSION)


def test_hits_know_the_page_that_a_chunk_begins_on(store: Store, open_: Open) -> None:
    changed = replacement("/a.pdf", ["one", "two"])
    pages = [replace(each, chunk=replace(each.chunk, page=page)) for page, each in enumerate(changed.records, 3)]
    store.replace([replace(changed, records=pages), replacement("/b", ["three"])])
    store.close()
    for exact in (True, False):
        hits = open_(write=False).search(vector("two"), 3, exact=exact)
        assert {hit.text: hit.page for hit in hits} == {"one": 3, "two": 4, "three": None}


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_a_search_compares_as_the_model_s_card_says(similarity: str, open_: Open) -> None:
    """Flaw: whatever the card said, the inner product decided, by which long vectors win."""
    numbers = np.random.default_rng(11)
    vectors = numbers.normal(size=(200, DIMENSION)) * numbers.uniform(0.2, 5, (200, 1))
    query = vectors[3] + 0.1
    space = replace(fingerprint().space, normalize=False, similarity=similarity)
    with closing(open_()) as store:
        store.bind(Fingerprint(space, "f32"), "model")
        changed = replacement("/a", [f"text {row}" for row in range(200)])
        records = [
            replace(record, vector=vectors[row].astype(np.float32)) for row, record in enumerate(changed.records)
        ]
        store.replace([replace(changed, records=records)])
        store.prepare_search()
    scores = {
        "dot": vectors @ query,
        "cosine": vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query),
        "euclidean": -np.linalg.norm(vectors - query, axis=1),
    }
    best = np.argsort(-scores[similarity])[:20]
    assert len({tuple(np.argsort(-each)[:20]) for each in scores.values()}) == 3
    for exact in (True, False):
        hits = open_(write=False).search(query.astype(np.float32), 20, exact=exact)
        assert [hit.chunk for hit in hits] == best.tolist()
        np.testing.assert_allclose([hit.score for hit in hits], scores[similarity][best], rtol=1e-4, atol=1e-5)


def test_another_similarity_is_no_other_space(store: Store, open_: Open) -> None:
    """What is stored stays, as with another prompt for queries."""
    store.replace([replacement("/a", ["one"])])
    store.bind(Fingerprint(replace(fingerprint().space, similarity="euclidean"), "f32"), "model")
    (hit,) = store.search(vector("one"), 1)
    assert hit.score == pytest.approx(0, abs=1e-3)
    assert list(store.verify()) == []


def test_a_store_that_is_bound_to_nothing_takes_no_vectors(open_: Open) -> None:
    store = open_()
    with pytest.raises(StoreError, match="bind"):
        store.replace([replacement("/a", ["one"])])
    assert (store.status().model, store.status().documents, store.search(vector("x"), 3)) == (None, 0, [])


# Documents


def test_what_was_put_is_found(store: Store, open_: Open) -> None:
    texts = ["first", "second \U0001f600 \0 Ä", ""]
    new = replacement("/a/ü.md", texts)
    store.replace([new])
    for reader in (store, open_(write=False)):
        assert reader.states(["/a/ü.md", "/b"]) == {"/a/ü.md": new.state}
        status = reader.status()
        assert (status.documents, status.chunks, status.failures, status.precision) == (1, 3, 0, ("f32",))
        assert status.bytes > 0
        for item in new.records:
            hit = reader.search(item.vector, 1)[0]
            assert (hit.document, hit.chunk, hit.start, hit.end) == ("/a/ü.md", item.chunk.chunk_index, *span(item))
            assert (hit.line, hit.end_line, hit.text) == (
                item.chunk.line,
                item.chunk.end_line,
                item.chunk.text,
            )
            assert hit.score == pytest.approx(1)


def span(item: Any) -> tuple[int, int]:
    return item.chunk.start, item.chunk.end


def test_a_context_comes_back(store: Store) -> None:
    item = record("/a", 0, "text", context="Title > Part")
    store.replace([replacement("/a", [])])
    store.stage("/a", [item], "f32")
    store.replace([replacement("/a", [])])
    assert store.search(item.vector, 1)[0].context == "Title > Part"


def test_the_same_text_in_two_documents_is_two_rows(store: Store) -> None:
    store.replace([replacement("/a", ["same", "same"]), replacement("/b", ["same"])])
    assert contents(store) == {"/a": [(0, "same"), (1, "same")], "/b": [(0, "same")]}
    store.replace([replacement("/a", ["other"])])
    assert contents(store) == {"/a": [(0, "other")], "/b": [(0, "same")]}


def test_new_rows_take_the_place_of_the_old(store: Store, open_: Open) -> None:
    reader = open_(write=False)
    store.replace([replacement("/a", ["one", "two", "three"]), replacement("/b", ["four"])])
    assert contents(reader) == {"/a": [(0, "one"), (1, "two"), (2, "three")], "/b": [(0, "four")]}
    store.replace([replacement("/a", ["two", "five"])])
    assert contents(reader) == {"/a": [(0, "two"), (1, "five")], "/b": [(0, "four")]}
    assert (reader.status().documents, reader.status().chunks) == (2, 3)


def test_an_empty_document_is_complete(store: Store) -> None:
    empty = replacement("/empty", [])
    store.replace([empty])
    assert store.states(["/empty"]) == {"/empty": empty.state}
    assert (store.status().documents, store.status().chunks) == (1, 0)


def test_a_document_given_twice_at_once_is_the_last_of_the_two(store: Store) -> None:
    store.replace([replacement("/a", ["one"]), replacement("/a", ["two"])])
    assert contents(store) == {"/a": [(0, "two")]}


def test_old_vectors_stay_where_new_ones_cannot_be_stored(store: Store) -> None:
    """Flaw 5: old vectors deleted before the new ones exist; and all documents of a call, or none."""
    store.replace([replacement("/a", ["one"], failures=[failure("/a", 1)]), replacement("/b", ["two"])])
    bad = replacement("/b", ["four"])
    bad = type(bad)(bad.state, "f32", [*bad.records, *bad.records])  # a chunk twice
    with pytest.raises(StoreError):
        store.replace([replacement("/a", ["three"]), bad])
    assert contents(store) == {"/a": [(0, "one")], "/b": [(0, "two")]}
    assert [each.document for each in store.failures()] == ["/a"]
    store.replace([replacement("/a", ["three"])])
    assert contents(store)["/a"] == [(0, "three")]


def test_a_vector_of_another_length_is_refused(store: Store) -> None:
    new = replacement("/a", ["one"])
    wrong = type(new.records[0])(new.records[0].chunk, new.records[0].hash, np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="dimension"):
        store.replace([type(new)(new.state, "f32", [wrong])])
    assert store.status().documents == 0


def test_touch_notes_new_times_of_the_same_content_only(store: Store) -> None:
    store.replace([replacement("/a", ["one"])])
    store.update_stats([state("/a", "one", mtime_ns=99), state("/new", "two")])
    assert store.states(["/a", "/new"]) == {"/a": state("/a", "one", mtime_ns=99)}
    store.update_stats([state("/a", "other", mtime_ns=100)])
    assert store.states(["/a"])["/a"].mtime_ns == 99


def test_unseen_names_what_would_be_removed_in_pages(store: Store, open_: Open) -> None:
    names = [f"/d/{number:04}" for number in range(2500)]
    store.replace([replacement(name, [name]) for name in [*names, "/d/kept/a", "/e"]])
    store.fail("/d/unreadable", [failure("/d/unreadable", -1)])
    store.close()
    store = open_()
    store.mark_seen(names[:10])
    found = [name for page in store.unseen(["/d/"], ["/d/kept/"]) for name in page]
    assert found == [*names[10:], "/d/unreadable"]
    for page in store.unseen(["/d/"]):
        store.mark_seen(page)
    assert store.remove_unseen(["/d/"]) == 0
    assert [name for page in store.unseen(["/d/"]) for name in page] == []


def test_many_ids_at_once(store: Store) -> None:
    names = [f"/n/{number}" for number in range(2500)]
    store.replace([replacement(name, [name]) for name in names])
    assert store.states([*names, "/missing"]).keys() == set(names)
    hashes = [record("", 0, name).hash for name in names]
    assert store.vectors([*hashes, *hashes, b"?" * 32], "f32").keys() == set(hashes)


# Vectors for a second use


def test_vectors_are_found_by_hash_and_precision(store: Store) -> None:
    store.replace([replacement("/a", ["one", "both"]), replacement("/b", ["two", "both"], precision="bf16")])
    one, two, both = (record("", 0, text).hash for text in ("one", "two", "both"))
    assert store.vectors([one, two, both], "f32").keys() == {one, both}
    assert store.vectors([one, two, both], "bf16").keys() == {two, both}
    found = store.vectors([one], "f32")[one]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, vector("one"))
    assert store.status().precision == ("bf16", "f32")


# Parts of large documents


def test_staged_rows_are_seen_only_when_the_document_is_whole(store: Store, open_: Open) -> None:
    reader = open_(write=False)
    store.replace([replacement("/huge", ["old"])])
    store.stage("/huge", [record("/huge", 0, "a"), record("/huge", 1, "b")], "f32")
    store.stage("/huge", [record("/huge", 2, "c")], "f32")
    assert contents(reader) == {"/huge": [(0, "old")]}
    assert (reader.status().documents, reader.status().chunks) == (1, 1)
    assert reader.states(["/huge"])["/huge"] == replacement("/huge", ["old"]).state
    assert len(reader.vectors([record("", 0, "b").hash], "f32")) == 1
    store.replace([replacement("/huge", ["d"], first=3)])
    assert contents(reader) == {"/huge": [(0, "a"), (1, "b"), (2, "c"), (3, "d")]}
    assert (reader.status().documents, reader.status().chunks) == (1, 4)
    store.replace([replacement("/huge", ["new"])])
    assert contents(reader) == {"/huge": [(0, "new")]}


def test_a_killed_run_on_a_huge_document_is_not_repeated_nor_doubled(store: Store, open_: Open) -> None:
    """Flaw 14: a six-day job has no checkpoint."""
    store.stage("/huge", [record("/huge", index, text) for index, text in enumerate("abx")], "f32")
    store.close()  # a kill leaves the same: see the tests of each store
    again = open_()
    assert len(again.vectors([record("", 0, text).hash for text in "abx"], "f32")) == 3
    again.stage("/huge", [record("/huge", 0, "a"), record("/huge", 1, "b")], "f32")
    again.replace([replacement("/huge", ["c"], first=2)])
    assert contents(again) == {"/huge": [(0, "a"), (1, "b"), (2, "c")]}
    assert again.status().chunks == 3
    assert not again.vectors([record("", 0, "x").hash], "f32")


def test_a_document_has_one_precision(store: Store) -> None:
    store.stage("/huge", [record("/huge", 0, "a")], "bf16")
    with pytest.raises(ValueError, match="another precision"):
        store.replace([replacement("/huge", ["b"], first=1, precision="f32")])
    assert store.status().documents == 0


def test_staged_rows_outlive_an_interrupted_run_but_not_a_finished_one(store: Store, open_: Open) -> None:
    staged = record("/d/huge", 0, "a")
    store.stage("/d/huge", [staged], "f32")
    store.remove_unseen(["/d/"])
    assert store.vectors([staged.hash], "f32")
    store.close()
    interrupted = open_()
    interrupted.replace([replacement("/d/b", ["two"])])
    interrupted.close()
    finished = open_()
    finished.mark_seen(["/d/huge", "/d/b"])
    assert finished.remove_unseen(["/e/"]) == 0
    assert finished.vectors([staged.hash], "f32")
    assert finished.remove_unseen(["/d/"], keep=["/d/"]) == 0
    assert finished.vectors([staged.hash], "f32")
    assert finished.remove_unseen(["/d/"]) == 0
    assert not finished.vectors([staged.hash], "f32")


# Failures


def test_failures_come_in_order_and_keep_their_cause(store: Store) -> None:
    given = [failure("/b", 10), failure("/b", 2, "too long"), failure("/b", -1)]
    store.replace([replacement("/b", ["one"], failures=given), replacement("/a", [], failures=[failure("/a", 0)])])
    assert list(store.failures()) == [failure("/a", 0), *sorted(given, key=lambda each: each.index)]
    assert store.failed_documents() == ["/a", "/b"]
    assert store.status().failures == 4


def test_attempts_at_the_same_chunk_are_counted(store: Store) -> None:
    store.replace([replacement("/a", [], failures=[failure("/a", 0), failure("/a", 1)])])
    store.replace([replacement("/a", [], failures=[failure("/a", 1, "again"), failure("/a", 2)])])
    assert [(each.index, each.attempts, each.cause.message) for each in store.failures()] == [
        (1, 2, "again"),
        (2, 1, "worker died"),
    ]
    store.replace([replacement("/a", ["one"])])
    assert list(store.failures()) == []


def test_a_document_that_cannot_be_read_keeps_its_rows(store: Store) -> None:
    store.replace([replacement("/a", ["one"], failures=[failure("/a", 3)])])
    for _ in range(2):
        store.fail("/a", [failure("/a", -1, "permission denied")])
    assert contents(store) == {"/a": [(0, "one")]}
    assert store.states(["/a"])
    assert [(each.index, each.attempts) for each in store.failures()] == [(-1, 2), (3, 1)]
    store.update_stats([state("/a", "one")])
    assert [each.index for each in store.failures()] == [3]


def test_many_failures_while_the_store_is_used(store: Store) -> None:
    store.replace([replacement("/a", [], failures=[failure("/a", index) for index in range(2500)])])
    seen = 0
    for each in store.failures():
        assert each.index == seen
        seen += store.status().documents
    assert seen == 2500


# Documents that vanished


def test_documents_that_vanished_go(store: Store, open_: Open) -> None:
    names = ["/d/a", "/d/b", "/d/sub/c", "/d", "/d_", "/dx/a", "/e/a", "/d0", "/d/é"]
    store.replace([replacement(name, [name]) for name in names])
    store.fail("/d/unread", [failure("/d/unread", -1)])
    store.close()
    store = open_()
    store.mark_seen(["/d/b", "/never/stored"])
    assert store.remove_unseen(["/d/", "/e/a", "/never/"]) == 5
    assert contents(store).keys() == {"/d/b", "/d", "/d_", "/dx/a", "/d0"}
    assert list(store.failures()) == []
    assert store.remove_unseen(["/d/", "/e/a", "/never/"]) == 0


def test_what_could_not_be_listed_has_not_vanished(store: Store, open_: Open) -> None:
    store.replace([replacement(name, [name]) for name in ("/d/a", "/d/locked/b", "/d/locked", "/d/lockedx")])
    store.close()
    store = open_()
    assert store.remove_unseen(["/d/"], keep=["/d/locked/"]) == 3
    assert contents(store).keys() == {"/d/locked/b"}


def test_wildcards_in_scopes_mean_nothing(store: Store, open_: Open) -> None:
    store.replace([replacement(name, [name]) for name in ("/a%/x", "/ab/x", "/a_/x", "/a*/x")])
    store.close()
    store = open_()
    assert store.remove_unseen(["/a%/", "/a_/"]) == 2
    assert contents(store).keys() == {"/ab/x", "/a*/x"}


def test_what_a_run_wrote_has_been_seen(store: Store) -> None:
    store.replace([replacement("/d/a", ["one"])])
    store.fail("/d/b", [failure("/d/b", -1)])
    assert store.remove_unseen(["/d/"]) == 0
    assert (store.status().documents, store.status().failures) == (1, 1)


# Search


def test_search_orders_by_inner_product_and_keeps_ties_stable(store: Store) -> None:
    texts = [f"text {number}" for number in range(300)]
    store.replace([replacement(f"/{name}", texts) for name in "abc"])
    query = vector("query")
    hits = store.search(query, 50)
    expected = sorted((float(vector(text) @ query) for text in texts * 3), reverse=True)[:50]
    np.testing.assert_allclose([hit.score for hit in hits], expected, rtol=1e-5, atol=1e-6)
    order = [(hit.document, hit.chunk) for hit in hits]
    assert [document for document, _ in order] == ["/a", "/b", "/c"] * 16 + ["/a", "/b"]
    assert [(hit.document, hit.chunk) for hit in store.search(query, 50)] == order
    assert [(hit.document, hit.chunk) for hit in store.search(query, 20)] == order[:20]
    assert len(store.search(query, 10_000)) == 900
    assert store.search(query, 0) == []
    assert store.search(query, 50, exact=True) == hits


def test_search_among_the_documents_that_globs_select(store: Store) -> None:
    names = ["/p/src/a.py", "/p/src/b/c.py", "/p/docs/a.md", "/q/a.py"]
    store.replace([replacement(name, [name]) for name in names])

    def found(*globs: str) -> set[str]:
        return {hit.document for hit in store.search(vector("x"), 10, Selection(globs).takes)}

    assert found("*.py") == {"/p/src/a.py", "/p/src/b/c.py", "/q/a.py"}
    assert found("src/**/*.py") == {"/p/src/a.py", "/p/src/b/c.py"}
    assert found("/p/**") == {"/p/src/a.py", "/p/src/b/c.py", "/p/docs/a.md"}
    assert found("*.rs") == set()
    assert found("p", "!src") == {"/p/docs/a.md"}
    [hit] = store.search(vector("/q/a.py"), 1, Selection(["*.md"]).takes)
    assert hit.document == "/p/docs/a.md"


def test_search_refuses_a_query_that_cannot_be_compared(store: Store) -> None:
    store.replace([replacement("/a", ["one"])])
    with pytest.raises(ValueError, match="shape"):
        store.search(np.ones(3, np.float32), 1)
    for odd in (None, "text", [None]):
        with pytest.raises(ValueError, match="give an array of numbers"):
            store.search(odd, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite"):
        store.search(np.full(DIMENSION, np.nan, np.float32), 1)


def test_a_reader_sees_each_transaction_as_it_is_made(store: Store, open_: Open) -> None:
    reader = open_(write=False)
    for number in range(5):
        store.replace([replacement(f"/{number}", [f"text {number}"])])
        assert reader.search(vector(f"text {number}"), 1)[0].document == f"/{number}"
        reader.prepare_search()
    assert reader.status().documents == 5


# Runs and readers


def test_readers_beside_a_writer_see_whole_versions_only(store: Store, open_: Open) -> None:
    names = [f"/d/{number}" for number in range(5)]
    ended = threading.Event()
    seen: list[set[str]] = []

    def read(reader: Store) -> None:
        while not ended.is_set():
            found = contents(reader)
            assert not found or found.keys() == set(names)
            seen.append({text.split()[0] for chunks in found.values() for _, text in chunks})
            assert sum(map(len, found.values())) in (0, 20)

    with ThreadPoolExecutor(2) as threads:
        reading = [threads.submit(read, open_(write=False)) for _ in range(2)]
        try:
            for version in range(40):
                store.replace([replacement(name, [f"{version} {index}" for index in range(4)]) for name in names])
        finally:
            ended.set()
        for each in reading:
            each.result(30)
    assert all(len(versions) <= 1 for versions in seen)
    assert len(set().union(*seen)) > 1


def test_two_runs_on_one_store_exclude_each_other(store: Store, open_: Open) -> None:
    with pytest.raises(StoreBusy, match="wait"):
        open_()
    open_(write=False).close()
    store.close()
    open_().close()


def test_reading_needs_a_store_and_writes_nothing(open_: Open, place: dict[str, str]) -> None:
    with pytest.raises(StoreNotFound, match=r"no (store at|schema) .*embedmill index"):
        open_(write=False)
    with pytest.raises(StoreNotFound, match=r"no (store at|schema) .*embedmill index"):
        open_(create=False)
    assert traces(place) == []
    open_().close()
    assert traces(place)
    reader = open_(write=False)
    with pytest.raises(StoreError, match="opened for reading"):
        reader.replace([replacement("/a", ["one"])])


def traces(place: dict[str, str]) -> list[Any]:
    """What there is where a store may be."""
    if place["url"].startswith("memory:"):
        with suppress(StoreNotFound):
            open_store(**place, write=False).close()
            return [place]
        return []
    if "schema" in place:
        with psycopg.connect(place["url"]) as connection:
            return connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [place["schema"]]).fetchall()
    return list(Path(place["url"].partition(":")[2]).parent.parent.rglob("*"))


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    for use in (
        store.status,
        lambda: store.replace([]),
        lambda: list(store.failures()),
        lambda: list(store.verify()),
        lambda: list(store.chunks()),
    ):
        with pytest.raises(StoreError, match="closed"):
            use()


# Kills


@pytest.mark.parametrize("place", DURABLE, indirect=True)
def test_a_kill_at_any_moment_leaves_each_document_whole_in_one_version(open_: Open, place: dict[str, str]) -> None:
    """Flaws 5 and 7: "processed" is written before the vectors; the ledger says done and documents miss."""
    moments = random.Random(7)
    for _ in range(8):
        writer = replacing(place)
        time.sleep(moments.uniform(0, 0.15))
        kill(writer)
        reader = open_(write=False)
        assert list(reader.verify()) == []
        found = contents(reader)
        assert all(len({text.split()[0] for _, text in chunks}) == 1 for chunks in found.values())
        assert all([index for index, _ in chunks] == list(range(10)) for chunks in found.values())
        assert (reader.status().documents, reader.status().chunks) == (len(found), 10 * len(found))
        reader.close()
    store = open_()
    store.bind(fingerprint(), "model")
    names = [f"/d/{number}" for number in range(40)]
    store.replace([replacement(name, [f"{name} {index}" for index in range(10)]) for name in names[:20]])
    store.mark_seen(names)
    assert store.remove_unseen(["/d/"]) == 0
    assert staged_versions(place) == 0
    assert contents(store).keys() == set(found) | set(names[:20])
    assert list(store.verify()) == []


def staged_versions(place: dict[str, str]) -> int:
    """Versions of documents that nobody sees."""
    return int(statement(place, "SELECT count(*) FROM documents WHERE NOT complete")[0][0])


def statement(place: dict[str, str], query: str) -> list[tuple[Any, ...]]:
    """Execute a statement behind the store's back."""
    if "schema" not in place:
        with closing(sqlite3.connect(place["url"].removeprefix("sqlite:"), isolation_level=None)) as db:
            return db.execute(query).fetchall()
    with psycopg.connect(place["url"], autocommit=True) as connection:
        connection.execute("SELECT set_config('search_path', quote_ident(%s) || ', public', false)", [place["schema"]])
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []


# Contents


def test_all_chunks_are_given_out_as_they_are_stored(store: Store, open_: Open) -> None:
    assert list(store.chunks()) == []
    store.replace([replacement("/a", ["one", "two\0"], failures=[failure("/a", 2)]), replacement("/b", [])])
    store.replace([replacement("/c", ["three"], precision="bf16")])
    store.stage("/huge", [record("/huge", 7, "part")], "bf16")  # unseen
    with_context = Replacement(state("/d"), "f32", [record("/d", 0, "four", "Heading")])
    store.replace([with_context])
    found = {(each.document, each.index): each for each in open_(write=False).chunks()}
    assert {key: (each.input, each.precision, each.tokens, each.line) for key, each in found.items()} == {
        ("/a", 0): ("one", "f32", 7, 1),
        ("/a", 1): ("two\0", "f32", 7, 2),
        ("/c", 0): ("three", "bf16", 7, 1),
        ("/d", 0): ("Heading\n\nfour", "f32", 7, 1),
    }
    np.testing.assert_array_equal(found["/a", 1].vector, vector("two\0"))


def test_what_is_written_meanwhile_is_not_among_the_chunks(store: Store) -> None:
    store.replace([replacement("/a", ["one", "two"])])
    given = store.chunks()
    first = next(given)
    store.replace([replacement("/a", ["three"]), replacement("/b", ["four"])])
    assert {first.input, *(each.input for each in given)} == {"one", "two"}


# Soundness


def test_a_sound_store_has_no_problems(store: Store, open_: Open) -> None:
    assert list(store.verify()) == []
    store.replace([replacement("/a", ["one", "two\0"], failures=[failure("/a", 2)]), replacement("/b", [])])
    store.replace([replacement("/c", [], failures=[failure("/c", index) for index in range(3)])])
    store.stage("/huge", [record("/huge", 7, "part")], "bf16")
    store.fail("/unread", [failure("/unread", -1)])
    store.prepare_search()
    store.search(vector("one"), 3)
    assert list(store.verify()) == []
    assert list(open_(write=False).verify()) == []


@pytest.mark.parametrize("place", DURABLE, indirect=True)
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE documents SET chunks = 7 WHERE name = '/b'", ["/b: the ledger says 7 chunks, and there are 3"]),
        (
            "DELETE FROM chunks WHERE idx = 1 AND document IN (SELECT id FROM documents WHERE name = '/b')",
            [
                "/b: the ledger says 3 chunks, and there are 2",
                "/b: 1 of its 3 chunks have neither a row nor a failure",
            ],
        ),
        ("DELETE FROM failures WHERE idx = 2", ["/a: 1 of its 4 chunks have neither a row nor a failure"]),
        ("UPDATE chunks SET text = 'other' WHERE text = 'five'", ["/b: chunk 1: its hash is not that of its text"]),
        ("UPDATE chunks SET context = 'x' WHERE text = 'five'", ["/b: chunk 1: its hash is not that of its text"]),
        (
            "UPDATE {vectors} SET vector = {twice} WHERE {five}",
            ["/b: chunk 1: its vector is unsound: .*length is 2, not 1"],
        ),
        ("UPDATE {vectors} SET vector = {zeros} WHERE {five}", ["/b: chunk 1: its vector is unsound: .*zeros"]),
        ("DELETE FROM meta {where}", ["the store holds chunks, but is bound to no space"]),
    ],
)
def test_what_is_not_sound_is_told(store: Store, place: dict[str, str], damage: str, said: list[str]) -> None:
    store.replace(
        [
            replacement("/a", ["one", "two"], failures=[failure("/a", 2), failure("/a", 3)]),
            replacement("/b", ["four", "five", "six"]),
        ]
    )
    store.prepare_search()
    statement(place, damage.format(**_words(place)))
    found = [str(each) for each in store.verify()]
    assert len(found) >= len(said)
    for line in said:
        assert any(re.fullmatch(line, each) for each in found), found
    assert not any("\n" in each for each in found)


def _words(place: dict[str, str]) -> dict[str, str]:
    """What the two databases say differently."""
    twice, zeros = 2 * vector("five"), np.zeros(DIMENSION, np.float32)
    if "schema" in place:
        vectors = {"twice": f"'{twice.tolist()}'", "zeros": f"'{zeros.tolist()}'"}
        return vectors | {"vectors": "chunks", "five": "text = 'five'", "where": ""}
    vectors = {"twice": f"x'{twice.tobytes().hex()}'", "zeros": f"x'{zeros.tobytes().hex()}'"}
    five = "chunk = (SELECT id FROM chunks WHERE text = 'five')"
    return vectors | {"vectors": "vectors", "five": five, "where": "WHERE key <> 'generation'"}


def test_the_ledger_is_told_whole_and_in_order(store: Store) -> None:
    new = [replacement(f"/{number:04}", [f"{number}"]) for number in range(2500)]
    store.replace([*new, replacement("/none", [])])
    store.stage("/staged", [record("/staged", 0, "part")], "f32")
    listed = list(store.ledger())
    assert [state.id for state in listed] == sorted(state.id for state in listed)
    assert {state.id: state for state in listed} == {
        each.state.id: each.state for each in [*new, replacement("/none", [])]
    }


def test_a_finding_leads_to_its_chunk_which_is_rewritten_or_removed(store: Store, open_: Open) -> None:
    store.replace([replacement("/a", ["one", "two"]), replacement("/b", ["three"])])
    store.stage("/a", [record("/a", 0, "part")], "f32")
    seen: list[StoredChunk] = []
    assert list(store.verify(seen.append)) == []
    found = {
        each.input: Finding(DamageKind.VECTOR_WRONG, "", each.document, each.index, each.name)
        for each in seen
        if each.input != "part"
    }
    nothing = replace(found["one"], index=9)
    (two, none) = store.read_chunks([found["two"], nothing])
    assert none is None and two is not None
    assert (two.document, two.index, two.input, two.precision) == ("/a", 1, "two", "f32")
    np.testing.assert_array_equal(two.vector, vector("two"))
    store.rewrite([(found["two"], vector("other")), (nothing, vector("other"))])
    store.prepare_search()
    assert store.search(vector("other"), 1)[0].text == "two"
    assert list(store.verify()) == []
    store.discard([replace(found["one"], kind=DamageKind.TEXT)])
    assert contents(open_(write=False)) == {"/a": [(1, "two")], "/b": [(0, "three")]}
    store.fail("/gone", [failure("/gone", 3)])
    (stray,) = (each for each in store.verify() if each.kind is DamageKind.FAILURE_STRAY)
    assert (stray.document, stray.index) == ("/gone", 3)
    store.discard([stray])
    assert list(store.failures()) == []


def _alter(store: Store, place: dict[str, str], words: str) -> None:
    """Flip the lowest bit of the vector of a text, behind the store's back."""
    flipped = vector(words)
    flipped.view(np.uint32)[0] ^= np.uint32(1)
    if place["url"].startswith("memory:"):
        (kept,) = store.vectors([text_hash("", words)], "f32").values()
        kept[:] = flipped
    elif "schema" in place:
        statement(place, f"UPDATE chunks SET vector = '{flipped.tolist()}' WHERE text = '{words}'")
    else:
        chunk = f"(SELECT id FROM chunks WHERE text = '{words}')"
        statement(place, f"UPDATE vectors SET vector = x'{flipped.tobytes().hex()}' WHERE chunk = {chunk}")


def test_a_vector_that_was_altered_is_told_and_not_handed_on(store: Store, place: dict[str, str]) -> None:
    store.replace([replacement("/a", ["one", "two"])])
    _alter(store, place, "one")
    seen: list[StoredChunk] = []
    (found,) = store.verify(seen.append)
    assert (found.kind, found.document, found.index) == (DamageKind.VECTOR_ALTERED, "/a", 0)
    assert [each.input for each in seen] == ["two"]
    one, two = text_hash("", "one"), text_hash("", "two")
    assert store.vectors([one, two], "f32").keys() == {two}
    store.rewrite([(found, vector("one"))])
    assert list(store.verify()) == []
    np.testing.assert_array_equal(store.vectors([one], "f32")[one], vector("one"))


def test_a_reader_knows_whether_another_writes(store: Store, open_: Open) -> None:
    store.replace([replacement("/a", ["one"])])
    reader = open_(write=False)
    assert (store.written_by_others(), reader.written_by_others()) == (False, True)
    store.close()
    until(lambda: not reader.written_by_others())  # a server notices it a moment later


def test_a_store_is_verified_as_it_was_when_that_began(store: Store) -> None:
    store.replace([replacement(f"/{number}", [f"{number}"]) for number in range(3000)])
    lines = store.verify()
    store.replace([replacement(f"/{number}", [f"new {number}"]) for number in range(0, 3000, 2)])
    assert list(lines) == []
    assert store.status().documents == 3000


# All of it together, against a model in plain Python

NAMES = st.sampled_from(["/d/a", "/d/b", "/d/sub/c", "/e/a"])
TEXTS = st.lists(st.sampled_from(["one", "two", "three", "same"]), max_size=4)


@pytest.mark.parametrize("scheme", PLACES)
def test_a_store_equals_its_model_whatever_is_done(scheme: str, request: pytest.FixtureRequest) -> None:
    class Model(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.place = PLACES[scheme](request)
            self.whole: dict[str, list[str]] = {}
            self.ledger: dict[str, DocumentState] = {}
            self.failed: dict[tuple[str, int], int] = {}
            self.open_store()

        def open_store(self) -> None:
            self.staged: dict[str, list[str]] = {}
            self.seen: set[str] = set()
            self.store = open_store(**self.place)
            self.store.bind(fingerprint(), "model")

        @rule()
        def another_run(self) -> None:
            self.store.close()
            self.open_store()

        @rule(name=NAMES, texts=TEXTS)
        def stage(self, name: str, texts: list[str]) -> None:
            parts = self.staged.setdefault(name, [])
            items = [record(name, index, text) for index, text in enumerate(texts, len(parts))]
            self.store.stage(name, items, "f32")
            parts += texts
            self.seen.add(name)

        @rule(new=st.dictionaries(NAMES, st.tuples(TEXTS, st.booleans()), max_size=3))
        def replace(self, new: dict[str, tuple[list[str], bool]]) -> None:
            replacements = []
            for name, (texts, fails) in new.items():
                parts = self.staged.pop(name, [])
                broken = [failure(name, 99)] if fails else []
                replacements.append(replacement(name, texts, first=len(parts), failures=broken))
                self.whole[name] = parts + texts
                self.ledger[name] = replacements[-1].state
                before = self.failed.get((name, 99), 0)
                self.failed = {key: n for key, n in self.failed.items() if key[0] != name}
                if fails:
                    self.failed[name, 99] = before + 1
            self.store.replace(replacements)
            self.seen |= new.keys()

        @rule(name=NAMES)
        def fail(self, name: str) -> None:
            self.store.fail(name, [failure(name, -1)])
            self.failed[name, -1] = self.failed.get((name, -1), 0) + 1
            self.seen.add(name)

        @rule(names=st.lists(NAMES))
        def see(self, names: list[str]) -> None:
            self.store.mark_seen(names)
            self.seen |= set(names)

        @rule(keep=st.sampled_from([[], ["/d/sub/"], ["/d/a"]]))
        def remove_unseen(self, keep: list[str]) -> None:
            known = self.whole.keys() | {name for name, _ in self.failed}
            gone = {
                name
                for name in known - self.seen
                if name.startswith("/d/") and not any(name == scope or name.startswith(scope) for scope in keep)
            }
            assert self.store.remove_unseen(["/d/"], keep) == len(gone)
            for name in gone:
                self.whole.pop(name, None)
                self.ledger.pop(name, None)
            self.failed = {key: n for key, n in self.failed.items() if key[0] not in gone}

        @invariant()
        def is_as_the_model(self) -> None:
            names = ["/d/a", "/d/b", "/d/sub/c", "/e/a"]
            assert contents(self.store) == {name: list(enumerate(texts)) for name, texts in self.whole.items() if texts}
            assert self.store.states(names) == self.ledger
            assert [(each.document, each.index, each.attempts) for each in self.store.failures()] == sorted(
                (*key, attempts) for key, attempts in self.failed.items()
            )
            status = self.store.status()
            assert (status.documents, status.chunks) == (len(self.whole), sum(map(len, self.whole.values())))

        def teardown(self) -> None:
            self.store.close()

    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_a_further_run_begins_anew(store: Store) -> None:
    store.replace([replacement("/a", ["one"]), replacement("/b", ["two"])])
    assert store.remove_unseen(["/"]) == 0
    store.forget_seen()
    store.mark_seen(["/b"])
    assert (store.remove_unseen(["/"]), contents(store)) == (1, {"/b": [(0, "two")]})
