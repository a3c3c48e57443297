"""Waiting for what a test needs. There is no time for it: the time limit of the test itself is enough."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable


def until(reached: Callable[[], object], *processes: subprocess.Popen[str]) -> None:
    """Wait for something to happen, as long as these processes run."""
    while not reached():
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.01)
