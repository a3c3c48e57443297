"""Vectors of a list of texts, whatever computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set

import numpy as np

from embedmill.batching import Outstanding, batches
from embedmill.records import Batch, Cause, Embedded, TokenIds, Vectors

_ENCODE_AT_ONCE = 64
"""Texts. Small, so that tokenising the next ones runs beside the model rather than before it."""


def checked(texts: Iterable[str]) -> list[str]:
    """The texts as a list. Raises `TypeError` for what is no row of texts, as a single text."""
    if isinstance(texts, str | bytes | Mapping | Set):
        raise TypeError(f"expected a list of texts, got a {type(texts).__name__}: put a single text into a list")
    listed = list(texts)
    for row, text in enumerate(listed):
        if not isinstance(text, str):
            raise TypeError(f"expected a list of texts: number {row} is a {type(text).__name__}")
    return listed


def embed_list(
    texts: Sequence[str],
    dimension: int,
    encode: Callable[[Sequence[str]], Sequence[TokenIds]],
    run: Callable[[Iterable[Batch]], Iterable[Embedded]],
) -> tuple[Vectors, dict[int, Cause]]:
    """Vectors of ``(len(texts), dimension)`` in the texts' order; NaN in the rows that have a cause.

    `run` is an executor's, or does as one. Raises `UsageError` where it does not answer each batch.
    """
    vectors = np.full((len(texts), dimension), np.nan, np.float32)
    causes: dict[int, Cause] = {}
    rows: Outstanding[list[int]] = Outstanding()

    def encoded() -> Iterator[tuple[int, TokenIds]]:
        for first in range(0, len(texts), _ENCODE_AT_ONCE):
            yield from enumerate(encode(texts[first : first + _ENCODE_AT_ONCE]), start=first)

    def calls() -> Iterator[Batch]:
        for group in batches(encoded(), lambda item: len(item[1])):
            batch = Batch(tuple(texts[row] for row, _ in group), tuple(ids for _, ids in group))
            rows.add(batch, [row for row, _ in group])
            yield batch

    for embedded in run(calls()):
        own = rows.take(embedded)
        vectors[own] = embedded.vectors
        causes.update({own[row]: cause for row, cause in embedded.causes.items()})
    rows.check()
    return vectors, causes
