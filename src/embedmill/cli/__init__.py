"""The command ``embedmill``.

Commands are thin: settings in, one call of the library, text or JSON out. Start-up is part of every command's
time, so each imports what it needs when it runs, and until then nothing but the argument parser is imported.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from embedmill.cli import signals


def main() -> NoReturn:
    """Run this process's command line, and end the process with its exit code (see `embedmill.cli.exits`)."""
    try:
        signals.raise_interrupted()
        # openvino imports its converter of other frameworks' models where there is one, and with it telemetry and
        # an HTTP client: half of its import time, for what no command uses. This says that there is none.
        sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
        from embedmill.cli.exits import run

        code = run(sys.argv[1:])
    except (signals.Interrupted, KeyboardInterrupt):
        os.write(2, b"interrupted\n")
        code = 130
    # Without taking the interpreter apart, which takes long with the model's libraries loaded and frees what the
    # system frees anyway. Commands close what they open, and all output has been flushed.
    os._exit(code)
