"""Lists of texts, and texts without end: what is embedded, what is told of it, and what fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest

import embedmill
from embedmill.core.vectors import Batch, Cause, Vectors
from embedmill.embedders.openvino import OpenVINOEmbedder
from troubled import SMALL_MODEL

SMALL = str(SMALL_MODEL)
TEXTS = [f"text number {number} " + "word " * (number % 30) for number in range(100)]


class Failing(OpenVINOEmbedder):
    """The real embedder, but for two texts."""

    def infer(self, batch: Batch) -> Vectors:
        if any("RAISES" in text for text in batch.texts):
            raise RuntimeError("no memory\nat all")
        vectors = super().infer(batch)
        vectors[["NAN" in text for text in batch.texts]] = np.nan
        return vectors


@pytest.fixture
def embedder() -> Iterator[OpenVINOEmbedder]:
    with embedmill.load_embedder(SMALL, precision="f32") as loaded:
        yield loaded


@pytest.fixture
def failing(embedder: OpenVINOEmbedder) -> Failing:
    embedder.__class__ = Failing
    assert isinstance(embedder, Failing)
    return embedder


@pytest.fixture(scope="module")
def expected() -> Vectors:
    with embedmill.load_embedder(SMALL, precision="f32") as loaded:
        return loaded.embed(TEXTS)


def test_an_embedder_is_closed_by_with() -> None:
    with embedmill.load_embedder(SMALL) as embedder:
        embedder.embed(["a text"])
        assert embedder.loaded
    assert not embedder.loaded


@pytest.mark.parametrize("task", ["Query", "queries", "", None, 3, "documents"])
def test_a_task_that_there_is_not(embedder: OpenVINOEmbedder, task: object) -> None:
    with embedmill.ParallelEmbeddingGenerator(1, model=SMALL) as generator:
        for call in (embedder.embed, embedder.embed_iter, embedder.encode, generator.generate, generator.generate_iter):
            with pytest.raises(embedmill.UsageError, match=f"task is {task!r}: give document or query"):
                call(["a text"], task=task)  # type: ignore[operator]


def test_the_nearest_task_is_named(embedder: OpenVINOEmbedder) -> None:
    with pytest.raises(embedmill.UsageError, match="did you mean 'query'"):
        embedder.embed(["a text"], task="Query")  # type: ignore[arg-type]


def test_texts_that_fail_are_named_and_the_others_kept(failing: Failing, expected: Vectors) -> None:
    texts = list(TEXTS)
    texts[3], texts[70] = "RAISES", "NAN"
    with pytest.raises(embedmill.EmbeddingError) as caught:
        failing.embed(texts)
    error = caught.value
    assert str(error).startswith("2 of 100 texts have no vector, the first of them text 3: RuntimeError: no memory")
    assert "\n" not in str(error)
    assert {row: cause.type for row, cause in error.causes.items()} == {3: "RuntimeError", 70: "InvalidVector"}
    assert np.isnan(error.vectors[[3, 70]]).all()
    others = [row for row in range(100) if row not in (3, 70)]
    np.testing.assert_allclose(error.vectors[others], expected[others], atol=2e-6)


def test_progress(embedder: OpenVINOEmbedder) -> None:
    told: list[int] = []
    embedder.embed(TEXTS, on_progress=told.append)
    assert told == sorted(told) and told[-1] == 100 and len(told) > 3
    with embedmill.ParallelEmbeddingGenerator(1, model=SMALL, cache=False) as generator:
        told.clear()
        generator.generate(TEXTS, on_progress=told.append)
    assert told == sorted(told) and told[-1] == 100 and len(told) > 3


def test_texts_without_end_in_bounded_memory(embedder: OpenVINOEmbedder, expected: Vectors) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            yield TEXTS[taken % 100]
            taken += 1

    told: list[int] = []
    vectors = embedder.embed_iter(endless(), at_once=30, on_progress=told.append)
    assert taken == 0, "nothing is taken before it is asked for"
    for number in range(250):
        np.testing.assert_allclose(next(vectors), expected[number % 100], atol=2e-6)
        assert taken <= number + 31
    assert told == list(range(30, 271, 30))


def test_the_generators_iterator(expected: Vectors) -> None:
    with embedmill.ParallelEmbeddingGenerator(2, model=SMALL, precision="f32") as generator:
        found = np.stack(list(generator.generate_iter(iter(TEXTS), at_once=64)))
        assert list(generator.generate_iter([])) == []
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_failures_of_an_iterator_have_their_number(failing: Failing, expected: Vectors) -> None:
    texts = list(TEXTS)
    texts[70] = "RAISES"
    vectors = failing.embed_iter(texts, at_once=32)
    np.testing.assert_allclose(np.stack([next(vectors) for _ in range(64)]), expected[:64], atol=2e-6)
    with pytest.raises(embedmill.EmbeddingError, match="1 of 32 texts have no vector, the first of them text 70") as e:
        next(vectors)
    assert (e.value.first, list(e.value.causes), e.value.vectors.shape) == (64, [6], (32, expected.shape[1]))
    failed: dict[int, Cause] = {}
    found = np.stack(list(failing.embed_iter(texts, at_once=32, on_failure=failed.__setitem__)))
    assert {row: cause.type for row, cause in failed.items()} == {70: "RuntimeError"}
    assert np.isnan(found).any(axis=1).nonzero()[0].tolist() == [70]


def test_long_texts_are_held_one_by_one(embedder: OpenVINOEmbedder) -> None:
    taken = 0

    def long() -> Iterator[str]:
        nonlocal taken
        for _ in range(4):
            taken += 1
            yield "word " * 500_000

    next(embedder.embed_iter(long()))
    assert taken == 2, "the second did not fit any more"


@pytest.mark.parametrize("texts", ["one text", b"x", {"a": "text"}, {"a set"}, None, 3])
def test_what_gives_no_texts(embedder: OpenVINOEmbedder, texts: object) -> None:
    for call in (embedder.embed, embedder.embed_iter):
        with pytest.raises(TypeError, match=r"expected .*texts, got a "):
            call(texts)  # type: ignore[operator]
    with pytest.raises(TypeError, match="number 1 is a int"):
        list(embedder.embed_iter(["a", 3]))  # type: ignore[list-item]
    for number in (0, True, "2", 1.5):
        with pytest.raises(embedmill.UsageError, match="at_once is"):
            embedder.embed_iter(["a"], at_once=number)  # type: ignore[arg-type]


def test_nothing_is_said_of_texts_that_are_read(embedder: OpenVINOEmbedder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        embedder.embed(["bread", "rose"])
    assert caplog.text == ""
