"""A file that all messages go to, whatever is shown of them: ``--log-file``."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from embedmill.core.errors import UsageError
from embedmill.runtime.outputs import TEXT, check_output, make_folder

_FORM: Final = "%(asctime)s %(levelname)-7s %(process)d %(threadName)s %(name)s: %(message)s"


class LogFile(logging.FileHandler):
    """Appends each message with its time, level and traceback, and without what `mask` takes out: passwords."""

    def __init__(
        self, path: str, store_files: Sequence[str], mask: Callable[[str], str], give_up: Callable[[str], None]
    ) -> None:
        """`give_up` is told, once, in a line, where the file cannot be written any more.

        Raises `UsageError` where it cannot be opened, is no text or one of the `store_files`. Only its owner may read a
        file that is new.
        """
        check_output("--log-file", path, TEXT, store_files=store_files)
        try:
            make_folder(Path(path))
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
            super().__init__(path, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise UsageError(f"--log-file: {path} cannot be opened: {error.strerror or error}") from error
        self.setLevel(logging.DEBUG)
        self.setFormatter(_Masked(mask))
        self._give_up = give_up

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as the base has it
        """A full disk ends the log, not the command."""
        if self.level <= logging.CRITICAL:
            self.setLevel(logging.CRITICAL + 1)
            self._give_up(f"warning: {self.baseFilename} cannot be written: the log ends here")


class _Masked(logging.Formatter):
    def __init__(self, mask: Callable[[str], str]) -> None:
        super().__init__(_FORM)
        self._mask = mask

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """The local time with its distance from UTC."""
        at = time.localtime(record.created)
        return time.strftime("%Y-%m-%dT%H:%M:%S", at) + f".{record.msecs:03.0f}" + time.strftime("%z", at)

    def format(self, record: logging.LogRecord) -> str:
        return self._mask(super().format(record))
