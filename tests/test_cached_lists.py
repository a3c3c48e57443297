"""Lists of texts whose vectors a cache may have: what goes through the model, what is counted, what is kept."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import embedmill
from embedmill import PersistentCache
from embedmill.core.vectors import Batch, Embedded, Vectors
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.engine.cached_lists import EmbeddedList, embed_with_cache
from embedmill.engine.lists import some_texts
from embedmill.executors.threads import ThreadExecutor
from samples import vectors_of_all
from troubled import SMALL_MODEL

SMALL = str(SMALL_MODEL)
TEXTS = [f"text number {number} " + "word " * (number % 30) for number in range(700)]


class Failing(OpenVINOEmbedder):
    """The real embedder, but for some texts; counts its texts."""

    seen = 0

    def infer(self, batch: Batch) -> Vectors:
        if any("RAISES" in text for text in batch.texts):
            raise RuntimeError("no memory\nat all")
        self.seen += len(batch.texts)
        return super().infer(batch)


@pytest.fixture(scope="module")
def embedder() -> Iterator[Failing]:
    with embedmill.load_embedder(SMALL, precision="f32", query_prompt="query: ") as loaded:
        loaded.__class__ = Failing
        assert isinstance(loaded, Failing)
        yield loaded


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[PersistentCache]:
    with PersistentCache(tmp_path / "vectors.db", memory_entries=0) as opened:
        yield opened


def embed(texts: Iterable[str], embedder: Failing, cache: PersistentCache | None, **how: object) -> EmbeddedList:
    embedder.seen = 0
    return embed_with_cache(some_texts(texts), embedder, ThreadExecutor(embedder).run, cache, **how)  # type: ignore[arg-type]


def test_the_second_time_nothing_goes_through_the_model(embedder: Failing, cache: PersistentCache) -> None:
    first = embed(TEXTS, embedder, cache)
    assert (first.embedded, first.cached, first.misses, embedder.seen) == (700, 0, 700, 700)
    assert first.tokens == sum(map(len, embedder.encode(TEXTS)))
    np.testing.assert_allclose(first.complete(), embedder.embed(TEXTS), atol=2e-6)
    again = embed(reversed(TEXTS), embedder, cache)
    assert (again.embedded, again.cached, again.misses, again.tokens, embedder.seen) == (0, 700, 0, 0, 0)
    np.testing.assert_array_equal(again.vectors, first.vectors[::-1])


def test_without_a_cache_equal_texts_share_a_vector(embedder: Failing) -> None:
    found = embed(["a", "b", "a", "a"], embedder, None)
    assert (found.embedded, found.duplicates, found.cached, found.misses, embedder.seen) == (2, 2, 0, 0, 2)
    np.testing.assert_array_equal(found.vectors[[2, 3]], found.vectors[[0, 0]])


def test_queries_are_not_taken_for_documents(embedder: Failing, cache: PersistentCache) -> None:
    documents = embed(["bread"], embedder, cache)
    queries = embed(["bread"], embedder, cache, task="query")
    assert (queries.cached, queries.misses) == (0, 1)
    assert not np.allclose(documents.vectors, queries.vectors)
    np.testing.assert_array_equal(queries.vectors, embedder.embed(["bread"], task="query"))
    assert embed(["bread"], embedder, cache, task="query").cached == 1


def test_a_query_has_the_vector_of_a_document_with_its_prompt(embedder: Failing, cache: PersistentCache) -> None:
    """So they share an entry."""
    queries = embed(["bread"], embedder, cache, task="query")
    with embedmill.load_embedder(SMALL, precision="f32", document_prompt="query: ") as other:
        documents = embed_with_cache(["bread"], other, ThreadExecutor(other).run, cache)
        np.testing.assert_array_equal(other.embed(["bread"]), queries.vectors)
    assert documents.cached == 1


def test_indexed_chunks_are_found(tmp_path: Path, embedder: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "a.txt").write_text("Bread is baked in an oven.")
    embedmill.index(tmp_path / "a.txt", store=f"sqlite:{tmp_path / 'index.db'}", model=SMALL, precision="f32")
    with PersistentCache() as cache:
        assert embed(["Bread is baked in an oven."], embedder, cache).cached == 1


def test_texts_that_fail_are_tried_again(embedder: Failing, cache: PersistentCache) -> None:
    texts = ["a", "RAISES", "b", "RAISES"]
    found = embed(texts, embedder, cache)
    assert (found.embedded, found.misses, found.duplicates) == (2, 3, 0)
    assert {row: cause.type for row, cause in found.causes.items()} == {1: "RuntimeError", 3: "RuntimeError"}
    assert np.isnan(found.vectors[[1, 3]]).all() and not np.isnan(found.vectors[[0, 2]]).any()
    with pytest.raises(embedmill.EmbeddingError, match="2 of 4 texts have no vector, the first of them text 1"):
        found.complete()
    again = embed(texts, embedder, cache)
    assert (again.cached, again.misses, len(again.causes)) == (2, 1, 2)


def test_what_was_embedded_before_an_error_is_kept(embedder: Failing, cache: PersistentCache) -> None:
    executor = ThreadExecutor(embedder)

    def ends(batches: Iterable[Batch]) -> Iterator[Embedded]:
        for number, embedded in enumerate(executor.run(batches)):
            if number == 5:
                raise OSError("the machine has gone")
            yield embedded

    with pytest.raises(OSError):
        embed_with_cache(TEXTS, embedder, ends, cache)
    assert embed(TEXTS, embedder, cache).cached >= 5


def test_what_was_embedded_before_a_callback_raised_is_kept(embedder: Failing, cache: PersistentCache) -> None:
    def stop(done: int) -> None:
        if done > 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(TEXTS, embedder, cache, on_progress=stop)
    assert embed(TEXTS, embedder, cache).cached > 300


def test_progress_goes_forward_to_the_end(embedder: Failing, cache: PersistentCache) -> None:
    told: list[int] = []
    embed(TEXTS[:300], embedder, cache)
    for texts in (TEXTS, TEXTS, ["RAISES"] * 3):
        told.clear()
        embed(texts, embedder, cache, on_progress=told.append)
        assert told[-1] == len(texts) and all(before < after for before, after in itertools.pairwise(told))


def test_no_texts_are_an_error_and_blank_ones_fail_with_their_number(embedder: Failing, cache: PersistentCache) -> None:
    with pytest.raises(ValueError, match="there are no texts"):
        embed([], embedder, cache)
    told: list[int] = []
    found = embed(["", "a", " \n\t\u3000", "b"], embedder, cache, on_progress=told.append)
    assert {row: cause.message for row, cause in found.causes.items()} == dict.fromkeys(
        (0, 2), "the text is empty or blank"
    )
    assert (found.embedded, found.misses, told[-1]) == (2, 2, 4)
    assert len(embed([""] * 10_000, embedder, None).causes) == 10_000
    assert embedder.seen == 0


@pytest.mark.parametrize("bad", [np.nan, 0.0, 0.25, 7.0])
def test_an_unsound_vector_in_the_cache_is_computed_anew(embedder: Failing, cache: PersistentCache, bad: float) -> None:
    """Whoever has put it there: nothing is given out, or stored, that the validator refuses."""
    good = embed(["bread", "rose"], embedder, cache)
    key = hashlib.sha256(b"bread").digest()
    cache.put_many({key: np.full(embedder.dimension, bad, np.float32)}, embedder.fingerprint)
    found = embed(["bread", "rose"], embedder, cache)
    assert (found.cached, found.misses, found.embedded) == (1, 1, 1)
    np.testing.assert_allclose(found.complete(), good.vectors, atol=2e-6)
    assert embed(["bread", "rose"], embedder, cache).cached == 2


def test_batch_size(embedder: Failing) -> None:
    sizes: set[int] = set()
    executor = ThreadExecutor(embedder)

    def run(batches: Iterable[Batch]) -> Iterator[Embedded]:
        for embedded in executor.run(batches):
            sizes.add(len(embedded.batch.texts))
            yield embedded

    embed_with_cache(TEXTS[:50], embedder, run, None, batch_size=3)
    assert max(sizes) <= 3


@given(st.lists(st.text(st.characters(), max_size=8), min_size=1, max_size=12))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_texts_are_counted_once_and_get_their_own_vector(
    embedder: Failing, cache: PersistentCache, texts: list[str]
) -> None:
    """Lone surrogates too: "a\\ud800" is not "a?"."""
    for _ in range(2):
        found = embed(texts, embedder, cache)
        assert found.embedded + found.cached + found.duplicates + len(found.causes) == len(texts)
        expected = vectors_of_all(embedder, texts)
        blank = [row for row, text in enumerate(texts) if not text.strip()]
        assert sorted(found.causes) == blank
        expected[blank] = np.nan
        np.testing.assert_allclose(found.vectors, expected, atol=2e-6)
    assert (found.embedded, found.misses) == (0, 0)
