"""Which texts share a model call: those of nearly one length.

A text waits in the bucket of its length, rounded up, until the bucket is worth a call, or until `patience` other
texts have come since the bucket was begun, so that memory stays bounded and a rare length does not hold up its
document. A bucket's batches all have the same shape: the engine prepares each shape once, and keeps few of them.
"""

from __future__ import annotations

import heapq
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


LEAST = 80
"""Tokens, padding counted, of a batch that is made smaller so that all streams have something to do: a call costs as
much as some 20 tokens beside its own (benchmarks/README.md)."""

_UNEVEN = 1.1  # times as long as with all streams at work to the end: not worth another call


def padded(length: int) -> int:
    """The number of tokens that a text of this length is padded to."""
    return -(-length // ROUNDING) * ROUNDING


def capacity(size: int, most: int | None, budget: int = TOKEN_BUDGET) -> int:
    """How many texts of this padded length fill a batch, which has `most` of them where that is given."""
    return max(1, min(budget // max(1, size), budget if most is None else most))


def batches(
    items: Iterable[T],
    length: Callable[[T], int],
    *,
    budget: int = TOKEN_BUDGET,
    most: int | None = None,
    patience: int = PATIENCE,
    streams: int = 1,
) -> Iterator[list[T]]:
    """Group a stream's items by their padded length; every item comes out exactly once.

    A batch has at most ``max(1, budget // padded length)`` items, and at most `most`. What fills no more than a batch
    for each of so many `streams`, and what is left at the end, is divided among them. Pulls from `items` only when
    asked for more.
    """
    buckets: dict[int, list[T]] = {}  # in the order in which they were begun
    held: list[list[T]] = []  # the first full ones, until there is one for each stream
    enough = streams
    for batch in _filled(items, length, buckets, budget=budget, most=most, patience=patience):
        held.append(batch)
        if len(held) >= enough:
            yield from held
            held, enough = [], 1
    yield from divided([*held, *buckets.values()], lambda batch: len(batch) * padded(length(batch[0])), streams)


def _filled(
    items: Iterable[T],
    length: Callable[[T], int],
    buckets: dict[int, list[T]],
    *,
    budget: int,
    most: int | None,
    patience: int,
) -> Iterator[list[T]]:
    """The buckets that are worth a call, or have waited for long; what is left at the end stays in `buckets`."""
    begun: dict[int, int] = {}  # length -> how many items had come before its bucket was begun
    for count, item in enumerate(items):
        size = padded(length(item))
        bucket = buckets.get(size)
        if bucket is None:
            bucket = buckets[size] = []
            begun[size] = count
        bucket.append(item)
        if len(bucket) >= capacity(size, most, budget):
            del buckets[size], begun[size]
            yield bucket
        if buckets:
            oldest = next(iter(buckets))
            if count - begun[oldest] >= patience:
                del begun[oldest]
                yield buckets.pop(oldest)


def divided(batches: list[list[T]], tokens: Callable[[list[T]], int], streams: int) -> list[list[T]]:
    """The batches, the largest first, halved where that lets so many streams come to their end at about one time.

    Streams take the next batch whenever they have finished one.
    """
    while True:
        batches = sorted(batches, key=tokens, reverse=True)
        ends = [0] * streams  # a heap
        for batch in batches:
            heapq.heapreplace(ends, ends[0] + tokens(batch))
        divisible = (row for row, batch in enumerate(batches) if len(batch) > 1 and tokens(batch) >= 2 * LEAST)
        row = next(divisible, None)
        if row is None or max(ends) * streams <= _UNEVEN * sum(ends):
            return batches
        half = len(batches[row]) // 2
        batches[row : row + 1] = [batches[row][:half], batches[row][half:]]


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
