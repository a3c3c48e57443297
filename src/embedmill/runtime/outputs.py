"""Files that users name to be written: what can be said against one before the work, and the folder for it."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def why_not(path: Path) -> str:
    """Why no file can be written there, "" where nothing is known against it: the folder for it may yet be made."""
    if path.is_dir():
        return "it is a folder"
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    return "" if nearest.is_dir() else f"{nearest} is no folder"


def make_folder(path: Path) -> None:
    """Make the folder that the file is to lie in, and those around it. Raises `OSError` where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(path.parent)) from error
