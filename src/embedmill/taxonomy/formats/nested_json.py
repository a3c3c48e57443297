"""Nested JSON: objects are branches by their keys, lists hold terms and objects, a text is a term."""

from __future__ import annotations

from typing import Any

from embedmill.taxonomy.formats.json_text import as_text
from embedmill.taxonomy.formats.text import FileText
from embedmill.taxonomy.tree import Branch, Term


def fits(data: Any) -> bool:
    """Whether this is a tree."""
    return isinstance(data, dict | list)


def read(file: FileText, data: Any) -> Branch:
    """The tree. Raises `SourceError` for a list in a list, an empty term or key, or where there is nothing."""
    root = Branch("")
    waiting: list[tuple[Branch, Any]] = [(root, data)]
    while waiting:
        branch, value = waiting.pop()
        items = value if isinstance(value, list) else [value]
        for item in items:
            if isinstance(item, dict):
                for name, below in item.items():
                    if not name:
                        raise file.wrong(f"a key below {branch.name!r} is empty: name the branch")
                    branch.children.append(Branch(name))
                    waiting.append((branch.children[-1], below))  # type: ignore[arg-type]
            elif isinstance(item, list):
                raise file.wrong(
                    f"a list stands in a list, below {branch.name!r}, and has no name: give it one, as a key"
                )
            elif item == "":
                raise file.wrong(f"a term below {branch.name!r} is empty: write it, or leave it out")
            elif item is not None or isinstance(value, list):
                branch.children.append(Term(as_text(item)))
    if not root.children:
        raise file.no_terms()
    return root
