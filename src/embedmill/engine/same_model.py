"""Whether a model gives the vectors that are stored, whatever it is called and however its files are laid out."""

from __future__ import annotations

from typing import Final

import numpy as np

from embedmill.core.vectors import Vectors

SAMPLE: Final = 64
"""Texts that are computed again: half a second. Where another model gave other vectors for one text in twenty, and the
same for all others, one of these is among them 19 times of 20."""

_MOST_IN_F32: Final = 0.01
"""How far two vectors of one text may lie apart, relative to their length, where both were computed in f32: a cosine of
0.99995. Another processor, another order of sums or another format of the same weights comes to 1e-5 (a cosine of
0.9999999), weights that were rounded to f16 to 0.0012, to bf16 to 0.0096. Weights that are off by 1 % come to 0.067."""

_MOST: Final = 0.03
"""The same where one of the two was computed in bf16, which alone comes to 0.011: a cosine of 0.9995."""


def agree(stored: Vectors, computed: Vectors, *, f32: bool) -> bool:
    """Whether each row of `stored` is the vector that was computed now; both are ``(n, dimension)``, n above 0.

    `f32`: both were computed in it. A row that is not finite agrees with nothing.
    """
    if stored.shape != computed.shape or not len(stored):
        return False
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.linalg.norm(stored - computed, axis=1)
        lengths = np.linalg.norm(computed, axis=1)
        return bool((apart <= (_MOST_IN_F32 if f32 else _MOST) * lengths).all())
