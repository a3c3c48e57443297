"""Work on a stream in several threads, in order and with bounded look-ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered(
    work: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int | None = None
) -> Iterator[tuple[T, R]]:
    """Each item with ``work(item)``, in the items' order, worked on by `threads` threads.

    At most `ahead` items (by default two for each thread) are taken beyond the one that was last given out. An
    exception in `work` or in `items` comes out where its item would have; what was begun is finished first.
    """
    bound = ahead if ahead is not None else 2 * threads
    pending: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="embedmill") as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(work, item)))
                if len(pending) > bound:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            for _, future in pending:
                future.cancel()
