from __future__ import annotations

import numpy as np
import pytest

from embedmill import EmbeddingValidator


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
