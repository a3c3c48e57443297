"""What it means to stop a run early: the same for every run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

TO_FINISH: Final = 5.0
"""Seconds that what is in flight has when a run is stopped."""


class _Finishes(Protocol):
    def finish_within(self, seconds: float) -> None: ...


class Stopping:
    """Whether a run is to end early, and what is in flight: executor and storage have `TO_FINISH` seconds for it.

    Nothing long begins afterwards: who would begin it asks `asked` before.
    """

    def __init__(self, *parts: _Finishes | None) -> None:
        self._parts = [part for part in parts if part is not None]
        self._event = threading.Event()

    @contextmanager
    def also(self, part: _Finishes) -> Iterator[None]:
        """Within this context the run has one part more."""
        self._parts = [*self._parts, part]
        if self._event.is_set():
            part.finish_within(TO_FINISH)
        try:
            yield
        finally:
            self._parts = [each for each in self._parts if each is not part]

    def stop(self) -> None:
        """End the run; from any thread, or a signal handler."""
        self._event.set()
        for part in self._parts:
            part.finish_within(TO_FINISH)

    def asked(self) -> bool:
        """Whether the run is to end."""
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Wait, but not beyond a stop."""
        self._event.wait(seconds)
