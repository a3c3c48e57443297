"""What is a sound vector: as runs check it before each commit, and as users ask."""

from __future__ import annotations

import array
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embedmill
from embedmill import EmbeddingValidator
from embedmill.core.vectors import Batch, Vectors
from embedmill.embedders.testing import HashEmbedder
from embedmill.engine.cached_lists import embed_with_cache
from embedmill.executors.threads import ThreadExecutor
from embedmill.models import ModelFiles, read_card


def unit(rows: int, dimension: int = 8) -> np.ndarray:
    vectors = np.random.default_rng(5).standard_normal((rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_sound_vectors_pass() -> None:
    assert EmbeddingValidator(8, normalized=True).check(unit(20)) == {}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(bad: float) -> None:
    """findings 12: NaN vectors with exit code 0; an earlier system's validator accepted NaN."""
    vectors = unit(5)
    vectors[2, 3] = bad
    refused = EmbeddingValidator(8, normalized=True).check(vectors)
    assert list(refused) == [2]
    assert "NaN or infinite" in refused[2].message


def test_zeros_and_wrong_lengths_are_refused() -> None:
    vectors = unit(4)
    vectors[0] = 0
    vectors[3] *= 1.5
    assert set(EmbeddingValidator(8, normalized=True).check(vectors)) == {0, 3}
    assert set(EmbeddingValidator(8, normalized=False).check(vectors)) == {0}


def test_an_overflow_is_refused() -> None:
    assert set(EmbeddingValidator(8, normalized=False).check(np.full((1, 8), 3e38, np.float32))) == {0}


@pytest.mark.parametrize("wrong", [np.zeros((2, 7), np.float32), np.zeros((2, 8)), np.zeros(8, np.float32)])
def test_another_shape_or_type_is_an_error(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected float32"):
        EmbeddingValidator(8, normalized=True).check(wrong)


def test_a_constant_vector_is_refused() -> None:
    vectors = unit(4)
    vectors[1] = 8**-0.5
    vectors[2, :4], vectors[2, 4:] = 8**-0.5, -(8**-0.5)
    refused = EmbeddingValidator(8, normalized=True).check(vectors)
    assert {row: cause.message for row, cause in refused.items()} == {1: "the model gave 0.3536 for every number"}
    assert set(EmbeddingValidator(8, normalized=False).check(vectors * 7)) == {1}


@pytest.mark.parametrize("dimension", [1, 2, 7])
def test_a_few_numbers_may_be_the_same_by_chance(dimension: int) -> None:
    vectors = np.full((2, dimension), dimension**-0.5, np.float32)
    assert EmbeddingValidator(dimension, normalized=True).check(vectors) == {}


def test_what_is_masked_is_no_number() -> None:
    vectors = unit(3, 4)
    hidden = np.ma.MaskedArray(vectors, mask=[[True] * 4, [False] * 4, [True, False, False, False]])
    validator = EmbeddingValidator(4)
    for batch in (hidden, hidden.astype(float), list(hidden)):
        assert validator.validate_batch(batch)[0] == [1]
    assert list(validator.check(hidden)) == [0, 2]
    assert [validator.validate_embedding(row) for row in hidden] == [False, True, False]
    assert not validator.validate_embedding(np.ma.MaskedArray([1, 0, 0, 0], mask=[False, True, True, True]))


@pytest.mark.parametrize("kind", [complex, str, object, bool])
def test_what_an_embedder_gives_has_to_be_real_numbers(kind: type) -> None:
    class Odd(HashEmbedder):
        def infer(self, batch: Batch) -> Vectors:
            return super().infer(batch).astype(kind)

    embedder = Odd("test:16")
    made = embed_with_cache(["one", "two"], embedder, ThreadExecutor(embedder).run, None)
    assert [cause.type for cause in made.causes.values()] == ["ValueError"] * 2
    assert "expected real numbers, as float32" in made.causes[0].message


def test_one_that_points_along_an_axis_is_not_constant() -> None:
    assert EmbeddingValidator(8).check(np.eye(8, dtype=np.float32)) == {}


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, 0.25, 7.0])
def test_a_run_stores_no_unsound_vector(bad: float) -> None:
    """Lists, files, rows and worker processes all go through the one loop (engine/run.py)."""

    class Bad(HashEmbedder):
        def infer(self, batch: Batch) -> Vectors:
            vectors = super().infer(batch)
            vectors[["BAD" in text for text in batch.texts]] = bad
            return vectors

    embedder = Bad("test:16")
    made = embed_with_cache(["good", "BAD", "better"], embedder, ThreadExecutor(embedder).run, None)
    assert {row: cause.type for row, cause in made.causes.items()} == {1: "InvalidVector"}


# As users ask


def test_without_arguments_it_is_for_the_default_model(real_model: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    card = read_card(real_model)
    validator = EmbeddingValidator()
    assert (validator.dimension, validator.normalized, validator.tolerance) == (card.dimension, card.normalize, 0.01)
    monkeypatch.setenv("EMBED_MODEL", "test:24")
    assert EmbeddingValidator().dimension == 24
    assert EmbeddingValidator(model="test:7").dimension == 7
    assert not EmbeddingValidator(normalized=False).normalized
    assert EmbeddingValidator.of(HashEmbedder("test:9")).dimension == 9


def test_no_weights_are_loaded(real_model: ModelFiles) -> None:
    code = "import sys, embedmill; print(embedmill.EmbeddingValidator().dimension, 'openvino' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "384 False\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dimension": 0}, "dimension is 0"),
        ({"dimension": "8"}, "dimension is '8'"),
        ({"dimension": 8, "normalized": "no"}, "normalized is 'no'"),
        ({"dimension": 8, "tolerance": 0}, "tolerance is 0: give a number between 0 and 1"),
        ({"dimension": 8, "tolerance": float("nan")}, "tolerance is nan"),
        ({"dimension": 8, "tolerance": True}, "tolerance is True"),
        ({"dimension": 8, "model": "test:8"}, "a model has its own dimension"),
        ({"model": "test:x"}, "give test:N"),
        ({"model": ""}, "--model: '' does not fit"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(embedmill.UsageError) as caught:
        EmbeddingValidator(**arguments)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [
        list,
        tuple,
        np.array,
        lambda numbers: np.array(numbers, np.float16),
        lambda numbers: np.array(numbers, np.float32),
        lambda numbers: np.array(numbers, ">f8"),
        lambda numbers: np.array([numbers, numbers])[:, ::1][0],
        lambda numbers: array.array("d", numbers),
        lambda numbers: [np.float32(number) for number in numbers],
    ],
)
def test_embeddings_of_many_kinds(kind: Any) -> None:
    validator = EmbeddingValidator(4)
    assert validator.validate_embedding(kind([0.5, -0.5, 0.5, -0.5]))
    assert not validator.validate_embedding(kind([0.5, -0.5, 0.5]))
    assert not validator.validate_embedding(kind([0.5, -0.5, 0.5, -0.6]))
    assert not validator.validate_embedding(kind([0.5, -0.5, 0.5, float("nan")]))
    assert not validator.validate_embedding(kind([0.0, 0.0, 0.0, 0.0]))


def test_whole_numbers_are_numbers() -> None:
    for embedding in ([1, 0, 0, 0], np.array([0, 1, 0, 0]), np.array([0, 0, 1, 0], np.uint8)):
        assert EmbeddingValidator(4).validate_embedding(embedding)
    assert EmbeddingValidator(4, normalized=False).validate_embedding([3, 4, 5, 6])


class Evil:
    """Raises whatever is asked of it."""

    def __array__(self, *_: object, **__: object) -> Any:
        raise RuntimeError("evil")

    __len__ = __iter__ = __getitem__ = __float__ = __index__ = __bool__ = __array__  # type: ignore[assignment]


class EvilList(list):  # type: ignore[type-arg]
    __iter__ = __len__ = Evil.__array__  # type: ignore[assignment]


class EvilArray(np.ndarray):
    @property
    def dtype(self) -> Any:  # type: ignore[override]
        raise RuntimeError("evil")


UNIT = [0.5, -0.5, 0.5, -0.5]
RUBBISH = [
    None, "", "0.5, 0.5", b"0123", 3, 0.5, True, {}, set(UNIT), {0: 0.5}, iter(UNIT), range(4), object(), [], (), [[]],
    [UNIT], np.array([UNIT]), np.array([UNIT] * 4), [*UNIT, 0.0], [True] * 4, [True, 0, 0, 0], ["0.5"] * 4, [None] * 4,
    [0.5, [0.5], 0.5, 0.5], [0.5 + 0j, 0.5, 0.5, 0.5], np.array(UNIT, complex), np.array([True, False, False, False]),
    np.array(["0.5"] * 4), np.array(UNIT, object), np.array(0.5), np.float32(0.5), [np.array(0.5)] * 4,
    [10**400, 0, 0, 0], [1 << 70, 0, 0, 0], [1e300, 0, 0, 0], np.array([1e300, 0, 0, 0]), [np.datetime64(1, "s")] * 4,
    [float("inf"), 0, 0, 0], Evil(), [Evil()] * 4, EvilList(UNIT), np.array(UNIT).view(EvilArray), memoryview(b"0123"),
    np.array([(0.5, 0.5)], [("x", "f4"), ("y", "f4")]), Evil, type, lambda: UNIT,
]  # fmt: skip


@pytest.mark.parametrize("rubbish", RUBBISH, ids=[str(number) for number in range(len(RUBBISH))])
def test_anything_else_is_no_embedding_and_no_exception(rubbish: object) -> None:
    assert EmbeddingValidator(4).validate_embedding(rubbish) is False
    valid, invalid = EmbeddingValidator(4).validate_batch([UNIT, rubbish])
    assert (valid, list(invalid)) == ([0], [1])
    assert invalid[1].message and "\n" not in invalid[1].message


NUMBERS = st.one_of(st.floats(), st.integers(), st.booleans(), st.complex_numbers(), st.text(max_size=3), st.none())


@given(st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=6) | st.tuples(inner, inner), max_leaves=10))
def test_whatever_is_given_the_answer_is_yes_or_no(anything: object) -> None:
    assert EmbeddingValidator(2, normalized=False).validate_embedding(anything) in (True, False)


@given(st.lists(st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3), min_size=1, max_size=5))
def test_one_by_one_and_as_an_array_say_the_same(rows: list[list[float]]) -> None:
    validator = EmbeddingValidator(3)
    vectors = np.array(rows, np.float32)
    refused = sorted(validator.check(vectors))
    assert refused == [row for row, vector in enumerate(rows) if not validator.validate_embedding(vector)]
    for batch in (rows, vectors, vectors.astype(float)):
        valid, invalid = validator.validate_batch(batch)
        assert list(invalid) == refused and sorted(valid + refused) == list(range(len(rows)))


def test_a_batch_that_is_none() -> None:
    validator = EmbeddingValidator(4)
    assert validator.validate_batch([]) == ([], {})
    assert validator.validate_batch(np.empty((0, 4), np.float32)) == ([], {})
    assert list(validator.validate_batch(np.ones((2, 3)))[1]) == [0, 1]
    assert list(validator.validate_batch(np.array(UNIT))[1]) == [0, 1, 2, 3]
    for rubbish in (None, 3, "text", b"bytes", {"a": UNIT}, {1, 2}, np.array(3.0), np.array("text"), np.float32(3)):
        with pytest.raises(TypeError, match="expected a list of embeddings"):
            validator.validate_batch(rubbish)  # type: ignore[arg-type]
    for rubbish in (None, 3, "text", [UNIT]):
        with pytest.raises(TypeError, match="expected an array of float32"):
            validator.check(rubbish)  # type: ignore[arg-type]
        with pytest.raises(embedmill.UsageError, match="embedder is"):
            EmbeddingValidator.of(rubbish)  # type: ignore[arg-type]
