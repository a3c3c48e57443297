"""The batch's side of a process of jobs."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

import psutil

from embedmill.jobs.running import child
from embedmill.jobs.running.messages import JobOrder, StopOrder
from embedmill.runtime.child_process import PrintedTail, died_of, start_child

log = logging.getLogger(__name__)

_READ_AT_ONCE: Final = 16_384  # bytes
_ENDED_WITHIN: Final = 5.0  # seconds
_LINES: Final = 3  # of what a process printed last that are told with its end
_FRAME: Final = re.compile(r"  File |(Current )?[Tt]hread 0x|  <no Python frame>|  Garbage-collecting")
"""What a crash prints of where it was: for the log."""
_MB: Final = 1 << 20


class JobProcess:
    """A process that does jobs, one after another. Raises `OSError` where it cannot be started."""

    def __init__(self, cores: int) -> None:
        """Start it, for jobs that are to keep so many cores busy."""
        # Libraries that look how many cores there are would each take them all.
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), str(cores))
        self._process, ours, output = start_child(child.__name__, threads)
        self.connection = Connection(ours.detach())
        self._printed = PrintedTail()
        self._listening = threading.Thread(target=self._listen, args=[output], name="job-output", daemon=True)
        self._listening.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def order(self, order: JobOrder | StopOrder) -> None:
        """Give the process something to do; of one that has died `receive` tells."""
        with suppress(OSError):
            self.connection.send(order)

    def receive(self) -> Any:
        """What the process has to say; None where it has died. Blocks, where `connection` has nothing to read."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def memory_mb(self) -> float:
        """Megabytes that it, and all processes below it, take now; 0 where that cannot be read."""
        taken = 0
        with suppress(psutil.Error, OSError):
            process = psutil.Process(self._process.pid)
            for each in [process, *process.children(recursive=True)]:
                with suppress(psutil.Error, OSError):
                    taken += each.memory_info().rss
        return taken / _MB

    def end(self) -> str:
        """End the process, where it has not ended, and say what it died of, with what it printed last."""
        self._process.kill()
        code = self._process.wait()
        self.connection.close()
        self._listening.join(_ENDED_WITHIN)  # a process below it may still hold the pipe
        printed = self._printed.last_lines(60)
        log.debug("process %d: %s", self.pid, "\n".join(printed))
        said = " | ".join([line for line in printed if not _FRAME.match(line)][-_LINES:])
        return died_of(code) + (f": {said}" if said else "")

    def dismiss(self) -> None:
        """Let the process end by itself: it has nothing more to do."""
        self.connection.close()
        try:
            self._process.wait(_ENDED_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self, output: int) -> None:
        with os.fdopen(output, "rb", buffering=0) as stream:
            while data := stream.read(_READ_AT_ONCE):
                self._printed.add(data)
