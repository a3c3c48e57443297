"""RTF to text by ``striprtf``."""

from __future__ import annotations

import re
from typing import Final

from embedmill.sources.files.converters.result import Converted, Unconvertible

_BINARY: Final = re.compile(rb"\\bin(\d{1,9}) ?")


def convert(data: bytes) -> Converted:
    """The text without its control words and pictures."""
    from striprtf.striprtf import rtf_to_text

    if not data.lstrip().startswith(b"{\\rtf"):
        raise Unconvertible("it is no RTF")
    text = rtf_to_text(_without_binary(data).decode("cp1252", "replace"), errors="replace")
    return Converted(text.replace("\u00ad", ""), markdown=False)


def _without_binary(data: bytes) -> bytes:
    """Pictures may stand in it as so and so many bytes, whatever these are."""
    parts, start = [], 0
    while found := _BINARY.search(data, start):
        parts.append(data[start : found.start()])
        start = found.end() + int(found[1])
    return b"".join([*parts, data[start:]])
