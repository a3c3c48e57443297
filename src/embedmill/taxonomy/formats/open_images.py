"""The hierarchy of Open Images: JSON of labels, whose names are in a CSV of classes beside it."""

from __future__ import annotations

import csv
import io
from typing import Any

from embedmill.taxonomy.formats.json_text import not_as_expected
from embedmill.taxonomy.formats.text import FileText
from embedmill.taxonomy.tree import Branch, Term


def fits(data: Any) -> bool:
    """Whether this is a label with labels below it."""
    return isinstance(data, dict) and "LabelName" in data and ("Subcategory" in data or "Part" in data)


def class_names(file: FileText) -> dict[str, str]:
    """Label -> name, of a CSV with or without its header. Raises `SourceError` for a line of other fields."""
    names: dict[str, str] = {}
    rows = csv.reader(io.StringIO(file.text), strict=True)
    try:
        for row in rows:
            if not row or row == ["LabelName", "DisplayName"]:
                continue
            if len(row) != 2 or not all(row):
                raise file.wrong("expected a label and a name, separated by a comma", rows.line_num)
            if names.setdefault(row[0], row[1]) != row[1]:
                raise file.wrong(f"the label {row[0]!r} has two names: keep one", rows.line_num)
    except csv.Error as error:
        raise file.wrong(f"this is not CSV: {error}", rows.line_num) from None
    return names


def read(file: FileText, data: Any, names: dict[str, str] | None = None) -> Branch:
    """The hierarchy, parts behind subcategories; the root has the name of the topmost label.

    `names` are those of `class_names`; a label without one keeps its label. Raises `SourceError` for another shape.
    """
    names = names or {}
    if not fits(data):
        raise not_as_expected(file, "this is no hierarchy", '{"LabelName": ..., "Subcategory": [...]}')
    label = _label(file, data)
    root = Branch(names.get(label, label), id=label)
    waiting = [(root, data)]
    while waiting:
        branch, node = waiting.pop()
        for each in [*_below(file, node, "Subcategory"), *_below(file, node, "Part")]:
            label = _label(file, each)
            name = names.get(label, label)
            if each.get("Subcategory") or each.get("Part"):
                inner = Branch(name, id=label)
                branch.children.append(inner)
                waiting.append((inner, each))
            else:
                branch.children.append(Term(name, id=label))
    if not root.children:
        raise file.no_terms()
    return root


def _below(file: FileText, node: Any, key: str) -> list[Any]:
    found = node.get(key) or []
    if not isinstance(found, list):
        raise not_as_expected(file, f"{key} of {_label(file, node)!r}", "a list")
    return found


def _label(file: FileText, node: Any) -> str:
    label = node.get("LabelName") if isinstance(node, dict) else None
    if not isinstance(label, str) or not label:
        raise not_as_expected(file, f"a node of the hierarchy, {node!r:.60},", 'an object with a text as "LabelName"')
    return label
