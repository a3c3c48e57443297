"""What the stages of a run, each in threads of its own, hand to one another."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The other side has ended."""


class Channel(Generic[T]):
    """A queue whose bound may change, and which knows how long its two sides have waited for each other.

    An error of one side is raised at the other (`fail`). Waiting takes no time of the processor.
    """

    def __init__(self, bound: int) -> None:
        self._items: deque[T] = deque()
        self._bound = bound
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        self._last: BaseException | None = None  # comes after what waits
        self._untaken = 0
        self.waited_to_put = 0.0  # seconds
        self.waited_to_get = 0.0  # seconds, of all threads together

    def put(self, item: T) -> None:
        """Hand over; waits while the queue is full. Raises the other side's error, or `Closed` after `end`."""
        started = time.perf_counter()
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._bound or self._ended)
            self.waited_to_put += time.perf_counter() - started
            self._raise()
            if self._ended:
                raise Closed
            self._items.append(item)
            self._untaken += 1
            self._changed.notify_all()

    def get(self) -> T:
        """Take the next; waits while there is none. Raises the other side's error, and `Closed` at the end."""
        return self.get_together(1, lambda first, second: False)[0]

    def get_together(self, most: int, together: Callable[[T, T], bool]) -> list[T]:
        """Take the next, and of those that wait behind it, up to `most` in all, such as go `together`."""
        started = time.perf_counter()
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended)
            self.waited_to_get += time.perf_counter() - started
            self._raise()
            if not self._items:
                raise self._last or Closed
            taken = [self._items.popleft()]
            while self._items and len(taken) < most and together(taken[-1], self._items[0]):
                taken.append(self._items.popleft())
            self._changed.notify_all()
            return taken

    def done(self, items: int = 1) -> None:
        """What was taken last has been worked on (for `drain`)."""
        with self._changed:
            self._untaken -= items
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until all that was put has been worked on. Raises the other side's error."""
        with self._changed:
            self._changed.wait_for(lambda: not self._untaken or self._error is not None)
            self._raise()

    def allow(self, bound: int) -> None:
        """From now on so many items may wait."""
        with self._changed:
            self._bound = bound
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """No more is put; what waits may still be taken, and then the error is raised."""
        with self._changed:
            self._last = error
            self._ended = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """End with an error, which both sides get; what waits is dropped."""
        with self._changed:
            self._error = self._error or error
            self._ended = True
            self._items.clear()
            self._changed.notify_all()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
