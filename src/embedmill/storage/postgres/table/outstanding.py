"""Which rows a run still has to do with."""

from __future__ import annotations

import threading
from collections.abc import Iterable


class OutstandingRows:
    """The rows that a run has claimed, and neither written nor failed yet, by tracking id. For several threads."""

    def __init__(self) -> None:
        self._using = threading.Lock()
        self._claimed: set[int] = set()
        self._left: set[int] = set()  # as they were, since others have locked them

    def add(self, ids: Iterable[int]) -> None:
        """These have been claimed."""
        with self._using:
            self._claimed.update(ids)

    def all(self) -> list[int]:
        """All of them."""
        with self._using:
            return list(self._claimed)

    def leave(self, ids: set[int]) -> None:
        """These have been left as they were, since others have locked them: they stay claimed."""
        with self._using:
            self._left |= ids

    def settle(self, ids: Iterable[int]) -> None:
        """These have been written, have failed or were given up, but for those that were left."""
        with self._using:
            self._claimed.difference_update(set(ids) - self._left)

    def take_left(self, ids: Iterable[int]) -> set[int]:
        """Those of these that were left; each is told once."""
        with self._using:
            left = self._left.intersection(ids)
            self._left -= left
        return left
