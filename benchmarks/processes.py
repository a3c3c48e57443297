"""Other processes: engines that stay, and commands whose whole life is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedmill.runtime.closing import Closing

_ENGINES = Path(__file__).with_name("engines.py")

_POLL = 0.01  # seconds between two looks at a process's memory

# What is needed lies on this machine: nobody asks a hub, reports home, or draws bars.
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "true",
    "OPENVINO_TELEMETRY_OPT_OUT": "1",
    "COCOINDEX_DISABLE_USAGE_TRACKING": "1",
    "LANGSMITH_TRACING": "false",
}


class Engine(Closing):
    """An engine of ``engines.py`` in a process, loaded and waiting."""

    def __init__(self, python: str, name: str, **options: object) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._name = name
        self._process = subprocess.Popen(
            [python, str(_ENGINES), name, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(),
            text=True,
        )
        loaded = self._answer()
        self.load_seconds: float = loaded["seconds"]
        self.versions: dict[str, str] = loaded["versions"]

    def embed(self, texts: Path, *, batch: int = 32, first: int | None = None, save: Path | None = None) -> float:
        """Seconds to embed the texts of a JSON file, or its first ones; keeps the vectors where asked to."""
        assert self._process.stdin is not None
        order = {"texts": str(texts), "batch": batch, "first": first, "save": str(save) if save else None}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        seconds: float = self._answer()["seconds"]
        return seconds

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._errors.seek(0)
            raise SystemExit(f"{self._name} ended with exit code {code}:\n{self._errors.read()[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._errors.close()


@dataclass(frozen=True)
class Finished:
    """What became of a command."""

    output: str
    seconds: float  # wall time from its start to its end
    peak: int  # bytes: the most physical memory that it had at once (ru_maxrss)
    high_water: int  # bytes: VmHWM when last looked at, at most 10 ms before its end; 0 where not watched


def run(command: Sequence[str], *, watch: bool = False) -> Finished:
    """Run a command to its end. `watch` looks at its memory meanwhile, which costs a little time.

    ru_maxrss is never below the memory that this process had when it started the command: keep that small.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment())
        high_water = _watched(process.pid) if watch else 0
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}:\n{errors.read()[-3000:]}")
        return Finished(output.read(), seconds, usage.ru_maxrss * 1024, high_water)


def environment() -> dict[str, str]:
    """That of this process, without settings of embedmill that would change what is measured."""
    kept = ("EMBEDMILL_CACHE_DIR", "EMBEDMILL_OFFLINE")
    chosen = {name: value for name, value in os.environ.items() if not name.startswith("EMBED") or name in kept}
    return chosen | _QUIET


def _watched(pid: int) -> int:
    """VmHWM of a process, looked at until it has ended."""
    highest = 0
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    highest = int(line.split()[1]) * 1024
        time.sleep(_POLL)
    return highest


def embedmill(*arguments: str) -> list[str]:
    """The command line of ``embedmill``, in this Python."""
    return [sys.executable, "-m", "embedmill", *arguments]
