"""Which texts share a model call: those of nearly one length.

A text waits in the bucket of its length, rounded up, until the bucket is worth a call, or until `patience` other
texts have come since the bucket was begun, so that memory stays bounded and a rare length does not hold up its
document. A bucket's batches all have the same shape: the engine prepares each shape once, and keeps few of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from embedmill.core.errors import UsageError
from embedmill.core.vectors import Batch, Embedded

T = TypeVar("T")

TOKEN_BUDGET = 1024
"""Tokens in a full batch, padding counted: less loses to the overhead of a call, more gains nothing
(benchmarks/README.md)."""

ROUNDING = 16
"""Tokens. Matrix kernels are up to a sixth slower where a length is no multiple of 16, which costs more than
the padding (benchmarks/README.md)."""

PATIENCE = 4096
"""Texts. Far more than buckets of common lengths need to fill; at most some 20 s on two cores."""


def padded(length: int) -> int:
    """The number of tokens that a text of this length is padded to."""
    return -(-length // ROUNDING) * ROUNDING


def batches(
    items: Iterable[T],
    length: Callable[[T], int],
    *,
    budget: int = TOKEN_BUDGET,
    most: int | None = None,
    patience: int = PATIENCE,
) -> Iterator[list[T]]:
    """Group a stream's items by their padded length; every item comes out exactly once.

    A batch has at most ``max(1, budget // padded length)`` items, and at most `most`. Pulls from `items` only when
    asked for more.
    """
    buckets: dict[int, list[T]] = {}  # in the order in which they were begun
    begun: dict[int, int] = {}  # length -> how many items had come before its bucket was begun
    for count, item in enumerate(items):
        size = padded(length(item))
        bucket = buckets.get(size)
        if bucket is None:
            bucket = buckets[size] = []
            begun[size] = count
        bucket.append(item)
        if (len(bucket) + 1) * size > budget or len(bucket) == most:
            del buckets[size], begun[size]
            yield bucket
        if buckets:
            oldest = next(iter(buckets))
            if count - begun[oldest] >= patience:
                del begun[oldest]
                yield buckets.pop(oldest)
    # The largest first, so that all streams come to their end at about the same time.
    yield from sorted(buckets.values(), key=lambda bucket: len(bucket) * padded(length(bucket[0])), reverse=True)


class Outstanding(Generic[T]):
    """What belongs to the batches that an executor has and has not answered yet.

    A batch is known by its texts, and not as an object: an executor may answer with an equal batch, copied or come back
    from another machine. Batches of the same texts have the same vectors, so that the one that was begun first may take
    either answer.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, ...], deque[T]] = {}

    def add(self, batch: Batch, belonging: T) -> None:
        """Take note of a batch that is given to an executor."""
        self._waiting.setdefault(batch.texts, deque()).append(belonging)

    def take(self, embedded: Embedded) -> T:
        """What belongs to the batch that this answers. Raises `UsageError` for what is no answer to any."""
        texts = tuple(embedded.batch.texts)
        rows = len(embedded.vectors)
        if texts not in self._waiting:
            raise UsageError("the executor answered with a batch that it was not given: each answer has its own batch")
        if rows != len(texts):
            raise UsageError(
                f"the executor gave {rows} vectors for a batch of {len(texts)} texts: expected one for each"
            )
        same = self._waiting[texts]
        belonging = same.popleft()
        if not same:
            del self._waiting[texts]
        return belonging

    def check(self) -> None:
        """Raise `UsageError` where an executor has ended without an answer to each batch."""
        if left := sum(map(len, self._waiting.values())):
            raise UsageError(f"the executor ended without an answer to {left} of the batches that it was given")
