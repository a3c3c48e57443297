"""Work on a stream in other threads, in order and with bounded look-ahead."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

from embedmill.runtime.channel import Channel, Closed

T = TypeVar("T")
R = TypeVar("R")


def check_process(begun_in: int) -> None:
    """Raise `RuntimeError` in a process that was forked from the one that began: its threads are not here."""
    if os.getpid() != begun_in:
        raise RuntimeError("this process was forked in the midst of a run, whose threads it does not have: begin anew")


def ordered(
    work: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int | None = None
) -> Iterator[tuple[T, R]]:
    """Each item with ``work(item)``, in the items' order, worked on by `threads` threads.

    At most `ahead` items (by default two for each thread) are taken beyond the one that was last given out. An
    exception in `work` or in `items` comes out where its item would have; what was begun is finished first.
    """
    bound = ahead if ahead is not None else 2 * threads
    pending: deque[tuple[T, Future[R]]] = deque()
    process = os.getpid()
    with ThreadPoolExecutor(threads, thread_name_prefix="embedmill") as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(work, item)))
                if len(pending) > bound:
                    first, future = pending.popleft()
                    yield first, future.result()
                    check_process(process)
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
                check_process(process)
        finally:
            for _, future in pending:
                future.cancel()


@contextmanager
def prefetch(items: Iterable[T], *, depth: int) -> Iterator[Iterator[T]]:
    """Iterate over `items` in a thread of its own, at most `depth` items ahead of the caller.

    An exception in `items` comes out where its item would have. On leaving, the thread is told to end and has
    ended; an item that it is working on is finished first.
    """
    ready: Channel[T] = Channel(depth)
    process = os.getpid()

    def fetch() -> None:
        try:
            for item in items:
                ready.put(item)
            ready.end()
        except Closed:  # nobody asks any more
            pass
        except BaseException as error:  # carried to the thread that asked for the items
            ready.end(error)

    def taken() -> Iterator[T]:
        with suppress(Closed):
            while True:
                yield ready.get()
                check_process(process)

    thread = threading.Thread(target=fetch, name="embedmill-fetch", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        if os.getpid() == process:  # a fork has neither the thread nor, maybe, the channel's lock
            ready.fail(Closed())
            thread.join()
