"""JSON Lines files that people and other programs wrote: every line is checked as it is taken."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, NoReturn

from embedmill.core.errors import SourceError
from embedmill.runtime.paths import FilePath, quote_path

LONGEST: Final = 16 << 20
"""Bytes of a line: more than a vector of any model and a text that it reads. So a device without end is no trap."""


class TextLine(NamedTuple):
    """A line of a text file."""

    place: str  # for messages: the file and the number of the line, counted from 1
    text: str

    def wrong(self, what: str) -> SourceError:
        """The error for this line."""
        return SourceError(f"{self.place}: {what}")

    def object(self) -> JsonLine:
        """Its JSON object. Raises `SourceError` for anything else, and for what JSON does not have, as NaN."""
        try:
            values = json.loads(self.text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise self.wrong(f"is no JSON ({reason}): each line has to be one whole object") from None
        if not isinstance(values, dict):
            raise self.wrong("is no JSON object: each line has to be one, in braces")
        return JsonLine(self, values)


class JsonLine(NamedTuple):
    """A line that holds one JSON object."""

    line: TextLine
    values: Mapping[str, Any]

    def wrong(self, what: str) -> SourceError:
        """The error for this line."""
        return self.line.wrong(what)

    def value(self, name: str) -> Any:
        """A field. Raises `SourceError` where it is missing."""
        if name not in self.values:
            raise self.wrong(f'"{name}" is missing')
        return self.values[name]

    def text(self, name: str) -> str:
        """A field that must be text."""
        return self.checked_text(self.value(name), f'"{name}"')

    def checked_text(self, value: object, what: str) -> str:
        """The value, if it is text. Raises `SourceError` where it is not, or holds half of a character."""
        if not isinstance(value, str):
            raise self.wrong(f"{what} is no text")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self.wrong(f"{what} has half of a character (a lone surrogate)") from None
        return value


def read_lines(path: FilePath) -> Iterator[TextLine]:
    """The lines of a file, without those that are blank; in bounded memory.

    Raises `SourceError`, which names file and line, where it cannot be read or is not UTF-8.
    """
    shown = quote_path(os.fspath(path))
    try:
        with Path(path).open("rb") as file:
            yield from decoded_lines(file, shown)
    except OSError as error:
        raise SourceError(f"{shown}: cannot be read ({error.strerror or error})") from error


def decoded_lines(file: IO[bytes], shown: str) -> Iterator[TextLine]:
    """The same of an open file, which messages call `shown`."""
    number = 0
    while data := file.readline(LONGEST + 1):
        number += 1
        place = f"{shown}, line {number:,}"
        if len(data) > LONGEST:
            raise SourceError(f"{place}: has more than {LONGEST >> 20} MiB")
        try:
            text = data.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise SourceError(f"{place}: is not UTF-8 (byte {error.start + 1:,})") from None
        if text.strip():
            yield TextLine(place, text)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
