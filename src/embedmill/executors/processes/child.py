"""The parent's side of one worker process."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from typing import Any, Final

from embedmill.executors.processes import worker
from embedmill.executors.processes.frames import Frame, FrameKind, Incoming, pack
from embedmill.runtime.child_process import DUMP_SIGNAL, PrintedTail, start_child

_READ_AT_ONCE: Final = 1 << 18  # bytes
_DUMPED_WITHIN: Final = 0.3  # seconds that a hanging worker has to print its stacks; a stopped one cannot

_ENVIRONMENT: Final = {
    "TOKENIZERS_PARALLELISM": "false",  # workers do not tokenise, and a library that did would fight for the cores
}


class IsolatedEmbedder:
    """An embedder in a process of its own, as its supervisor sees it: nothing here blocks.

    Raises `OSError` where the process cannot be started.
    """

    def __init__(self, factory: bytes, main: Mapping[str, Any] | None, threads: int) -> None:
        """Start the process; `factory` is pickled, `main` what `multiprocessing.spawn` says of the user's script."""
        self._incoming = Incoming()
        self._outgoing = bytearray()
        self._printed = PrintedTail()
        self._process, self.socket, self.output = start_child(worker.__name__, _ENVIRONMENT)
        self.sentinel = _sentinel(self._process.pid)
        self.socket.setblocking(False)
        os.set_blocking(self.output, False)
        self.send(pack(FrameKind.FACTORY, facts={"threads": threads, "main": main}, body=factory))

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def unsent(self) -> bool:
        """Whether bytes wait for the socket to take them."""
        return bool(self._outgoing)

    def send(self, frame: bytes = b"") -> None:
        """Send this and what still waits, as far as the socket takes it."""
        self._outgoing += frame
        with contextlib.suppress(BlockingIOError, ConnectionError):  # of its end `receive` tells
            while self._outgoing:
                sent = self.socket.send(self._outgoing)
                del self._outgoing[:sent]

    def receive(self) -> tuple[list[Frame], bool]:
        """What has come, and whether the worker's end is still open. Raises `ProtocolError`."""
        frames: list[Frame] = []
        while True:
            try:
                data = self.socket.recv(_READ_AT_ONCE)
            except BlockingIOError:
                return frames, True
            except ConnectionError:
                data = b""
            if not data:
                return frames, False
            frames += self._incoming.feed(data)

    def listen(self) -> bool:
        """Take what the worker has printed; whether there may be more."""
        while True:
            try:
                data = os.read(self.output, _READ_AT_ONCE)
            except BlockingIOError:
                return True
            self._printed.add(data)
            if not data:
                return False

    def last_words(self, lines: int = 5) -> str:
        """The last lines that the worker printed."""
        return "\n".join(self._printed.last_lines(lines))

    def dump(self) -> str:
        """Have a hanging worker print its stacks, and give what it printed. Waits for less than half a second."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, DUMP_SIGNAL)
        time.sleep(_DUMPED_WITHIN)
        self.listen()
        return self.last_words(lines=60)

    def release(self) -> int:
        """Close what belongs to the process, end it where it has not ended, and give its exit code."""
        self._process.kill()
        code = self._process.wait()
        self.listen()
        self.socket.close()
        os.close(self.output)
        if self.sentinel is not None:
            os.close(self.sentinel)
        return code


def _sentinel(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; elsewhere than on Linux its socket has to tell."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
