"""What is said of files and folders that are gone, and still in a store."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from typing import Final

from embedmill.paths import shown

log = logging.getLogger("embedmill")

_NAMED: Final = 5  # one by one


def name_vanished(vanished: Mapping[str, int]) -> None:
    """Say what is gone and still in the store."""
    for path, number in list(vanished.items())[:_NAMED]:
        documents = "1 document" if number == 1 else f"{number:,} documents"
        hint = f"embedmill forget {shlex.quote(path)}"
        log.warning("%s is gone, and the store has %s of it: `%s` takes them out", shown(path), documents, hint)
    if len(vanished) > _NAMED:
        log.warning("%s more that are gone are listed by `embedmill status --roots`", f"{len(vanished) - _NAMED:,}")
