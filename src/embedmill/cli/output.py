"""Standard output and standard error: who gets what, and what must never be shown."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any, Final, TextIO

from embedmill import __version__
from embedmill.core.errors import UsageError
from embedmill.runtime.passwords import masked as masked

log = logging.getLogger("embedmill")

_EXPLAINS: Final = "embedmill.models.wheel"
"""The logger whose information is shown like warnings."""

_CONTROL: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that drive a terminal, or reorder what it shows."""


class CannotWrite(OSError):
    """Standard output cannot be written."""


def prepare() -> None:
    """Make both streams able to take any text, file names that are not valid Unicode too."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def configure(*, quiet: bool, verbose: int) -> None:
    """Send the package's messages to standard error: warnings and worse by default, only errors if `quiet`."""
    if quiet and verbose:
        raise UsageError("--quiet and --verbose contradict each other: leave one out")
    shown = logging.ERROR if quiet else {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    for handler in log.handlers:  # of a command before, in the same process
        handler.close()
    log.handlers = [_ToStandardError(shown)]
    log.propagate = False
    log.setLevel(shown)
    # Said without being asked, since it explains why nothing else happens for a while.
    logging.getLogger(_EXPLAINS).setLevel(logging.NOTSET if quiet else min(shown, logging.INFO))
    if quiet or not is_terminal(sys.stderr):
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def log_to(path: str, store_files: Sequence[str]) -> None:
    """Write all messages to a file as well. Raises `UsageError` where it cannot be, or is one of the `store_files`."""
    from embedmill.cli.log_file import LogFile

    log.addHandler(LogFile(path, store_files, masked, _show))
    for logger in (log, logging.getLogger(_EXPLAINS)):
        logger.setLevel(logging.DEBUG)
    note(f"embedmill {__version__}: {shlex.join(sys.argv)}")


def quiet() -> bool:
    """Whether ``-q`` was given."""
    return _shown_from() > logging.WARNING


def verbose() -> bool:
    """Whether ``-v`` was given."""
    return _shown_from() <= logging.INFO


def _shown_from() -> int:
    """The level from which on messages are shown."""
    return next((handler.shown for handler in log.handlers if isinstance(handler, _ToStandardError)), logging.WARNING)


def for_progress() -> TextIO | None:
    """Where progress is shown; None where it is not to be."""
    return None if quiet() else sys.stderr


def is_terminal(stream: Any) -> bool:
    """Whether a person sees this stream as it is written."""
    return stream is not None and stream.isatty()


def say(text: str = "") -> None:
    """Write lines to standard output. A reader that has gone, as ``head`` does, is no error: nobody listens."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text + "\n")
    except BrokenPipeError:
        _hush()
    except OSError as error:
        raise CannotWrite(*error.args) from error


def emit(value: dict[str, Any]) -> None:
    """Write one JSON object to standard output."""
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
    say(json.dumps(value, ensure_ascii=encoding != "utf8", indent=2 if is_terminal(sys.stdout) else None))


def flush() -> None:
    """Let go of what is still in the buffer; raises `CannotWrite`."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _hush()
    except OSError as error:
        _hush()
        raise CannotWrite(*error.args) from error


def complain(line: str, error: BaseException | None = None) -> None:
    """Write one line to standard error; under ``-v`` after the error's traceback."""
    note(line, error)
    text = masked(one_line(line))
    if error is not None and verbose():
        import traceback

        text = masked("".join(traceback.format_exception(error))) + text
    _show(text)


def note(line: str, error: BaseException | None = None) -> None:
    """Write a line, and the error's traceback, to the log file alone, if there is one."""
    for handler in log.handlers:
        if not isinstance(handler, _ToStandardError):
            level = logging.ERROR if line.startswith("error") else logging.INFO
            trace = None if error is None else (type(error), error, error.__traceback__)
            handler.handle(logging.LogRecord(log.name, level, "", 0, line, None, trace))


def _show(text: str) -> None:
    """Write lines to standard error."""
    if sys.stderr is None:
        return
    clear = "\r\x1b[K" if is_terminal(sys.stderr) else ""
    try:
        sys.stderr.write(f"{clear}{text}\n")
        sys.stderr.flush()
    except OSError:
        pass  # there is nobody left to tell


def one_line(text: str) -> str:
    """The text on one line, with nothing in it that a terminal would obey."""
    return _CONTROL.sub("\ufffd", " ".join(text.split("\n")) if "\n" in text else text)


def _hush() -> None:
    """Point standard output to nowhere, so that neither later writes nor the flush at the end can fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


class _ToStandardError(logging.Handler):
    """Lines such as ``warning: ...``, each said once: a source may be listed more than once."""

    def __init__(self, shown: int) -> None:
        super().__init__()
        self.shown = shown
        self._said: set[int] = set()

    def filter(self, record: logging.LogRecord) -> Any:
        """Leave out what comes here for the log file's sake alone."""
        least = logging.INFO if record.name == _EXPLAINS and not quiet() else logging.CRITICAL
        return record.levelno >= min(self.shown, least) and super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{record.levelname.lower()}: {record.getMessage()}"
        except Exception:
            self.handleError(record)
            return
        if hash(line) not in self._said:
            self._said.add(hash(line))
            _show(masked(one_line(line)))
