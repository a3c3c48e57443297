"""How much of a run over a table may wait between its stages, and how many write, by what is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Width:
    """How wide the ends of a run are."""

    ahead: int  # pages of rows that may wait for the model
    writers: int  # threads, each with a connection, that write at once


@dataclass(frozen=True, slots=True)
class Waits:
    """What was measured over some seconds: each a share of that time, from 0 to 1."""

    model_for_rows: float  # the model's side waited for the reader
    reader_for_model: float  # the reader waited, because enough pages lay ready
    model_for_writers: float  # the model's side waited for the writers
    writers_busy: float  # of all writers together: 1.5 means that one would not do


NARROWEST: Final = Width(2, 1)
WIDEST: Final = Width(16, 8)

_NOTICEABLE: Final = 0.03
"""A share of the time: less is lost to nobody's notice, and is within the noise of one measurement."""


def next_width(width: Width, waits: Waits) -> Width:
    """The width for the next seconds: more where the model's side has waited, less where that cannot be missed.

    Pages double, since a database that is far away is so by an order of magnitude; writers come one by one, since each
    takes one of the server's connections.
    """
    ahead, writers = width.ahead, width.writers
    if waits.model_for_rows > _NOTICEABLE:
        ahead = min(2 * ahead, WIDEST.ahead)
    elif waits.reader_for_model > 0.9:
        ahead = max(ahead - 1, NARROWEST.ahead)
    if waits.model_for_writers > _NOTICEABLE:
        writers = min(writers + 1, WIDEST.writers)
    elif waits.writers_busy < 0.7 * (writers - 1):
        writers = max(writers - 1, NARROWEST.writers)
    return Width(ahead, writers)
