"""Files that users name to be written: what can be said against one before the work, and the folder for it."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from embedmill.core.errors import UsageError
from embedmill.runtime.paths import FilePath, quote_path

_LOOKED_AT: Final = 1024  # bytes at the beginning of a file


class OutputKind(NamedTuple):
    """What a file that is there must be, so that it is replaced, or appended to. One that is empty may always be."""

    told: str  # in messages, behind "no"
    known_by: Callable[[bytes], bool]  # told the first KB of a file


TEXT: Final = OutputKind("text", lambda beginning: b"\0" not in beginning)
"""For what is written in many forms. A database is none: its file begins with "SQLite format 3" and a NUL byte."""


def check_output(option: str, path: FilePath, kind: OutputKind, *, store_files: Iterable[str] = ()) -> None:
    """Raise `UsageError`, which names the `option`, where no file of this kind can be written there, or none should be.

    What is there is never lost, unless it is of the same kind, or empty; nor is a log of this process written over, nor
    one of the `store_files`, those of the command's store, which may not be there yet.
    """
    shown = quote_path(os.fspath(path))
    if os.fspath(path) in ("", "-"):
        raise UsageError(f"{option}: {shown!r} is no file: give the name of one")
    if reason := why_not(Path(path)) or _why_kept(Path(path), kind, store_files):
        raise UsageError(f"{option}: {shown} cannot be written: {reason}: give another file")


def why_not(path: Path) -> str:
    """Why no file can be written there, "" where nothing is known against it: the folder for it may yet be made."""
    try:
        mode = _mode(path)
        if mode is not None:
            return "it is a folder" if stat.S_ISDIR(mode) else ""
        nearest, mode = next((each, found) for each in path.absolute().parents if (found := _mode(each)) is not None)
    except OSError as error:  # a folder on the way is closed
        return error.strerror or str(error)
    return "" if stat.S_ISDIR(mode) else f"{nearest} is no folder"


def _mode(path: Path) -> int | None:
    """What is there; None where nothing is."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _why_kept(path: Path, kind: OutputKind, store_files: Iterable[str]) -> str:
    """Why what is there, or will be, must stay; "" where it need not."""
    key = file_key(path)
    if key in map(file_key, store_files):
        return "it is the store of this command, or belongs to it"
    if key in map(file_key, log_files()):
        return "it is the log of this command"
    try:
        beginning = _beginning(path)
    except OSError as error:
        return error.strerror or str(error)
    return f"it is there already, and no {kind.told}" if beginning and not kind.known_by(beginning) else ""


def _beginning(path: Path) -> bytes:
    """The first bytes of what is there; none of a stream, such as a terminal, which keeps nothing."""
    mode = _mode(path)
    if mode is None or not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        return b""
    # Where this process has the file open it is read through that: to close it once would take away all locks that the
    # process has on it, and it may be a database ("How To Corrupt An SQLite Database File", 2.2).
    status = path.stat()
    for descriptor in _open_here():
        with suppress(OSError):  # it is closed by now, or open for writing alone
            if os.path.samestat(os.fstat(descriptor), status):
                return os.pread(descriptor, _LOOKED_AT, 0)
    with path.open("rb") as file:
        return file.read(_LOOKED_AT)


def _open_here() -> list[int]:
    """The descriptors of this process; none where the system does not tell."""
    try:
        return [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208 - numbers
    except OSError:
        return []


def file_key(path: FilePath) -> str:
    """Equal for two paths of one file, over links of both kinds; where there is none yet, of one place."""
    try:
        status = Path(path).stat()
    except OSError:
        return f"file {os.path.realpath(path)}"
    return f"file {status.st_dev} {status.st_ino}"


def log_files() -> list[str]:
    """The files that messages of embedmill go to, absolute."""
    handlers = logging.getLogger("embedmill").handlers
    return [each.baseFilename for each in handlers if isinstance(each, logging.FileHandler)]


def make_folder(path: Path) -> None:
    """Make the folder that the file is to lie in, and those around it. Raises `OSError` where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(path.parent)) from error
