"""Vectors of older texts: taken where a text is NULL or has failed since, unless the user's table does not let us."""

from __future__ import annotations

import logging
from collections.abc import Sequence

log = logging.getLogger(__name__)


def warn_of_kept(table: str, refusals: Sequence[Exception]) -> None:
    """Tell of the rows whose vectors stay, by why the database refused to take them; nothing where there are none."""
    if refusals:
        log.warning("%s: vectors of older texts stay, since they may not be taken: %s", table, refusals[-1])
