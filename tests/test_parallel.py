"""Lists of texts in as many processes as that is worth."""

from __future__ import annotations

import numpy as np
import psutil
import pytest

from embedmill import ParallelEmbeddingGenerator
from embedmill.core.errors import EmbeddingError, UsageError
from troubled import NAN, RAISES, SMALL_MODEL, in_a_worker, small_embedder

SMALL = str(SMALL_MODEL)


def test_the_generator_gives_what_one_process_gives() -> None:
    texts = [f"text number {number} " + "word " * (number % 40) for number in range(200)]
    expected = small_embedder().embed(texts)
    with ParallelEmbeddingGenerator(workers=2, model=SMALL, precision="f32") as generator:
        few = generator.generate(texts[:9])
        assert not generator.stats()  # few stay in this process
        found = generator.generate(texts)
        pids = [stats.pid for stats in generator.stats()]
        again = generator.generate(texts)
        assert [stats.pid for stats in generator.stats()] == pids  # reused
        assert generator.dimension == found.shape[1]
        assert generator.generate([]).shape == (0, generator.dimension)
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
        for texts in ("one text that is no list", {"a": "text"}, {"a set"}, ["a text", 3], None):
            with pytest.raises(TypeError):
                generator.generate(texts)  # type: ignore[arg-type]


def test_an_error_of_some_texts_keeps_the_others_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """findings 9: one failure loses everything already paid for."""
    texts = [f"text number {number}" for number in range(20)]
    with ParallelEmbeddingGenerator(workers=2, model=SMALL, precision="f32") as generator:
        good = generator.generate(texts)
    texts[3] += f" {RAISES}"
    texts[7] += f" {NAN}"
    monkeypatch.setattr("embedmill.api.parallel.worker_factory", lambda model, precision, **prompts: in_a_worker)
    with (
        ParallelEmbeddingGenerator(workers=2, model=SMALL, precision="f32") as generator,
        pytest.raises(
            EmbeddingError, match="2 of 20 texts have no vector, the first of them text 3: Refused"
        ) as caught,
    ):
        generator.generate(texts)
    assert {row: cause.type for row, cause in caught.value.causes.items()} == {3: "Refused", 7: "InvalidVector"}
    assert np.isnan(caught.value.vectors[[3, 7]]).all()
    others = [row for row in range(20) if row not in (3, 7)]
    np.testing.assert_allclose(caught.value.vectors[others], good[others], rtol=0, atol=2e-6)
