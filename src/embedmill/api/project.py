"""The folder above the current one whose store and settings hold, as git finds a repository."""

from __future__ import annotations

import functools
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from embedmill.api.settings import VARIABLES
from embedmill.storage.registry import DEFAULT_URL

log = logging.getLogger(__name__)

CONFIG_FILE: Final = "embedmill.toml"
STORE_FILE: Final = DEFAULT_URL.partition(":")[2]


def project_above(
    options: Mapping[str, Any], *, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Path | None:
    """The nearest folder above that has the default store, or an ``embedmill.toml``.

    None where a store is named, where the current folder has one of the two itself, and where there is none up to the
    user's home, the border of the file system, or a folder that everybody may write to.
    """
    if options.get("store") or (os.environ if environment is None else environment).get(VARIABLES["store"]):
        return None
    try:
        here = (folder or Path()).resolve(strict=True)
        home = Path.home().resolve()
        device, owner = here.stat().st_dev, here.stat().st_uid
    except (OSError, RuntimeError):  # it has been removed, or nobody has a home
        return None
    if here == home or _marks(here):
        return None
    for place in here.parents:
        marks = _marks(place)
        try:
            found = place.stat()
            if found.st_dev != device or found.st_mode & stat.S_IWOTH:  # as /tmp: nobody's project
                return None
            if marks and {mark.stat().st_uid for mark in marks} <= {os.geteuid(), owner}:
                return place
        except OSError:
            return None
        if marks:
            _name_foreign(place)
            return None
        if place == home:
            return None
    return None


def _marks(folder: Path) -> list[Path]:
    """What makes a folder a project."""
    return [mark for name in (CONFIG_FILE, STORE_FILE) if os.path.isfile(mark := folder / name)]  # noqa: PTH113


@functools.cache  # said once
def _name_foreign(folder: Path) -> None:
    log.warning("%s has a store of another user's, which is not used: name it with --store", folder)
