"""Limits on the numbers of many vectors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from embedmill.core.errors import UsageError
from embedmill.engine.quality import Quality, QualityMeter
from embedmill.engine.quality_limits import LIMITED, parse_limits

RANGES = dict.fromkeys(LIMITED, (0, 1e6)) | {
    "exact-duplicates": (0, 1),
    "near-duplicates": (0, 1),
    "mean-cosine": (-1, 1),
    "effective-dimension": (1, 1e6),
}
VECTORS = np.random.default_rng(2).standard_normal((50, 8)).astype(np.float32)


def numbers(vectors: NDArray[np.float32]) -> Quality:
    meter = QualityMeter(vectors.shape[1])
    meter.add(vectors)
    measured = meter.result()
    assert measured is not None
    return measured


@pytest.mark.parametrize("name", LIMITED)
def test_each_number_has_a_limit_that_holds_and_one_that_does_not(name: str) -> None:
    quality = numbers(np.vstack([VECTORS, VECTORS[:1]]))
    low, high = (parse_limits([f"{name}={value}"])[0].exceeded(quality) for value in RANGES[name])
    assert sorted(map(bool, (low, high))) == [False, True]
    assert (low or high).startswith(f"{name} is ")


def test_a_number_that_there_is_not_exceeds_nothing() -> None:
    quality = numbers(VECTORS[:1])
    assert quality.mean_cosine is None
    assert parse_limits(["mean-cosine=-1"])[0].exceeded(quality) == ""


@pytest.mark.parametrize("wrong", ["", "near-duplicates", "near-duplicates=", "near-duplicates=nan", "other=1", "=1"])
def test_what_is_no_limit_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="--limit"):
        parse_limits([wrong])


@pytest.mark.parametrize(
    "wrong", ["near-duplicates=5", "exact-duplicates=-0.1", "mean-cosine=1.5", "norm-max=-1", "effective-dimension=0"]
)
def test_a_limit_that_always_holds_or_never_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match=rf"--limit: {wrong.partition('=')[0]} is .* not"):
        parse_limits([wrong])


def test_two_limits_on_one_number_are_refused() -> None:
    with pytest.raises(UsageError, match="two limits"):
        parse_limits(["norm-min=1", "norm-min=2"])
