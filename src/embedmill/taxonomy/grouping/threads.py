"""Work for a bounded pool of threads, also from within it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Protocol, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class Map(Protocol):
    """What `map` does with one function and some items; in which threads, it knows itself."""

    def __call__(self, work: Callable[[In], Out], items: Sequence[In], /) -> Iterable[Out]:
        """The results, in the order of the items."""


def map_within(pool: Executor) -> Map:
    """A map for the tasks of a pool, which share its threads.

    What no other thread has begun the caller does itself, so that no task waits for one that has no thread.
    """

    def side_by_side(work: Callable[[In], Out], items: Sequence[In], /) -> list[Out]:
        if len(items) == 1:
            return [work(items[0])]
        futures = [pool.submit(work, item) for item in items]
        return [work(item) if future.cancel() else future.result() for item, future in zip(items, futures, strict=True)]

    return side_by_side
