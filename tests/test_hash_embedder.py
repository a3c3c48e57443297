"""``test:N``, the embedder for users' own tests: the same numbers everywhere, and not by mistake in a store."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embedmill
from embedmill.embedders.testing import MAX_TOKENS, HashEmbedder
from embedmill.engine.validation import VectorValidator
from samples import vectors_of_all

TEXTS = ["Bread is baked in an oven.", "", "ÅNGSTRÖM und Straße", "パンを焼く", "a\ud800b", "x" * 100]


@pytest.fixture
def db(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        db.executemany("INSERT INTO t (text) VALUES (?)", [("Bread is baked.",), ("A rose grows.",)])
    return f"sqlite:{tmp_path / 'app.db'}"


def test_the_numbers_are_those_of_every_other_machine() -> None:
    """Pinned: whoever changes them changes `_VERSION` too, so that stores of both are told apart."""
    with embedmill.load_embedder("test:384") as embedder:
        vectors = vectors_of_all(embedder, TEXTS)
    assert (vectors.dtype, vectors.shape) == (np.float32, (6, 384))
    digest = hashlib.sha256(vectors.astype("<f4").tobytes()).hexdigest()
    assert digest == "bbd6ecc0f93ed9b35d6400e6c20d1967d4c54faf5782f718d1ff8151a9283de3"
    assert embedder.fingerprint.key == "e4294095dcd2330f-f32"
    np.testing.assert_allclose(
        HashEmbedder("test:3").embed(["bread"]), [[-0.01109038, 0.50256926, -0.86446583]], atol=1e-7
    )


def test_worker_processes_give_the_same() -> None:
    texts = [text for text in TEXTS if text]
    with embedmill.ParallelEmbeddingGenerator(2, 0, model="test:16", cache=False) as generator:
        assert generator.dimension == 16
        np.testing.assert_array_equal(generator.generate(texts), HashEmbedder("test:16").embed(texts))


@given(st.lists(st.text(), max_size=5), st.integers(1, 400))
def test_any_text_has_a_sound_vector(texts: list[str], dimension: int) -> None:
    embedder = HashEmbedder(f"test:{dimension}")
    vectors = vectors_of_all(embedder, texts)
    assert vectors.shape == (len(texts), dimension)
    assert VectorValidator(dimension, normalized=True).check(vectors) == {}
    np.testing.assert_array_equal(vectors_of_all(embedder, texts[::-1]), vectors[::-1])


def test_texts_that_share_words_are_near() -> None:
    bread, other, shuffled, rose = HashEmbedder("test:384").embed(
        ["bread is baked in an oven", "BREAD, baked", "an oven is baked in bread", "a rose grows"]
    )
    assert bread @ other > 0.3 > 0.2 > abs(bread @ rose)
    assert 0.95 < bread @ shuffled < 0.9999, "near, and not the same"


def test_long_texts_are_cut() -> None:
    embedder = HashEmbedder("test:8")
    (ids,) = embedder.encode(["word " * 1000])
    (whole,) = embedder.encode(["word " * 1000], truncate=False)
    assert (len(ids), len(whole)) == (MAX_TOKENS, 1001)
    np.testing.assert_array_equal(embedder.embed(["word " * 1000]), embedder.embed(["word " * 255 + "not read"]))
    assert len(embedder.encode(["x" * 1_000_000], truncate=False)[0]) == 1 + 1_000_000 // 16


def test_prompts_and_tasks() -> None:
    embedder = embedmill.load_embedder("test:64", document_prompt="passage: ", query_prompt="query: ")
    plain = embedmill.load_embedder("test:64")
    np.testing.assert_array_equal(embedder.embed(["bread"]), plain.embed(["passage: bread"]))
    np.testing.assert_array_equal(embedder.embed(["bread"], task="query"), plain.embed(["query: bread"]))
    assert embedder.fingerprint.key != plain.fingerprint.key
    with pytest.raises(embedmill.UsageError, match="task is 'queries'"):
        embedder.embed(["bread"], task="queries")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["test:", "test:0", "test:-3", "test:x", "test:1.5", "test:16385", "test: 8", "test:٣"]
)
def test_other_names(name: str) -> None:
    with pytest.raises(embedmill.UsageError, match="give test:N for vectors of N numbers, from 1 to 16,384"):
        embedmill.load_embedder(name)


def test_what_it_has_no_use_for() -> None:
    with pytest.raises(embedmill.UsageError, match="'bf16': test:8 computes in f32"):
        embedmill.load_embedder("test:8", precision="bf16")
    assert embedmill.load_embedder("test:08", precision="f32").name == "test:8"
    assert embedmill.load_embedder("test:8", streams=1).workers == 1
    assert embedmill.load_embedder("test:8", threads=1).workers == 1


NOT_WITHOUT = "test:16 is for tests, its vectors mean nothing: give --allow-test-model, or another --model"


def test_a_store_is_filled_with_it_only_where_that_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Bread is baked in an oven.")
    (tmp_path / "b.txt").write_text("A rose grows in the garden.")
    how: dict[str, Any] = {"store": f"sqlite:{tmp_path / 'index.db'}", "cache": False}
    for dry_run in (True, False):
        with pytest.raises(embedmill.UsageError) as caught:
            embedmill.index(tmp_path, model="test:16", dry_run=dry_run, **how)
        assert str(caught.value) == NOT_WITHOUT
        assert not (tmp_path / "index.db").exists()
    report = embedmill.index(tmp_path, model="test:16", allow_test_model=True, **how)
    assert (report.embedded, report.model) == (2, "test:16")
    with embedmill.Searcher(how["store"]) as searcher:
        assert [hit.text for hit in searcher.search("bread oven", k=1)] == ["Bread is baked in an oven."]
    with pytest.raises(embedmill.UsageError, match="test:16 is for tests"):
        embedmill.retry_failed(**how)
    assert embedmill.retry_failed(allow_test_model=True, **how).failed == 0


def test_worker_processes_index_with_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Bread is baked in an oven.")
    report = embedmill.index(
        tmp_path / "a.txt", store="memory:workers", model="test:16", allow_test_model=True, cache=False, workers=1,
        executor="processes",
    )  # fmt: skip
    assert (report.embedded, report.executor) == (1, "processes")


def test_a_table_is_filled_with_it_only_where_that_is_wanted(db: str) -> None:
    with pytest.raises(embedmill.UsageError) as caught:
        embedmill.ingest("t", store=db, create=True, model="test:16", cache=False)
    assert str(caught.value) == NOT_WITHOUT
    report = embedmill.ingest("t", store=db, create=True, model="test:16", cache=False, allow_test_model=True)
    assert (report.embedded, report.model) == (2, "test:16")
    with pytest.raises(embedmill.UsageError, match="test:16 is for tests"):
        embedmill.ingest("t", store=db, again=True, cache=False)
    assert embedmill.ingest("t", store=db, again=True, cache=False, allow_test_model=True).failed == 0


def test_leave_is_given_for_nothing_else(tmp_path: Path, db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("Bread")
    said = "--allow-test-model is for the model test:N, not for all-MiniLM-L6-v2: leave it out"
    for call in (
        lambda: embedmill.index(tmp_path, store="memory:leave", allow_test_model=True),
        lambda: embedmill.ingest("t", store=db, create=True, allow_test_model=True),
    ):
        with pytest.raises(embedmill.UsageError) as caught:
            call()
        assert str(caught.value) == said
    monkeypatch.setenv("EMBEDMILL_ALLOW_TEST_MODEL", "yes")  # which serves other runs too
    monkeypatch.setenv("EMBED_MODEL", "test:16")
    assert embedmill.index(tmp_path / "a.txt", store="memory:leave", cache=False).model == "test:16"
