"""The real command, as a process of its own."""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import embedmill

SOURCE = str(Path(embedmill.__file__).parents[1])

_N = r"\d[\d,]*"
_PROGRESS = re.compile(
    rf"""^(?:
        (?: documents\ {_N},\ chunks\ {_N} | rows\ {_N}(?:,\ {_N}\ left)? | (?:texts|searches)\ {_N}
          | vectors\ {_N}(?:,\ computed\ again\ {_N})? )
        (?:,\ {_N}/s)? (?:,\ failed\ {_N})? (?:,\ restarts\ {_N})? (?:,\ {_N}%(?:,\ [\d:]+\ left)?)?
      | building\ the\ index(?::\ [^\n]*?)?(?:,\ {_N}%)?
      | waiting\ for\ (?:rows\ that\ another\ run\ holds|the\ index\ that\ another\ run\ builds)
    )\n""",
    re.MULTILINE | re.VERBOSE,
)
"""A line as `embedmill.cli.progress.Lines` writes it."""

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24


def without_progress(stderr: str) -> str:
    """What a run has said, without the lines of progress that it writes where the machine is busy and it takes long."""
    return _PROGRESS.sub("", stderr)


class Shell:
    """A folder to run commands in, with settings of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EMBED")}
        self.environment = kept | {"PYTHONPATH": SOURCE, "COLUMNS": "80"} | settings

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        """Begin a command and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "embedmill", *map(str, arguments)],
            text=True,
            encoding="utf-8",
            **(
                {
                    "cwd": self.folder,
                    "env": self.environment,
                    "stdin": subprocess.DEVNULL,
                    "stdout": subprocess.PIPE,
                    "stderr": subprocess.PIPE,
                }
                | options
            ),
        )

    def run(self, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; what it says on standard error is given without the lines of progress."""
        process = self.start(*arguments, **options)
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err and without_progress(err))

    def json(self, *arguments: object, code: int = 0, **options: Any) -> dict[str, Any]:
        """The one object that a command prints under ``--json``."""
        done = self.run(*arguments, "--json", **options)
        assert done.returncode == code, done.stderr
        value = json.loads(done.stdout)  # raises for anything beside the one object
        assert isinstance(value, dict)
        return value


def obey_permissions() -> None:
    """For `preexec_fn`: from now on permission bits bind root too."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            assert libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
