"""ImageNet's index of classes as JSON: ``{"0": ["n01440764", "tench"], ...}``."""

from __future__ import annotations

from typing import Any

from embedmill.taxonomy.formats.json_text import not_as_expected
from embedmill.taxonomy.formats.text import FileText
from embedmill.taxonomy.tree import Branch, Term


def fits(data: Any) -> bool:
    """Whether each key is a number, with a WordNet id and a name."""
    return isinstance(data, dict) and bool(data) and all(_is_class(key, value) for key, value in data.items())


def _is_class(key: str, value: Any) -> bool:
    if not (key.isdecimal() and isinstance(value, list) and len(value) == 2):
        return False
    identifier, name = value
    return (
        isinstance(identifier, str) and isinstance(name, str) and identifier[:1] == "n" and identifier[1:].isdecimal()
    )


def read(file: FileText, data: Any) -> Branch:
    """The names as terms, in the file's order, with their WordNet ids. Raises `SourceError` for another shape."""
    root = Branch("")
    for key, value in data.items() if isinstance(data, dict) else [("", data)]:
        if not _is_class(key, value) or not value[1]:
            raise not_as_expected(file, f"the class {key!r}", '"0": ["n01440764", "tench"]')
        root.children.append(Term(value[1], id=value[0]))
    if not root.children:
        raise file.no_terms()
    return root
