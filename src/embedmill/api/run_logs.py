"""Where runs over a store, or over the tables of its database, are remembered."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from embedmill.api.settings import Settings
from embedmill.engine.run_log import RunLog
from embedmill.runtime.folders import cache_folder
from embedmill.storage.registry import identity_of

_FOLDER: Final = "runs"


def run_folder(chosen: Settings) -> Path | None:
    """The folder for runs of this user on this machine over the chosen store; None for one that ends with its process.

    A store in a file is known by its path, one on a server by its URL without the password, and its schema.
    """
    place = identity_of(chosen.store, chosen.schema)
    if place is None:
        return None
    return cache_folder() / _FOLDER / hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def remembered(chosen: Settings, command: str, table: str = "") -> RunLog:
    """What takes down a run with these settings, for the time of a `with` block."""
    return RunLog(lambda: run_folder(chosen), command, table)
