"""Files that users name to be written: what can be said against one before the work, and the folder for it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


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


def make_folder(path: Path) -> None:
    """Make the folder that the file is to lie in, and those around it. Raises `OSError` where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(path.parent)) from error
