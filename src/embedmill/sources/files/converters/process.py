"""The parent's side of the process that converts documents: one, started when the first document comes."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import spawn
from typing import Any, Final, TypeVar

from embedmill.sources.files.converters.child import HEADER, MEMORY

_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]);"
    "from embedmill.sources.files.converters.child import main; main(int(sys.argv[1]))"
)
_SILENT: Final = 1_800.0
"""Seconds without an answer after which the process is given up. Its processor time is bounded much closer; this is
for one that waits for ever."""

_LOOKED_AFTER: Final = 0.2  # seconds until it is seen that a run is to end
_AT_ONCE: Final = 1 << 20  # bytes
_SIZE_LIMIT: Final = 1 << 30  # bytes of an answer: more is a mistake

Given = TypeVar("Given")
Got = TypeVar("Got")

Until = Callable[[], float]
"""The time, by `time.monotonic`, at which a conversion is given up."""


class Died(Exception):
    """The process ended while it had the document; the message says of what."""


class Process:
    """Converts one document at a time; may be called from several threads, and after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def convert(self, suffix: str, data: bytes, until: Until) -> tuple[dict[str, Any], str]:
        """What the child tells of the document, and its text; `until` is the time by which it is given up.

        Raises `Died`, and `OSError` where no process can be started.
        """
        if self._owner not in (0, os.getpid()):
            self._forget()
        with self._lock:
            while True:
                fresh = self._start()
                try:
                    return self._exchange(suffix, data, until)
                except (EOFError, ConnectionError):
                    code = self._end()
                # It may have ended of idleness just now, and then a fresh one takes the document.
                if fresh or code != 0:
                    raise Died(_words(code))

    def close(self) -> None:
        """End the process, if there is one."""
        if self._owner == os.getpid():
            with self._lock:
                self._end()

    def _start(self) -> bool:
        if self._process is not None and self._process.poll() is None:
            return False
        self._end()
        if not (python := spawn.get_executable()):
            raise OSError("Python does not know where its interpreter lies: see multiprocessing.set_executable")
        path = [entry for entry in sys.path if isinstance(entry, str)]
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - this interpreter and our own program
                    [python, "-P", "-c", _PROGRAM, str(theirs.fileno()), json.dumps(path)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # what libraries print names no file
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # a terminal's Ctrl-C is for the parent
                )
            except BaseException:
                ours.close()
                raise
        ours.settimeout(_LOOKED_AFTER)
        self._socket, self._owner = ours, os.getpid()
        threading.Thread(target=self._process.wait, name="embedmill-convert", daemon=True).start()  # no zombie stays
        return True

    def _exchange(self, suffix: str, data: bytes, until: Until) -> tuple[dict[str, Any], str]:
        facts = json.dumps({"suffix": suffix}).encode()
        given_up = time.monotonic() + _SILENT
        ours = self._socket
        assert ours is not None

        def patiently(call: Callable[[Given], Got], given: Given) -> Got:
            """Call it until it does not time out; `until` may change meanwhile, by a signal."""
            while True:
                with suppress(TimeoutError):
                    return call(given)
                if time.monotonic() > min(until(), given_up):
                    self._end()
                    raise Died("it was given up, since it took too long")

        def received(size: int) -> bytes:
            whole = bytearray()
            while len(whole) < size:
                part = patiently(ours.recv, min(size - len(whole), _AT_ONCE))
                if not part:
                    raise EOFError
                whole += part
            return bytes(whole)

        for part in (HEADER.pack(len(facts), len(data)) + facts, data):
            left = memoryview(part)
            while left:
                left = left[patiently(ours.send, left[:_AT_ONCE]) :]
        facts_size, size = HEADER.unpack(received(HEADER.size))
        if facts_size + size > _SIZE_LIMIT:
            raise EOFError
        answer: dict[str, Any] = json.loads(received(facts_size))
        return answer, received(size).decode("utf-8", "replace")

    def _end(self) -> int:
        """Close what belongs to the process, and give its exit code."""
        process, self._process = self._process, None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if process is None:
            return 0
        with suppress(subprocess.TimeoutExpired):
            return process.wait(1.0)  # it ends when our end is closed, or has ended
        process.kill()
        return process.wait()

    def _forget(self) -> None:
        """In a fork: the process is the parent's."""
        self._lock, self._owner, self._process = threading.Lock(), 0, None
        self._end()


def _words(code: int) -> str:
    if code == -signal.SIGXCPU:
        return "it takes too long to convert"
    if code == -signal.SIGKILL:
        return f"it takes too much memory to convert, or was killed; the limit is {MEMORY >> 30} GiB"
    with suppress(ValueError):
        return f"the converter died of it: {signal.Signals(-code).name}"
    return f"the converter died of it: exit code {code}"


process: Final = Process()
atexit.register(process.close)
