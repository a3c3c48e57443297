"""Processes of this interpreter that belong to this one: started with a private socket, ended with it."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import spawn
from typing import Final

DUMP_SIGNAL: Final = signal.SIGUSR1
"""Makes a child print the stacks of all its threads, even where it hangs in native code."""

_PROGRAM: Final = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[4]);"
    "importlib.import_module(sys.argv[1]).main(int(sys.argv[2]), int(sys.argv[3]))"
)

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>


def start_child(module: str, descriptor: int, output: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process that calls the module's `main` with the socket's descriptor and the id of this process.

    What it prints goes to `output`. Raises `OSError` where it cannot be started.
    """
    if not (python := spawn.get_executable()):  # Python is embedded in another program
        raise OSError("Python does not know where its interpreter lies: see multiprocessing.set_executable")
    path = [entry for entry in sys.path if isinstance(entry, str)]  # as the interpreter itself takes them
    return subprocess.Popen(  # noqa: S603 - this interpreter and our own program
        [python, "-P", "-c", _PROGRAM, module, str(descriptor), str(os.getpid()), json.dumps(path)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=[descriptor],
        env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # a terminal's Ctrl-C is for the parent, which stops in good order
    )


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


def last_lines(printed: bytes, lines: int) -> str:
    """The last lines that a child printed, without those that say nothing of a crash."""
    text = printed.decode("utf-8", "replace")
    said = [line for line in text.splitlines() if line.strip() and not line.startswith("Extension modules:")]
    return "\n".join(said[-lines:])
