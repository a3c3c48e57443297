"""What `write` promises of every store: chunks of one's own in, the same chunks out, and nothing beside it touched."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import embedmill
from embedmill.api.chunk_store import ChunkStore, open_store
from embedmill.core.documents import Chunk, Provenance
from embedmill.core.errors import ChunksRefused, SpaceMismatch, StoreBusy, StoreError, StoreNotFound, UsageError
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Cause, Vector
from store_samples import DIMENSION, failure, fingerprint, replacement, vector

Open = Callable[..., ChunkStore]

numbers = itertools.count()


@pytest.fixture
def open_(place: dict[str, str]) -> Iterator[Open]:
    opened: list[ChunkStore] = []

    def open_it(**arguments: Any) -> ChunkStore:
        opened.append(open_store(**place, **arguments))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def store(open_: Open) -> ChunkStore:
    return open_()


@pytest.fixture
def memory() -> Iterator[ChunkStore]:
    """For what is settled before a store is asked."""
    with open_store(f"memory:own {next(numbers)}") as store:
        yield store


def chunk(text: str, source: str = "a", index: int = 0, *, precision: str = "f32", **more: Any) -> Chunk:
    """A chunk as a generator gives it."""
    bare = Chunk(text, source, chunk_index=index, **more)
    origin = Provenance(fingerprint(precision=precision), "model", bare.hash)
    return replace(bare, embedding=vector(bare.input), provenance=origin)


def failed(text: str, source: str = "a", index: int = 0, message: str = "the model gave NaN") -> Chunk:
    return Chunk(text, source, chunk_index=index, cause=Cause("InvalidVector", message))


def counts(report: embedmill.WriteReport) -> tuple[int, int, int, int]:
    return report.inserted, report.updated, report.unchanged, report.failed


def vectors(store: ChunkStore) -> dict[tuple[str, int], Vector]:
    return {
        (each.source_file, each.chunk_index): each.embedding for each in store.chunks() if each.embedding is not None
    }


# What is written comes back


def test_chunks_come_back_as_they_were_given(store: ChunkStore, open_: Open) -> None:
    places = {"token_count": 7, "start": 3, "end": 9, "line": 2, "end_line": 4, "page": 5}
    given = [
        chunk("first \0 \U0001f600", "a/b.md", 0, context="Title > \0 Part", total_chunks=2, **places),
        chunk("second", "a/b.md", 1, source_category="recipes", document_date="May 2024"),
        chunk("", "https://example.org/x?y=z", 4, document_date=date(2024, 5, 1)),
        chunk("third", "", 0, document_date=datetime(2024, 5, 1, 12, 30, tzinfo=UTC)),
        chunk(
            "fourth", "z", 2, metadata={"nul": "\0", "big": 1e300, "n": None, "deep": [{"a": [1, 2.5, True]}], "Ä": ""}
        ),
    ]
    report = store.write(given)
    assert counts(report) == (5, 0, 0, 0)
    for reader in (store, open_(write=False)):
        found = list(reader.chunks())
        by_place = {(each.source_file, each.chunk_index): each for each in given}
        assert sorted((each.source_file, each.chunk_index) for each in found) == sorted(by_place)
        for each in found:
            known = by_place[each.source_file, each.chunk_index]
            assert each == known
            assert type(each.document_date) is type(known.document_date)
            assert each.embedding is not None and known.embedding is not None
            assert each.embedding.tobytes() == known.embedding.tobytes()
            assert each.embedding.flags.writeable
            assert each.provenance == known.provenance
        assert list(reader.chunks("a/b.md")) == given[:2]
        assert list(reader.chunks("", "nothing")) == [given[3]]
        assert reader.vector_count() == 5
        assert (reader.status().documents, reader.status().chunks) == (4, 5)
        hit = reader.search(given[4].embedding, 1)[0]  # type: ignore[arg-type]
        assert (hit.document, hit.chunk, hit.text, hit.metadata) == ("z", 2, "fourth", given[4].metadata)
        (hit,) = reader.search(given[1].embedding, 1)  # type: ignore[arg-type]
        assert (hit.source_category, hit.document_date) == ("recipes", "May 2024")


SOURCES = ["", "a.md", "./a", "/", "/abs/a.md", "0/x", "00/x", "1/x", "17/", "https://e.org/1", "C:\\x", "é\0\n", "%_'"]


def test_any_text_may_be_a_source(open_: Open, tmp_path: Path) -> None:
    with open_() as store:
        store.store.bind(fingerprint(), "model")
        store.store.register([f"{tmp_path}/"])
        store.write([each for source in SOURCES for each in (chunk(f"in {source}", source), failed("x", source, 1))])
    with open_(write=False) as reader:
        assert sorted(each.source_file for each in reader.chunks()) == sorted(SOURCES)
        assert sorted(each.document for each in reader.failures()) == sorted(SOURCES)
        for source in SOURCES:
            assert [each.source_file for each in reader.chunks(source)] == [source]
            assert reader.search(vector(f"in {source}"), 1)[0].document == source
    with open_() as store:
        for source in SOURCES:
            assert (store.remove(source), store.remove(source), list(store.chunks(source))) == (1, 0, [])
        assert (store.vector_count(), list(store.failures())) == (0, [])


def test_the_given_chunks_are_not_changed_and_not_kept(store: ChunkStore) -> None:
    metadata = {"tags": ["a"]}
    given = chunk("text", metadata=metadata)
    before = replace(given, metadata={"tags": ["a"]})
    store.write([given])
    assert given == before
    metadata["tags"].append("b")
    assert given.embedding is not None
    given.embedding[:] = 0
    (found,) = store.chunks()
    assert found.metadata == {"tags": ["a"]}
    assert vectors(store)["a", 0].tolist() == vector("text").tolist()


def test_equal_texts_of_two_documents_stay_two_rows(store: ChunkStore) -> None:
    assert counts(store.write([chunk("same", "a"), chunk("same", "b"), chunk("same", "b", 1)])) == (3, 0, 0, 0)
    assert {(hit.document, hit.chunk) for hit in store.search(vector("same"))} == {("a", 0), ("b", 0), ("b", 1)}
    assert store.vector_count() == 3


# Writing again


def test_writing_the_same_again_changes_nothing(store: ChunkStore, open_: Open) -> None:
    given = [chunk("one", "a", 0, metadata={"b": 1, "a": 2}), chunk("two", "b", 3), failed("three", "b", 4)]
    assert counts(store.write(given)) == (2, 0, 0, 1)
    before = list(store.failures())
    writes: list[object] = []
    replace_, store.store.replace = store.store.replace, writes.append  # type: ignore[method-assign]
    assert counts(store.write([replace(given[0], metadata={"a": 2, "b": 1}), *given[1:]])) == (0, 0, 2, 1)
    assert (writes, list(store.failures())) == ([], before)
    store.store.replace = replace_  # type: ignore[method-assign]
    store.close()
    with open_() as again:
        assert counts(again.write(given)) == (0, 0, 2, 1)
        assert list(again.failures()) == before


CHANGES: list[dict[str, Any]] = [
    {"metadata": {"a": True}},  # which is equal to 1 for Python
    {"metadata": {"a": 1.0}},
    {"metadata": {}},
    {"source_category": "other"},
    {"document_date": "2024-05-01"},  # as text, not as a date
    {"total_chunks": 9},
    {"token_count": 9},
    {"start": 1},
    {"line": 9},
    {"page": 2},
    {"embedding": vector("another")},
]


def test_what_has_changed_is_updated(store: ChunkStore) -> None:
    first = chunk("one", metadata={"a": 1}, document_date=date(2024, 5, 1))
    for change in CHANGES:
        store.write([first, chunk("two", index=1)])
        changed = replace(first, **change)
        assert counts(store.write([changed])) == (0, 1, 0, 0), change
        found = next(store.chunks())
        assert found == changed
        assert repr(found.metadata) == repr(changed.metadata)
        assert vectors(store)["a", 0].tolist() == changed.embedding.tolist()  # type: ignore[union-attr]
        assert counts(store.write([changed])) == (0, 0, 1, 0)


def test_another_text_or_context_is_updated(store: ChunkStore) -> None:
    store.write([chunk("one"), chunk("two", index=1)])
    assert counts(store.write([chunk("uno"), chunk("two", index=1, context="Two")])) == (0, 2, 0, 0)
    assert [(each.text, each.context) for each in store.chunks()] == [("uno", ""), ("two", "Two")]
    assert {hit.text for hit in store.search(vector("uno"))} == {"uno", "two"}


def test_chunks_that_are_not_given_stay(store: ChunkStore) -> None:
    store.write([chunk(f"text {index}", "a", index) for index in range(5)] + [failed("bad", "a", 7), chunk("b", "b")])
    before = {each.chunk_index: each for each in store.chunks("a")}
    assert counts(store.write([chunk("new", "a", 2), chunk("more", "a", 9)])) == (1, 1, 0, 0)
    after = {each.chunk_index: each for each in store.chunks("a")}
    assert after == before | {2: chunk("new", "a", 2), 9: chunk("more", "a", 9)}
    assert [(each.index, each.attempts) for each in store.failures()] == [(7, 1)]
    assert [each.source_file for each in store.chunks("b")] == ["b"]


def test_documents_may_have_gaps(store: ChunkStore) -> None:
    store.write([chunk("five", index=5), failed("nine", index=9), chunk("zero", "b")])
    assert list(store.store.verify()) == []


# Failures


def test_a_failed_chunk_is_on_record(store: ChunkStore) -> None:
    long = Cause("ValueError", "a message \0 \ud800")
    assert counts(store.write([chunk("one"), replace(failed("two", index=1), cause=long), failed("x", "b")])) == (
        1,
        0,
        0,
        2,
    )
    assert [(each.document, each.index, each.cause.type) for each in store.failures()] == [
        ("a", 1, "ValueError"),
        ("b", 0, "InvalidVector"),
    ]
    assert (store.status().documents, store.status().chunks, store.status().failures) == (2, 1, 2)
    assert list(store.store.verify()) == []
    assert counts(store.write([chunk("two", index=1)])) == (1, 0, 0, 0)
    assert [each.document for each in store.failures()] == ["b"]


def test_a_text_that_fails_now_takes_the_vector_of_the_one_before(store: ChunkStore) -> None:
    store.write([chunk("one"), chunk("two", index=1)])
    assert counts(store.write([failed("another", index=0), failed("two", index=1)])) == (0, 0, 1, 1)
    assert [each.text for each in store.chunks()] == ["two"]
    assert [each.index for each in store.failures()] == [0]


def test_failures_alone_bind_no_store(store: ChunkStore) -> None:
    store.write([failed("one")])
    assert (store.status().model, store.vector_count()) == (None, 0)
    assert counts(store.write([chunk("one")])) == (1, 0, 0, 0)


def test_a_text_that_is_none_can_have_failed(store: ChunkStore) -> None:
    """The generator leaves such in its list."""
    broken = replace(failed(""), text=None)
    assert counts(store.write([broken])) == (0, 0, 0, 1)
    store.write([chunk("one")])
    assert counts(store.write([broken])) == (0, 0, 0, 1)
    assert store.vector_count() == 0


# What is refused

LARGE = 2**31


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (Chunk("x"), "no embedding"),
        (replace(chunk("x"), provenance=None), "embedder="),
        (replace(chunk("x"), text="y"), "another text"),
        (replace(chunk("x"), embedding=np.ones(3, np.float32)), r"shape \(3,\), the model's are of \(8,\)"),
        (replace(chunk("x"), embedding=np.ones((1, 8), np.float32)), "shape"),
        (replace(chunk("x"), embedding=np.float32(3)), "shape"),
        (replace(chunk("x"), embedding="text"), "shape"),
        (replace(chunk("x"), embedding=[[1], [1, 2]]), "shape"),
        (replace(chunk("x"), embedding=np.full(8, np.nan, np.float32)), "NaN"),
        (replace(chunk("x"), embedding=np.full(8, 1e300)), "infinite"),
        (replace(chunk("x"), embedding=np.zeros(8, np.float32)), "zeros"),
        (replace(chunk("x"), embedding=np.ones(8, np.float32)), "length is"),
        (replace(chunk("x"), text=None), "its text is a NoneType"),
        (replace(chunk("x"), text="\ud800"), "text is not valid Unicode"),
        (replace(chunk("x"), source_file="\ud800"), "source_file is not valid Unicode"),
        (replace(chunk("x"), source_file=Path("x")), "source_file is a PosixPath"),
        (replace(chunk("x"), source_file="x" * 2049), "source_file has more than 2,048 bytes"),
        (replace(chunk("x"), source_category=3), "source_category is a int"),
        (replace(chunk("x"), document_date=3), "document_date is a int"),
        (replace(chunk("x"), document_date="\ud800"), "document_date is not valid"),
        (replace(chunk("x"), chunk_index=-1), "chunk_index is -1"),
        (replace(chunk("x"), chunk_index=True), "chunk_index is True"),
        (replace(chunk("x"), chunk_index=LARGE), f"chunk_index is {LARGE}"),
        (replace(chunk("x"), chunk_index="1"), "chunk_index is '1'"),
        (replace(chunk("x"), total_chunks=-1), "total_chunks is -1"),
        (replace(chunk("x"), page=0), "page is 0"),
        (replace(chunk("x"), end=1.5), "end is 1.5"),
        (replace(chunk("x"), metadata=None), "metadata is a NoneType"),
        (replace(chunk("x"), metadata={"a": {1}}), "no JSON.*set"),
        (replace(chunk("x"), metadata={"a": float("nan")}), "no JSON"),
        (replace(chunk("x"), metadata={"a": (1, 2)}), "lists instead of tuples"),
        (replace(chunk("x"), metadata={1: 2}), "text as keys"),
        (replace(chunk("x"), metadata={"a": 1, 2: 2}), "no JSON"),
        (replace(chunk("x"), metadata={"a": "\ud800"}), "not valid Unicode"),
        (replace(chunk("x"), metadata={"a": np.float32(1)}), "no JSON.*float32"),
        (replace(failed("x"), chunk_index=-1), "chunk_index is -1"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is(bad: Chunk, says: str, memory: ChunkStore) -> None:
    good = [chunk("one", "other"), chunk("two", "other", 1)]
    with pytest.raises(
        ChunksRefused, match=rf"^2 of 4 chunks cannot be stored, and nothing was written: .*{says}"
    ) as error:
        memory.write([good[0], bad, good[1], replace(bad, source_file="b", chunk_index=-1)])
    assert "\n" not in str(error.value)
    assert list(error.value.causes) == [1, 3]
    assert (memory.status().documents, memory.vector_count()) == (0, 0)


def test_numbers_of_numpy_and_lists_of_numbers_will_do(store: ChunkStore) -> None:
    given = chunk("x", index=2)
    assert given.embedding is not None
    odd = replace(given, chunk_index=np.int64(2), embedding=given.embedding.astype(np.float64).tolist())
    store.write([odd])
    assert counts(store.write([given])) == (0, 0, 1, 0)


def test_two_chunks_of_one_place_are_refused(store: ChunkStore) -> None:
    given = [chunk("a", "x"), chunk("b", "y"), chunk("c", "x"), chunk("d", "x", 1), failed("e", "x", 1)]
    with pytest.raises(ChunksRefused, match=r"chunks 0, 2 are all number 0 of 'x'") as error:
        store.write(given)
    assert list(error.value.causes) == [0, 2, 3, 4]
    assert store.vector_count() == 0


@pytest.mark.parametrize("given", ["text", b"bytes", Chunk("x"), 3, None, ["text"], [chunk("x"), None]])
def test_only_chunks_are_taken(given: Any, memory: ChunkStore) -> None:
    with pytest.raises(TypeError, match="expected a list of chunks"):
        memory.write(given)
    assert memory.vector_count() == 0


def test_any_iterable_of_chunks_will_do_and_none_at_all(store: ChunkStore) -> None:
    assert counts(store.write(chunk(str(index), index=index) for index in range(3))) == (3, 0, 0, 0)
    assert counts(store.write([])) == (0, 0, 0, 0)
    assert store.vector_count() == 3


# Of which model


class Ours:
    """An embedder's name and fingerprint."""

    name = "ours"

    def __init__(self, known: Fingerprint) -> None:
        self.fingerprint = known


def test_own_vectors_need_a_word_about_their_model(store: ChunkStore) -> None:
    bare = replace(chunk("x"), provenance=None)
    with pytest.raises(ChunksRefused, match="embedder="):
        store.write([bare])
    store.write([bare], embedder=Ours(fingerprint()))
    assert (store.status().model, store.status().space) == ("ours", fingerprint().space.id)
    assert counts(store.write([chunk("x")])) == (0, 0, 1, 0)


def test_vectors_of_two_models_are_refused(store: ChunkStore) -> None:
    other = chunk("y", index=1)
    assert other.provenance is not None
    foreign = replace(other, provenance=replace(other.provenance, fingerprint=fingerprint("others"), model="other"))
    with pytest.raises(SpaceMismatch, match=r"chunk 1 is with vectors of other .*nothing was written"):
        store.write([chunk("x"), foreign])
    with pytest.raises(SpaceMismatch):
        store.write([replace(chunk("x"), provenance=None), foreign], embedder=Ours(fingerprint()))
    assert (store.vector_count(), store.status().model) == (0, None)
    store.write([chunk("x")])
    with pytest.raises(SpaceMismatch, match="--store"):
        store.write([foreign])
    assert list(store.chunks()) == [chunk("x")]


def test_precisions_may_be_mixed(store: ChunkStore) -> None:
    store.write([chunk("x", "a", precision="bf16"), chunk("y", "b")])
    assert store.status().precision == ("bf16", "f32")
    store.write([chunk("z", "b", 1, precision="bf16")])
    assert store.status().precision == ("bf16",)  # a document has one, the lesser
    assert counts(store.write([chunk("y", "b")])) == (0, 0, 1, 0)
    assert list(store.store.verify()) == []
    store.write([chunk("new", "b", 0), chunk("new", "b", 1), chunk("x", "a", metadata={"a": 1})])
    assert store.status().precision == ("f32",)  # all are by now


# Beside what `index` stores


def test_documents_of_a_source_are_others(store: ChunkStore, tmp_path: Path) -> None:
    """Even of the same id: one is what `index` keeps in step with its file, the other nobody's but the writer's."""
    inner, path = store.store, f"{tmp_path}/a.md"
    inner.bind(fingerprint(), "model")
    inner.register([f"{tmp_path}/"])
    inner.replace([replacement(path, ["one", "two"])])
    inner.fail(path, [failure(path, 5)])
    assert counts(store.write([chunk("mine", path), failed("bad", path, 5)])) == (1, 0, 0, 1)
    assert sorted(each.text for each in store.chunks(path)) == ["mine", "one", "two"]
    assert (inner.states([path])[path].recipe, store.status().documents) == ("recipe", 2)
    assert store.remove(path) == 1
    assert sorted(each.text for each in store.chunks()) == ["one", "two"]
    assert [each.index for each in store.failures()] == [5]


def test_what_a_run_has_not_seen_is_not_removed(store: ChunkStore, open_: Open, tmp_path: Path) -> None:
    inner, scopes = store.store, [f"{tmp_path}/", f"{tmp_path}/a.md"]
    inner.bind(fingerprint(), "model")
    inner.replace([replacement(f"{tmp_path}/gone.md", ["one"])])
    given = [chunk("mine", each) for each in (f"{tmp_path}/a.md", "a.md", "", f"{tmp_path}/")]
    store.write([*given, failed("bad", f"{tmp_path}/b.md")])
    store.close()
    with open_() as again:
        again.store.register(scopes)
        assert [list(page) for page in again.store.unseen(scopes)] == [[f"{tmp_path}/gone.md"]]
        assert again.store.remove_unseen(scopes) == 1
        assert again.store.forget(scopes) == 0
        assert {each.source_file for each in again.chunks()} == {each.source_file for each in given}
        assert [each.document for each in again.failures()] == [f"{tmp_path}/b.md"]
        assert again.store.vanished() == {}


# The object


def test_a_reader_reads(store: ChunkStore, open_: Open) -> None:
    store.write([chunk("x")])
    with open_(write=False) as reader:
        with pytest.raises(StoreError, match="opened for reading"):
            reader.write([chunk("y")])
        with pytest.raises(StoreError, match="opened for reading"):
            reader.remove("a")
        assert reader.vector_count() == 1
    with pytest.raises(StoreError, match="closed"):
        reader.vector_count()
    with pytest.raises(StoreError, match="closed"):
        list(reader.chunks())
    with pytest.raises(StoreBusy):
        open_()


def test_there_is_nothing_to_read_where_nothing_was_written(place: dict[str, str]) -> None:
    with pytest.raises(StoreNotFound):
        open_store(**place, write=False)


def test_a_reader_sees_one_state_while_others_write(store: ChunkStore, open_: Open) -> None:
    store.write([chunk(f"text {index}", "a", index) for index in range(2000)])
    reading = open_(write=False).chunks()
    first = next(reading)
    store.write([chunk("new", "a", 1999), chunk("b", "b")])
    assert [each.text for each in (first, *reading)] == [f"text {index}" for index in range(2000)]


def test_threads_share_a_store(store: ChunkStore) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for index in range(10):
                store.write([chunk(f"{number} {index}", "shared", 10 * number + index)])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.vector_count() == 40


def test_the_index(store: ChunkStore, open_: Open) -> None:
    many = [chunk(f"text {index}", f"document {index % 7}", index // 7) for index in range(10_001)]
    report = store.write(many, create_index=False)
    assert (report.index_created, report.index_seconds, store.has_index()) == (False, 0.0, False)
    report = store.write([])
    assert (report.index_created, store.has_index()) == (True, True)
    assert 0 < report.index_seconds <= report.seconds
    assert open_(write=False).has_index()
    report = store.write(many[:5])
    assert (counts(report), report.index_created, store.has_index()) == ((0, 0, 5, 0), False, True)
    assert report.to_dict()["unchanged"] == 5
    hit = store.search(vector("text 17"), 1)[0]
    assert (hit.text, hit.document, hit.chunk) == ("text 17", "document 3", 2)


@pytest.mark.parametrize("query", [[1.0] * 3, "text", None, [float("nan")] * DIMENSION, [[1.0] * DIMENSION], {}])
def test_a_query_that_is_no_vector_is_an_error(query: Any, memory: ChunkStore) -> None:
    memory.write([chunk("x")])
    with pytest.raises(UsageError, match=r"^vector cannot be searched for: [^\n]*$"):
        memory.search(query)


def test_a_search_takes_patterns(store: ChunkStore) -> None:
    store.write([chunk("x", "notes/a.md"), chunk("y", "https://example.org/b.html"), chunk("z", "")])
    assert [hit.document for hit in store.search(vector("y"), glob="*.md")] == ["notes/a.md"]
    assert [hit.document for hit in store.search(vector("x"), glob="*.html")] == ["https://example.org/b.html"]
    assert len(store.search(list(vector("x")), k=2)) == 2


def test_the_inserter_is_the_same(place: dict[str, str]) -> None:
    with embedmill.ChunkInserter(**place) as inserter:
        assert counts(inserter.insert([chunk("x")], create_index=False)) == (1, 0, 0, 0)
        assert counts(inserter.write([chunk("x")])) == (0, 0, 1, 0)


def test_wrong_arguments_are_told(tmp_path: Path) -> None:
    for arguments, says in (
        ({"url": 3}, "url is 3"),
        ({"url": "nothing"}, "unknown store"),
        ({"url": "memory:x", "write": "no"}, "write is 'no'"),
        ({"url": "memory:x", "shema": "x"}, "did you mean 'schema'"),
        ({"url": f"sqlite:{tmp_path}/x.db", "db_timeout": 3}, "db-timeout is for PostgreSQL"),
    ):
        with pytest.raises(UsageError, match=says):
            open_store(**arguments)  # type: ignore[arg-type]
    with open_store("memory:arguments") as store:
        for call in (
            lambda: store.write([], create_index="no"),  # type: ignore[arg-type]
            lambda: store.write([], embedder="all-MiniLM-L6-v2"),  # type: ignore[arg-type]
            lambda: store.search([1.0], k=0),
            lambda: store.chunks(3),  # type: ignore[arg-type]
            lambda: store.remove(None),  # type: ignore[arg-type]
        ):
            with pytest.raises(UsageError):
                call()


# For all chunks

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
chunks_of_users = st.builds(
    chunk,
    texts,
    texts,
    st.integers(0, 2**31 - 1),
    context=texts,
    source_category=texts,
    document_date=st.none() | texts | st.dates() | st.datetimes().map(lambda each: each.replace(fold=0)),
    total_chunks=st.none() | st.integers(0, 2**31 - 1),
    token_count=st.integers(0, 2**31 - 1),
    page=st.none() | st.integers(1, 2**31 - 1),
    metadata=st.dictionaries(texts, values, max_size=3),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(
        st.lists(chunks_of_users, max_size=4, unique_by=lambda c: (c.source_file, c.chunk_index)), max_size=3
    )
)
def test_whatever_is_written_comes_back(calls: list[list[Chunk]], place: dict[str, str]) -> None:
    known: dict[tuple[str, int], Chunk] = {}
    with closing(open_store(**place)) as store:
        store.remove(*{each.source_file for each in store.chunks()})
        for call in calls:
            report = store.write(call)
            assert sum(counts(report)) == len(call)
            known |= {(each.source_file, each.chunk_index): each for each in call}
            assert counts(store.write(call)) == (0, 0, len(call), 0)
        found = {(each.source_file, each.chunk_index): each for each in store.chunks()}
        assert found == known
        for place_, each in found.items():
            assert repr(each) == repr(replace(known[place_], metadata=each.metadata))
            assert each.embedding is not None and known[place_].embedding is not None
            assert each.embedding.tobytes() == known[place_].embedding.tobytes()  # type: ignore[union-attr]
        assert list(store.store.verify()) == []
