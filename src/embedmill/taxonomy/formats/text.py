"""A file of terms as text, and how one that is wrong is told: in one line, with its place.

A term must be read as it is written or not at all. So nothing is guessed: UTF-8, or UTF-16 and UTF-32 by their byte
order mark, without a byte that does not belong to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from embedmill.core.errors import SourceError
from embedmill.runtime.byte_order import BYTE_ORDER_MARKS

_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""What no text has, and YAML refuses; line ends are one character when this is looked for."""


@dataclass(frozen=True, slots=True)
class FileText:
    r"""A file's text, its line ends ``\\n``."""

    name: str
    """What errors call the file."""
    text: str
    line_end: str = "\n"
    """What ended its lines."""

    def wrong(self, what: str, line: int = 0, column: int = 0) -> SourceError:
        """The error for something wrong here; line and column are counted from 1, and 0 where there is none."""
        place = (f", line {line:,}" if line else "") + (f", column {column:,}" if column else "")
        return SourceError(f"{self.name}{place}: {' '.join(what.split())}")

    def wrong_at(self, what: str, index: int) -> SourceError:
        """The error for something wrong at a character, counted from 0."""
        return self.wrong(what, *_place(self.text, index))

    def no_terms(self) -> SourceError:
        """The error for a file without a single term or branch."""
        return self.wrong("there are no terms in this file: give one that has some")


def _place(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


def unwritable(text: str) -> bool:
    """Whether a text has what a line of a text file cannot hold: line ends, control characters."""
    return "\n" in text or _CONTROL.search(text) is not None


def decode(name: str, data: bytes) -> FileText:
    """A file's text. Raises `SourceError` for what is no text, or in another encoding."""
    mark, encoding = next(((mark, known) for mark, known in BYTE_ORDER_MARKS if data.startswith(mark)), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        before = data[len(mark) : len(mark) + error.start].decode(encoding, "replace")
        what = f"this is not {encoding.upper()}" if mark or b"\0" not in data else "this is binary data, not text"
        raise FileText(name, "").wrong(f"{what}: save the file as UTF-8", *_place(before, len(before))) from None
    line_end = "\r\n" if "\r\n" in text else "\n"
    found = FileText(name, text.replace("\r\n", "\n").replace("\r", "\n"), line_end)
    control = _CONTROL.search(found.text)
    if control:
        what = f"U+{ord(control[0]):04X} is no character of a text: remove it, or save the file as text in UTF-8"
        raise found.wrong_at(what, control.start())
    return found
