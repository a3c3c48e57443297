"""Which texts share a model call: those of one length.

A batch holds texts with the same number of tokens, so nothing is padded and nothing needs a mask. A text waits
in the bucket of its length until the bucket is worth a call, or until `patience` other texts have come since
the bucket was begun, so that memory stays bounded and a rare length does not hold up its document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

TOKEN_BUDGET = 1024
"""Tokens in a full batch. Measured in benchmarks/README.md: less loses to the overhead of a call, more to the
processor's second-level cache."""

PATIENCE = 4096
"""Texts. At 256 lengths a bucket fills within it on ordinary text; the wait is some 20 s on two cores."""


def batches(
    items: Iterable[T],
    length: Callable[[T], int],
    *,
    budget: int = TOKEN_BUDGET,
    patience: int = PATIENCE,
) -> Iterator[list[T]]:
    """Group a stream's items by length; every item comes out exactly once.

    A batch has at most ``max(1, budget // length)`` items. Pulls from `items` only when asked for more.
    """
    buckets: dict[int, list[T]] = {}  # in the order in which they were begun
    begun: dict[int, int] = {}  # length -> how many items had come before its bucket was begun
    for count, item in enumerate(items):
        size = length(item)
        bucket = buckets.get(size)
        if bucket is None:
            bucket = buckets[size] = []
            begun[size] = count
        bucket.append(item)
        if (len(bucket) + 1) * size > budget:
            del buckets[size], begun[size]
            yield bucket
        if buckets:
            oldest = next(iter(buckets))
            if count - begun[oldest] >= patience:
                del begun[oldest]
                yield buckets.pop(oldest)
    # The largest first, so that all streams come to their end at about the same time.
    yield from sorted(buckets.values(), key=lambda bucket: len(bucket) * length(bucket[0]), reverse=True)
