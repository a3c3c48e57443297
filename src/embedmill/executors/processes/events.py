"""What a pool's supervisor waits for: answers, output and deaths of its workers, and being woken."""

from __future__ import annotations

import contextlib
import os
import selectors
from collections.abc import Callable

from embedmill.executors.processes.slots import Worker


class Events:
    """The files that are waited for. All but `wake` is for the supervisor's thread alone."""

    def __init__(self, hear: Callable[[Worker, bool], None]) -> None:
        """`hear` is called with a worker that has sent something, or whose process has ended: True then."""
        self._hear = hear
        self._watched: set[Worker] = set()

    def open(self) -> None:
        """Before anything else; raises `OSError` where there is no descriptor left."""
        with contextlib.ExitStack() as opened:
            self._selector = opened.enter_context(selectors.DefaultSelector())
            self._wake_read, self._wake_write = os.pipe()
            opened.callback(os.close, self._wake_read)
            opened.callback(os.close, self._wake_write)
            os.set_blocking(self._wake_read, False)
            os.set_blocking(self._wake_write, False)
            self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Wait for nothing any more."""
        self._opened.close()

    def wait(self, seconds: float) -> None:
        """See to what happens, and wait for so long for that."""
        for key, _ in self._selector.select(seconds):
            key.data()

    def wake(self) -> None:
        """End a `wait`; from any thread."""
        with contextlib.suppress(OSError):  # it is awake, or has ended
            os.write(self._wake_write, b"!")

    def watch(self, worker: Worker) -> None:
        """Wait for a worker, too."""
        child = worker.child
        self._watched.add(worker)
        self._selector.register(child.socket, selectors.EVENT_READ, lambda: self._hear(worker, False))
        self._selector.register(child.output, selectors.EVENT_READ, lambda: self._listen(worker))
        if child.sentinel is not None:
            self._selector.register(child.sentinel, selectors.EVENT_READ, lambda: self._hear(worker, True))
        self.send(worker)

    def unwatch(self, worker: Worker) -> None:
        """Wait for a worker no more."""
        self._watched.discard(worker)
        for opened in (worker.child.socket, worker.child.output, worker.child.sentinel):
            if opened is not None:
                with contextlib.suppress(KeyError, ValueError):  # its output had ended before
                    self._selector.unregister(opened)

    def send(self, worker: Worker, frame: bytes = b"") -> None:
        """Send a worker a frame, and what could not be sent before, as soon as it takes it."""
        worker.child.send(frame)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.child.unsent else 0)
        self._selector.modify(worker.child.socket, events, lambda: self._hear(worker, False))

    def _listen(self, worker: Worker) -> None:
        # One that was given up earlier in the same round is not watched any more.
        if worker in self._watched and not worker.child.listen():
            self._selector.unregister(worker.child.output)

    def _woken(self) -> None:
        os.read(self._wake_read, 4096)
