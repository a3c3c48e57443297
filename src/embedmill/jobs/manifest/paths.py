"""Paths of a manifest: relative to its folder, wherever the batch is started."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from embedmill.core.errors import MissingExtra, UsageError
from embedmill.jobs.job_options import JobOption
from embedmill.storage.registry import driver_of


def resolved(option: JobOption, value: str, folder: Path) -> str:
    """A value of an option, absolute where it is, or has, a path; `folder` is the manifest's."""
    match option.path:
        case "there" | "written" if "://" not in value:
            return absolute(value, folder)
        case "store":
            scheme, colon, path = value.partition(":")
            return f"{scheme}:{absolute(path, folder)}" if colon and scheme == "sqlite" and path else value
        case "model":
            path = absolute(value, folder)
            return path if value.startswith(("./", "../", "~/")) or os.path.lexists(path) else value
    return value


def absolute(path: str, folder: Path) -> str:
    """The path from that folder, without ``..`` where no link is in between."""
    joined = str(folder / (Path(path).expanduser() if path.startswith("~/") else path))
    plain = os.path.normpath(joined)
    return plain if os.path.realpath(plain) == os.path.realpath(joined) else joined


def wrong_place(option: JobOption, value: str) -> str:
    """What is wrong with the path of something that must be there, or with a store's URL; "" where nothing is."""
    if option.path in ("there", "written") and "://" in value:
        return "is a URL: give the path of a file or folder"
    if option.path == "there" and not os.path.lexists(value):
        return f"{value} is not there: correct the path, which is relative to the manifest's folder"
    if option.path == "model" and Path(value).is_absolute() and not Path(value).is_dir():
        return f"{value} is no folder: give the folder of a model, or a model's name"
    if option.path == "store":
        try:
            driver_of(value)
        except (UsageError, MissingExtra) as error:
            return str(error)
    return ""


def told_apart(option: JobOption, value: str, label: str) -> str:
    """An output with a label in its name, as in ``terms-max-leaf=20.yaml``; one that is no path of a file stays."""
    scheme, _, path = value.rpartition(":") if option.path == "store" else ("", "", value)
    if option.path == "store" and scheme != "sqlite":
        return value
    name = Path(path)
    stem = f"{name.stem}-{quote(label, safe='=,+ ')}"
    made = str(name.with_name(stem + name.suffix))
    return f"{scheme}:{made}" if scheme else made
