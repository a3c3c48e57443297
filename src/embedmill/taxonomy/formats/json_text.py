"""JSON as every format that is made of it reads it: numbers as they are written, no key twice."""

from __future__ import annotations

import json
from typing import Any

from embedmill.core.errors import SourceError
from embedmill.taxonomy.formats.text import FileText


def load(file: FileText) -> Any:
    """What a file of JSON holds; numbers are texts, as written, and so are `true` and `false`.

    Raises `SourceError` for one that is no JSON, has a key twice in one object, or is deeper than this process's stack.
    """

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for place, key in enumerate(keys) if key in keys[:place])
            raise file.wrong(f"the key {twice!r} stands twice in one object: rename or merge one")
        return found

    try:
        return json.loads(file.text, object_pairs_hook=members, parse_int=str, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        raise file.wrong(f"this is not JSON: {error.msg}", error.lineno, error.colno) from None
    except RecursionError:
        raise file.wrong("this JSON is too deep to be read: give it as YAML, or with fewer levels") from None


def as_text(value: object) -> str:
    """A scalar of JSON as the text that stands in the file."""
    return (
        {True: "true", False: "false", None: "null"}[value]
        if value is None or value is True or value is False
        else str(value)
    )


def not_as_expected(file: FileText, what: str, expected: str) -> SourceError:
    """The error for JSON of another shape."""
    return file.wrong(f"{what}: expected {expected}; choose another --format, or correct it")
