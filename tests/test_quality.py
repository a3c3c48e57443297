"""The numbers of many vectors together, against the plain definitions that they are quick forms of."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedmill.engine import quality
from embedmill.engine.quality import NEAR, Quality, QualityMeter


def units(rows: int, dimension: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def numbers(vectors: NDArray[np.float32]) -> Quality:
    meter = QualityMeter(vectors.shape[-1])
    meter.add(vectors)
    measured = meter.result()
    assert measured is not None
    return measured


@st.composite
def some_vectors(draw: st.DrawFn) -> NDArray[np.float32]:
    """Few vectors, some of them equal or nearly so, of lengths from 0.1 to 10."""
    dimension, rows = draw(st.integers(1, 12)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    vectors = random.standard_normal((rows, dimension)).astype(np.float32)
    for row in range(rows):
        match draw(st.sampled_from(["new", "new", "same", "near"])):
            case "same":
                vectors[row] = vectors[random.integers(0, rows)]
            case "near":
                vectors[row] = vectors[random.integers(0, rows)] * 1.5 + random.normal(0, 0.01, dimension)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.clip(lengths, 0.1, 10).astype(np.float32) * vectors / np.maximum(lengths, 1e-6)


@settings(deadline=None)
@given(some_vectors())
def test_each_number_is_its_definition(vectors: NDArray[np.float32]) -> None:
    if not np.linalg.norm(vectors, axis=1).all():
        return
    found = numbers(vectors)
    precise = vectors.astype(np.float64)
    norms = np.linalg.norm(precise, axis=1)
    assert (found.norm_min, found.norm_mean, found.norm_max) == pytest.approx(
        (norms.min(), norms.mean(), norms.max()), rel=1e-5
    )
    cosines = (precise @ precise.T) / np.outer(norms, norms)
    pairs = cosines[~np.eye(len(vectors), dtype=bool)]
    if len(vectors) == 1:
        assert found.mean_cosine is None
    else:
        assert found.mean_cosine == pytest.approx(pairs.mean(), abs=1e-5)
    later = np.triu(np.ones_like(cosines, dtype=bool), 1)
    if not (np.abs(cosines - NEAR) < 1e-5)[later].any():
        assert found.near_duplicates == pytest.approx((later & (cosines >= NEAR)).any(axis=1).mean())
    assert found.exact_duplicates == pytest.approx(1 - len({row.tobytes() for row in vectors}) / len(vectors))
    assert found.near_duplicates >= found.exact_duplicates - 1e-9
    spectrum = np.linalg.svd(precise - precise.mean(axis=0), compute_uv=False) ** 2
    expected = spectrum.sum() ** 2 / (spectrum**2).sum() if spectrum.sum() > 1e-9 else None
    if expected is not None:
        assert found.effective_dimension == pytest.approx(expected, rel=1e-3)
    assert (found.vectors, found.near_sampled, found.near) == (len(vectors), len(vectors), NEAR)


@settings(deadline=None)
@given(some_vectors(), st.lists(st.integers(0, 40), max_size=5))
def test_parts_make_no_difference(vectors: NDArray[np.float32], cuts: list[int]) -> None:
    if not np.linalg.norm(vectors, axis=1).all():
        return
    meter = QualityMeter(vectors.shape[1])
    for part in np.split(vectors, sorted(min(cut, len(vectors)) for cut in cuts)):
        meter.add(part)
    apart, whole = meter.result(), numbers(vectors)
    assert apart is not None
    assert (apart.exact_duplicates, apart.near_duplicates) == (whole.exact_duplicates, whole.near_duplicates)
    assert (apart.norm_mean, apart.effective_dimension) == pytest.approx(
        (whole.norm_mean, whole.effective_dimension), rel=1e-4, abs=1e-4
    )


def test_nothing_has_no_numbers_and_one_vector_no_pairs() -> None:
    meter = QualityMeter(3)
    meter.add(np.empty((0, 3), np.float32))
    assert meter.result() is None
    assert numbers(units(1, 3)).to_dict() == {
        "vectors": 1,
        "norms": {"min": pytest.approx(1), "mean": pytest.approx(1), "max": pytest.approx(1)},
        "mean_cosine": None,
        "exact_duplicates": 0.0,
        "near_duplicates": 0.0,
        "near": 0.95,
        "near_sampled": 1,
        "effective_dimension": 0.0,
    }


def test_vectors_that_are_all_the_same() -> None:
    found = numbers(np.repeat(units(1, 8), 100, axis=0))
    assert (found.mean_cosine, found.effective_dimension) == (pytest.approx(1), 0.0)
    assert (found.exact_duplicates, found.near_duplicates) == (pytest.approx(0.99), pytest.approx(0.99))


@pytest.mark.parametrize("used", [1, 5, 64])
def test_as_many_dimensions_as_are_used(used: int) -> None:
    vectors = np.zeros((5000, 64), np.float32)
    vectors[:, :used] = np.random.default_rng(3).standard_normal((5000, used))
    assert numbers(vectors).effective_dimension == pytest.approx(used, rel=0.05)


def test_a_share_of_a_sample_is_near_the_share_of_all() -> None:
    vectors = units(12_000, 48)
    copies = np.random.default_rng(1).choice(12_000, 1200, replace=False)
    noise = np.random.default_rng(2).normal(0, 0.005, (1200, 48)).astype(np.float32)
    everything = np.concatenate([vectors, vectors[copies] + noise])
    shuffled = everything[np.random.default_rng(4).permutation(len(everything))]
    found = numbers(shuffled)
    assert found.near_sampled == quality.SAMPLED < len(shuffled)
    assert found.near_duplicates == pytest.approx(1200 / 13_200, abs=0.02)
    assert found.exact_duplicates == 0


def test_exact_duplicates_beyond_what_is_counted_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "_DISTINCT", 1000)
    vectors = units(20_000, 4)
    found = numbers(np.concatenate([vectors, vectors[:4999]]))
    assert found.exact_duplicates == pytest.approx(0.2, abs=0.05)
    assert found.exact_duplicates != 4999 / 24_999  # which no share of some thousand can be


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 3), np.float32),
        np.full((1, 3), np.nan, np.float32),
        np.full((1, 3), 3e38, np.float32),
        np.ones((1, 3)),
        np.ones((1, 4), np.float32),
        np.ones(3, np.float32),
    ],
)
def test_what_is_no_vector_is_refused(wrong: NDArray[np.float32]) -> None:
    meter = QualityMeter(3)
    with pytest.raises(ValueError, match="vector"):
        meter.add(wrong)
    assert meter.result() is None


def test_memory_does_not_grow_with_what_is_added() -> None:
    part = units(1000, 64)
    meter = QualityMeter(64)
    meter.add(part)
    tracemalloc.start()
    for _ in range(50):
        meter.add(part)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6
