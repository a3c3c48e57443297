"""Processes of this interpreter that belong to this one: started with a private socket, ended with it."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from multiprocessing import spawn
from typing import Final, NamedTuple

DUMP_SIGNAL: Final = signal.SIGUSR1
"""Makes a child print the stacks of all its threads, even where it hangs in native code."""

_PROGRAM: Final = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[4]);"
    "importlib.import_module(sys.argv[1]).main(int(sys.argv[2]), int(sys.argv[3]))"
)

_TAIL: Final = 16_384  # bytes of what a child printed that are kept

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>


class StartedChild(NamedTuple):
    """A child that was started, and this process's ends of what leads to it."""

    process: subprocess.Popen[bytes]
    socket: socket.socket
    output: int  # descriptor of a pipe: what it prints, on either stream


def start_child(module: str, environment: Mapping[str, str]) -> StartedChild:
    """Start a process that calls the module's `main` with the descriptor of its socket and the id of this process.

    Raises `OSError` where it cannot be started.
    """
    if not (python := spawn.get_executable()):  # Python is embedded in another program
        raise OSError("Python does not know where its interpreter lies: see multiprocessing.set_executable")
    path = [entry for entry in sys.path if isinstance(entry, str)]  # as the interpreter itself takes them
    with ExitStack() as opened:
        ours, theirs = socket.socketpair()
        opened.callback(theirs.close)
        held = opened.enter_context(ExitStack())
        held.callback(ours.close)
        output, their_output = os.pipe()
        opened.callback(os.close, their_output)
        held.callback(os.close, output)
        process = subprocess.Popen(  # noqa: S603 - this interpreter and our own program
            [python, "-P", "-c", _PROGRAM, module, str(theirs.fileno()), str(os.getpid()), json.dumps(path)],
            stdin=subprocess.DEVNULL,
            stdout=their_output,
            stderr=their_output,
            pass_fds=[theirs.fileno()],
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # a terminal's Ctrl-C is for the parent, which stops in good order
        )
        held.pop_all()
    return StartedChild(process, ours, output)


def belong_to(parent: int) -> None:
    """In a child: become a process that cannot outlive its parent, and that only its parent stops."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # sent to the whole group: the parent finishes what is in flight
    faulthandler.enable()
    faulthandler.register(DUMP_SIGNAL)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it could be told of
        os._exit(0)
    # Half of openvino's import time, for a converter that no embedder uses (see `embedmill.cli`).
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]


def died_of(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


class PrintedTail:
    """The end of what a child has printed."""

    def __init__(self) -> None:
        self._printed: deque[bytes] = deque()

    def add(self, data: bytes) -> None:
        """Take what it has printed now, and let go of what was long ago."""
        self._printed.append(data)
        while sum(map(len, self._printed)) - len(self._printed[0]) > _TAIL:
            self._printed.popleft()

    def last_lines(self, most: int) -> list[str]:
        """The last lines, without those that say nothing of a crash."""
        text = b"".join(self._printed)[-_TAIL:].decode("utf-8", "replace")
        said = [line for line in text.splitlines() if line.strip() and not line.startswith("Extension modules:")]
        return said[-most:]
