"""Lists of texts in as many processes as that is worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest

from embedmill import ParallelEmbeddingGenerator
from embedmill.core.errors import EmbeddingError, UsageError
from embedmill.core.vectors import Batch, Vectors
from faulty import Factory, LightEmbedder
from troubled import NAN, RAISES, SAME, SMALL_MODEL, in_a_worker, small_embedder

SMALL = str(SMALL_MODEL)


def test_the_generator_gives_what_one_process_gives() -> None:
    texts = [f"text number {number} " + "word " * (number % 40) for number in range(200)]
    expected = small_embedder().embed(texts)
    with ParallelEmbeddingGenerator(workers=2, model=SMALL, precision="f32", cache=False) as generator:
        few = generator.generate(texts[:9])
        assert not generator.stats()  # few stay in this process
        found = generator.generate(texts)
        pids = [stats.pid for stats in generator.stats()]
        again = generator.generate(texts)
        assert [stats.pid for stats in generator.stats()] == pids  # reused
        assert generator.dimension == found.shape[1]
        np.testing.assert_array_equal(generator.generate(texts[0]), found[0])
    np.testing.assert_allclose(few, expected[:9], rtol=0, atol=2e-6)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(found, again)
    with pytest.raises(RuntimeError, match="closed"):
        generator.generate(texts)


def test_one_worker_stays_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with ParallelEmbeddingGenerator(workers=1, model=SMALL) as generator:
        generator.generate(["a text"] * 50)
        assert not generator.stats() and not psutil.Process().children()
    monkeypatch.setenv("EMBEDMILL_ENABLE_PARALLEL_EMBEDDINGS", "no")
    with ParallelEmbeddingGenerator(workers=4, model=SMALL) as generator:
        assert generator.workers == 1


def test_the_generators_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDMILL_EMBEDDING_PARALLEL_WORKERS", "3")
    with ParallelEmbeddingGenerator(model=SMALL) as generator:
        assert generator.workers == 3
    for wrong in ({"workers": 0}, {"workers": 1000}, {"workers": "2"}, {"workers": 1.5}, {"threshold": -1}):
        with pytest.raises(UsageError, match="give"):
            ParallelEmbeddingGenerator(model=SMALL, **wrong)  # type: ignore[arg-type]
    with ParallelEmbeddingGenerator(model=SMALL) as generator:
        for texts in (b"bytes", {"a": "text"}, {"a set"}, ["a text", 3], None):
            with pytest.raises(TypeError):
                generator.generate(texts)  # type: ignore[arg-type]


def test_an_error_of_some_texts_keeps_the_others_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """findings 9: one failure loses everything already paid for."""
    texts = [f"text number {number}" for number in range(20)]
    with ParallelEmbeddingGenerator(workers=2, model=SMALL, precision="f32", cache=False) as generator:
        good = generator.generate(texts)
    texts[3] += f" {RAISES}"
    texts[7] += f" {NAN}"
    texts[9] += f" {SAME}"
    monkeypatch.setattr("embedmill.api.parallel.worker_factory", lambda model, precision, **prompts: in_a_worker)
    with (
        ParallelEmbeddingGenerator(workers=2, threshold=0, model=SMALL, precision="f32", cache=False) as generator,
        pytest.raises(
            EmbeddingError, match="3 of 20 texts have no vector, the first of them text 3: Refused"
        ) as caught,
    ):
        generator.generate(texts)
    assert {row: cause.type for row, cause in caught.value.causes.items()} == {
        3: "Refused",
        7: "InvalidVector",
        9: "InvalidVector",
    }
    assert np.isnan(caught.value.vectors[[3, 7, 9]]).all()
    others = [row for row in range(20) if row not in (3, 7, 9)]
    np.testing.assert_allclose(caught.value.vectors[others], good[others], rtol=0, atol=2e-6)


def test_no_texts_are_an_error_and_a_blank_one_fails_with_its_number() -> None:
    """findings, flaws: one empty text failing its whole batch."""
    with ParallelEmbeddingGenerator(workers=1, model=SMALL, precision="f32") as generator:
        with pytest.raises(ValueError, match="no texts"):
            generator.generate([])
        for blank in ("", " \n"):
            with pytest.raises(EmbeddingError, match="text 1: EmptyText") as caught:
                generator.generate(["one", blank, "two"])
            assert list(caught.value.causes) == [1] and np.isfinite(caught.value.vectors[[0, 2]]).all()
            with pytest.raises(EmbeddingError, match="text 0: EmptyText"):
                generator.generate(blank)


def test_the_cache_is_shared_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path))
    texts = [f"a text of the cache, number {number}" for number in range(30)]
    with ParallelEmbeddingGenerator(workers=1, model=SMALL, precision="f32") as generator:
        first = generator.generate([*texts, texts[0]])
        assert generator.statistics() == {
            "texts": 31,
            "embedded": 30,
            "cached": 0,
            "duplicates": 1,
            "failed": 0,
            "misses": 30,
            "tokens": generator.statistics()["tokens"],
        }
    with ParallelEmbeddingGenerator(workers=1, model=SMALL, precision="f32") as generator:
        np.testing.assert_array_equal(generator.generate([*texts, texts[0]]), first)
        # The equal text is cached like the first one.
        assert (generator.statistics()["cached"], generator.statistics()["misses"]) == (31, 0)
    with ParallelEmbeddingGenerator(workers=1, model=SMALL, precision="f32", cache=False) as generator:
        generator.generate(texts)
        assert (generator.statistics()["embedded"], generator.statistics()["misses"]) == (30, 0)


def test_a_batch_has_at_most_so_many_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    called = LightEmbedder.infer

    def counted(self: LightEmbedder, batch: Batch) -> Vectors:
        sizes.append(len(batch.texts))
        return called(self, batch)

    monkeypatch.setattr(LightEmbedder, "infer", counted)
    monkeypatch.setattr("embedmill.api.parallel.load_embedder", lambda *_, **__: LightEmbedder())
    monkeypatch.setattr("embedmill.api.parallel.worker_factory", lambda *_, **__: Factory())
    for batch_size, largest in ((None, 40), (7, 7)):
        with ParallelEmbeddingGenerator(workers=1, model=SMALL, batch_size=batch_size, cache=False) as generator:
            generator.generate([f"text number {number:02}" for number in range(40)])
        assert max(sizes) == largest and sum(sizes) == 40
        sizes.clear()


def test_what_is_wrong_with_the_workers_is_told() -> None:
    generator = ParallelEmbeddingGenerator(workers=2, model=SMALL, cache=False)
    assert generator.check_health() == []
    generator.close()
    assert generator.check_health() == ["the generator is closed"]
    with pytest.raises(RuntimeError, match="this ParallelEmbeddingGenerator is closed: make a new one"):
        generator.generate("a text")


def test_what_is_told_has_to_be_a_function() -> None:
    sizes: list[int] = []
    with ParallelEmbeddingGenerator(workers=1, model="test:8", cache=False) as generator:
        assert set(generator.statistics().values()) == {0}
        with pytest.raises(UsageError, match="on_progress is 5: give a function, or leave it out"):
            generator.generate("a text", on_progress=5)  # type: ignore[call-overload]
        with pytest.raises(UsageError, match="on_failure is 5"):
            generator.generate_iter(["a text"], on_failure=5)  # type: ignore[arg-type]
        assert generator.statistics()["texts"] == 0, "nothing was embedded before"
        generator.generate("a text", on_progress=sizes.append)
    assert sizes == [1]
