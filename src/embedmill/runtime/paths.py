r"""File paths as document ids, and back.

A file's id is its absolute path as text. On POSIX systems a name is any bytes: a byte that is not UTF-8
is written ``\xNN``, as Python's "backslashreplace" does. So that two files never share an id, a backslash
that stands in a name before ``x80`` ... ``xff`` or ``x5c`` is itself written ``\x5c``. All other paths are
their own ids.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

FilePath = str | os.PathLike[str]
"""A path as callers may give it."""

_LOOKS_ESCAPED = re.compile(rb"\\(?=x(?:[89a-f][0-9a-f]|5c))")
_ESCAPED = re.compile(rb"\\x([89a-f][0-9a-f]|5c)")


def file_id(path: str) -> str:
    """The id of the file at an absolute path: without lone surrogates, reversible."""
    if path.isascii() and "\\" not in path:
        return path
    return _LOOKS_ESCAPED.sub(rb"\\x5c", os.fsencode(path)).decode("utf-8", "backslashreplace")


def file_path(document: str) -> str:
    """The path whose `file_id` this is."""
    if document.isascii() and "\\" not in document:
        return document
    encoded = document.encode("utf-8", "surrogatepass")
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), encoded))


def as_folder(path: str) -> str:
    """The path with one "/" at its end."""
    return path if path.endswith("/") else path + "/"


def within(name: str, scopes: Iterable[str]) -> bool:
    """Whether a name, or a scope, is one of these scopes, or lies in one that ends in "/"."""
    return any(name == scope or (scope.endswith("/") and name.startswith(scope)) for scope in scopes)


def quote_path(document: str) -> str:
    """An id as it stands in a message of one line: as it is, or quoted where it has line breaks or the like."""
    return document if document.isprintable() else repr(document)


def both(paths: Iterable[str]) -> Iterator[str]:
    """The scopes of paths that may be those of files or of folders."""
    for path in paths:
        yield from (path, path.rstrip("/") + "/")
