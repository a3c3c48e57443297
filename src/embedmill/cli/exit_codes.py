"""What the exit codes of all commands mean."""

from __future__ import annotations

from typing import Final

DONE: Final = 0  # everything is stored
ERROR: Final = 1  # nothing is half-done
USAGE: Final = 2  # the command line or a setting is wrong
SOME_FAILED: Final = 3  # finished; but chunks have no vector, a given path is not there, or a check has failed
INTERRUPTED: Final = 130  # by SIGINT or SIGTERM; what was finished is stored
