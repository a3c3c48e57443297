"""Text as PostgreSQL can keep it: its own must not hold the character NUL.

NUL is written as U+2400, the picture of it, and the two characters that would be confused with that have U+241B before
them. All other texts are as they were, and of two texts one begins with the other exactly where their written forms do.
"""

from __future__ import annotations

import re
from typing import Final

_SPECIAL: Final = re.compile("[\0\u2400\u241b]")
_WRITTEN: Final = re.compile("\u241b(.)|\u2400", re.DOTALL)


def write(text: str) -> str:
    """The text as it is stored."""
    return _SPECIAL.sub(lambda found: "\u2400" if found[0] == "\0" else "\u241b" + found[0], text)


def read(stored: str) -> str:
    """The text whose `write` this is."""
    return _WRITTEN.sub(lambda found: found[1] or "\0", stored)
