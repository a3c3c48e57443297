"""What a conversion comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Converted:
    """A document as text."""

    text: str
    paged: bool = False  # a form feed stands before each page but the first
    markdown: bool = True
    guessed: str = ""  # the encoding, where that was guessed
    notes: Sequence[str] = ()  # what people ought to know of it, a line each


class Unconvertible(Exception):
    """The document cannot be converted; the message says why, and what to do."""


class NeedsPassword(Unconvertible):
    """Only who knows a password can read the document."""

    def __init__(self) -> None:
        super().__init__("it is encrypted with a password: save it without one")
