"""CSV of parent and child; what has nothing below it is a term.

Plain: the columns `parent` and `child`, both names. Written: `id`, `parent` (an id), `child` (a name), `kind` and
`comment`, since names are not unique in a tree.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Final

from embedmill.core.errors import UsageError
from embedmill.taxonomy.formats.nodes import Node, grow
from embedmill.taxonomy.formats.signs import sign
from embedmill.taxonomy.formats.text import FileText, unwritable
from embedmill.taxonomy.tree import Branch, Term

_KINDS: Final = ("", "term", "branch")
_COLUMNS: Final = ("id", "parent", "child", "kind", "comment")


def fits(file: FileText) -> bool:
    """Whether the first line has the columns parent and child."""
    return {"parent", "child"} <= set(_header(file)[1])


def _header(file: FileText) -> tuple[str, list[str]]:
    """The sign between the columns, and the columns."""
    line = file.text.lstrip("\n").partition("\n")[0]
    sign = max(",;\t", key=line.count)
    return sign, [each.strip().strip('"').casefold() for each in line.split(sign)]


def read(file: FileText) -> Branch:
    """The tree, in the order of the lines; children without a parent stand in the root.

    Without a header the first column is the parent and the second the child. A parent that is nobody's child is a root,
    unless the file has lines without a parent: then it is missing.

    Raises `SourceError` for a line of too few columns, a missing parent, a circle, and for what is not CSV.
    """
    sign, columns = _header(file)
    has_header = fits(file)
    columns = columns if has_header else ["parent", "child"]
    nodes: list[Node] = []
    for line, row in _rows(file, sign):
        if has_header:
            has_header = False
            continue
        cells = dict(zip(columns, row, strict=False))
        if "parent" not in cells or "child" not in cells or (len(row) > len(columns) and any(row[len(columns) :])):
            raise file.wrong(f"{len(row)} columns where there should be {len(columns)}: {', '.join(columns)}", line)
        name, parent = cells["child"], cells["parent"]
        key = cells.get("id", name)
        is_branch = cells.get("kind") == "branch"
        if not key:
            raise file.wrong(f"the {'id' if 'id' in cells else 'child'} is empty: write it, or remove the line", line)
        if cells.get("kind", "") not in _KINDS:
            raise file.wrong(f"the kind is {cells['kind']!r}: write term or branch", line)
        nodes.append(
            Node(key, parent if parent.strip() else "", name, line, cells.get("comment", ""), is_branch=is_branch)
        )
    if "id" in columns:
        return grow(file, nodes)
    return grow(file, _with_roots(nodes), several_parents=True)


def _rows(file: FileText, sign: str) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(io.StringIO(file.text, newline=""), delimiter=sign, strict=True)
    try:
        for row in rows:
            if any(cell.strip() for cell in row):
                yield rows.line_num, row
    except csv.Error as error:
        raise file.wrong(f"this is not CSV: {error}", rows.line_num) from None


def _with_roots(nodes: list[Node]) -> list[Node]:
    """With a line for each parent that has none, where no line is a root."""
    if any(not node.parent for node in nodes):
        return nodes
    children = {node.key for node in nodes}
    roots = {node.parent: node.line for node in nodes if node.parent not in children}
    first = {node.parent: node.line for node in reversed(nodes) if node.parent in roots}
    return [*(Node(name, "", name, first[name]) for name in roots), *nodes]


def write(tree: Branch) -> str:
    """The tree as CSV, a line for each term and branch, in order.

    Raises `UsageError` for a text with a line end or a control character, which a reader would not give back.
    """
    out = io.StringIO(newline="")
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(_COLUMNS)
    number = 0
    waiting: list[tuple[int | str, Branch | Term]] = []
    top = [tree] if tree.name else tree.children
    waiting += [("", child) for child in reversed(top)]
    while waiting:
        parent, node = waiting.pop()
        number += 1
        comment = sign(" ".join(node.comment.split())).removeprefix("# ")
        text, kind = (node.text, "term") if isinstance(node, Term) else (node.name, "branch")
        if unwritable(text):
            raise UsageError(f"{text!r:.100} has a line end or control character, and cannot stand in CSV: write YAML")
        rows.writerow((number, parent, text, kind, comment))
        if isinstance(node, Term):
            continue
        waiting += [(number, child) for child in reversed(node.children)]
    return out.getvalue()
