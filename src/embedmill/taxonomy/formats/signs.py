"""The sign that begins a comment: a tree has comments without it."""

from __future__ import annotations

import re
from typing import Final

_UNPRINTABLE: Final = re.compile("[^\t\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\ufeff\u2028\u2029]")


def content(comment: str) -> str:
    """A comment without its sign, and the space behind that; one that begins otherwise, as `#!`, stays as it is."""
    inner = comment[2:]
    return inner if comment.startswith("# ") and inner and not inner.startswith("#") else comment


def sign(inner: str) -> str:
    """A line of comment with its sign; "" for an empty line. Gives back what `content` was given."""
    line = _UNPRINTABLE.sub("\ufffd", inner)
    return line if not line or line.startswith("#") else f"# {line}"
