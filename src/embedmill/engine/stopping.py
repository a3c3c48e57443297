"""What it means to stop a run early: the same for every run."""

from __future__ import annotations

import threading
from typing import Protocol

from embedmill.core.interfaces.executor import TO_FINISH


class _Finishes(Protocol):
    def finish_within(self, seconds: float) -> None: ...


class Stopping:
    """Whether a run is to end early, and what is in flight: executor and storage have `TO_FINISH` seconds for it.

    Nothing long begins afterwards: who would begin it asks `asked` before.
    """

    def __init__(self, *parts: _Finishes | None) -> None:
        self._parts = [part for part in parts if part is not None]
        self._event = threading.Event()

    def add(self, part: _Finishes) -> None:
        """One more part of the run."""
        self._parts.append(part)
        if self._event.is_set():
            part.finish_within(TO_FINISH)

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
