"""A file of texts: one a line, or JSON Lines with a "text" each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import IO

from embedmill.quality.json_lines import TextLine, decoded_lines, read_lines
from embedmill.runtime.paths import FilePath


def read_texts(path: FilePath) -> Iterator[str]:
    """The texts of a file, without blank lines. Raises `SourceError`, which names file and line."""
    return _texts(read_lines(path))


def texts_of_stream(stream: IO[bytes], shown: str) -> Iterator[str]:
    """The same of an open file, which messages call `shown`."""
    return _texts(decoded_lines(stream, shown))


def _texts(lines: Iterable[TextLine]) -> Iterator[str]:
    """The texts of lines: those of the field "text" where the first line is an object that has it, else the lines."""
    as_json: bool | None = None
    for line in lines:
        if as_json is None:
            as_json = _has_text(line.text)
        yield line.object().text("text") if as_json else line.text


def _has_text(line: str) -> bool:
    try:
        found = json.loads(line) if line.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "text" in found
