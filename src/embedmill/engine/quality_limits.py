"""Limits on the numbers of many vectors, as ``near-duplicates=0.05``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from embedmill.core.errors import UsageError
from embedmill.engine.quality import Quality

_MOST: Final[dict[str, Callable[[Quality], float | None]]] = {
    "exact-duplicates": lambda quality: quality.exact_duplicates,
    "near-duplicates": lambda quality: quality.near_duplicates,
    "mean-cosine": lambda quality: quality.mean_cosine,
    "norm-max": lambda quality: quality.norm_max,
}
_LEAST: Final[dict[str, Callable[[Quality], float | None]]] = {
    "norm-min": lambda quality: quality.norm_min,
    "effective-dimension": lambda quality: quality.effective_dimension,
}
LIMITED: Final = (*_MOST, *_LEAST)
"""The names of numbers that there may be limits on."""


_RANGES: Final[dict[str, tuple[float, float]]] = {
    "exact-duplicates": (0, 1),
    "near-duplicates": (0, 1),
    "mean-cosine": (-1, 1),
    "norm-max": (0, math.inf),
    "norm-min": (0, math.inf),
    "effective-dimension": (1, math.inf),
}
"""What the numbers can be, both ends included: a limit beyond would always hold, or never."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a number may be: at most so much; or, of the least length and the effective dimension, at least."""

    name: str  # one of `LIMITED`
    value: float

    def exceeded(self, quality: Quality) -> str:
        """How the number goes beyond it, for people; "" where it does not, or there is none."""
        at_most = self.name in _MOST
        found = (_MOST | _LEAST)[self.name](quality)
        if found is None or (found <= self.value if at_most else found >= self.value):
            return ""
        return f"{self.name} is {found:.4g}, {'more' if at_most else 'less'} than {self.value:.4g}"


def parse_limits(given: Sequence[str]) -> list[Limit]:
    """Limits from ``NAME=NUMBER``. Raises `UsageError` for what is none, and for two of one name."""
    limits: dict[str, Limit] = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if name not in LIMITED or not math.isfinite(value):
            raise UsageError(f"--limit: {text!r} does not fit: expected NAME=NUMBER, NAME one of {', '.join(LIMITED)}")
        least, most = _RANGES[name]
        if not least <= value <= most:
            raise UsageError(
                f"--limit: {name} is {least:g} {f'to {most:g}' if most < math.inf else 'or more'}, not {number}"
            )
        if name in limits:
            raise UsageError(f"--limit: {name} has two limits: leave one out")
        limits[name] = Limit(name, value)
    return list(limits.values())
