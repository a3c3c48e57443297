"""What stands in a text column of SQLite's, where any row may hold any type."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from embedmill.core.rows import too_long
from embedmill.core.vectors import Cause

Content = str | bytes
"""A text, maybe with surrogates in place of what is not valid UTF-8; or a BLOB."""

_SURROGATE: Final = re.compile("[\udc80-\udcff]")


def digest(content: Content) -> bytes:
    """SHA-256 of a text, as `embedmill.core.documents.text_hash` makes it; another for a BLOB of the same bytes."""
    if isinstance(content, bytes):
        return sha256(b"BLOB\0" + content).digest()
    return sha256(content.encode("utf-8", "surrogateescape")).digest()


def print_of(vector: bytes) -> bytes:
    """What a vector is known by: a hash of it."""
    return sha256(vector).digest()[:16]


def is_text(content: Content) -> bool:
    """Whether it is a text, and valid."""
    return isinstance(content, str) and (content.isascii() or _SURROGATE.search(content) is None)


def unfit(content: Content, longest: int) -> Cause | None:
    """Why it cannot be embedded, as far as its type and length say."""
    if isinstance(content, bytes):
        return Cause("NotText", f"the value is a BLOB of {len(content):,} bytes, not a text")
    if len(content) > longest:
        return too_long(len(content), longest)
    return None if is_text(content) else Cause("NotUnicode", "the text is not valid UTF-8")
