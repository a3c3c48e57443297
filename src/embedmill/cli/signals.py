"""What SIGINT (Ctrl-C) and SIGTERM do."""

from __future__ import annotations

import _thread
import os
import signal
import time
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn, Self

from embedmill.engine.stopping import TO_FINISH

if TYPE_CHECKING:
    from embedmill.core.interfaces.executor import Stoppable

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

_ONE: Final = 0.1
"""Seconds in which signals count as one: `timeout` and supervisors send theirs to a process and to its group,
one right after the other. People press Ctrl-C again after twice as long at the least."""

_CLEAR_LINE: Final = b"\r\x1b[K"


class Interrupted(BaseException):
    """A signal asked the process to end. No `KeyboardInterrupt`, since the argument parser swallows those."""


def raise_interrupted() -> None:
    """Let both signals raise `Interrupted`."""
    for number in _SIGNALS:
        signal.signal(number, _raise)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    _thread.start_new_thread(_end_late, ())  # threading's own takes locks, which a signal may come in the midst of
    raise Interrupted


def _end_late() -> None:
    """End the process where it does not by itself: a thread, or the end of a transaction, waits for a server.

    A command that is interrupted has as long as a run that is stopped.
    """
    time.sleep(TO_FINISH)
    os.write(2, b"interrupted\n")
    os._exit(130)


class StopOnSignal:
    """Within this context a first signal ends a run early and keeps what is finished, a later one ends the process."""

    def __init__(self) -> None:
        self.asked = False
        self._asked_at = 0.0
        self._run: Stoppable | None = None

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        raise_interrupted()

    def watch(self, run: Stoppable | None) -> None:
        """From now on there is a run to stop; before, and with None, a signal raises `Interrupted`."""
        self._run = run

    def repeat(self) -> None:
        """Pass on a signal that came while the run was only just beginning."""
        if self.asked and self._run is not None:
            self._run.stop()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._run is None:
            _raise(number, frame)
        # Not through sys.stderr: a signal may come in the midst of its own writing.
        before = _CLEAR_LINE if os.isatty(2) else b""
        if self.asked:  # at once: the store bears that, as it bears a kill
            if time.monotonic() - self._asked_at < _ONE:
                return
            os.write(2, before + b"interrupted\n")
            os._exit(130)
        self.asked, self._asked_at = True, time.monotonic()
        self._run.stop()
        os.write(2, before + b"stopping: storing what is finished (once more to end at once)\n")
