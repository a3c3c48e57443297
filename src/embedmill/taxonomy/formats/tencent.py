"""The hierarchy of Tencent ML-Images: index, WordNet id, index of the parent and names, separated by tabs."""

from __future__ import annotations

from typing import Final

from embedmill.taxonomy.formats.nodes import Node, grow
from embedmill.taxonomy.formats.text import FileText
from embedmill.taxonomy.tree import Branch

_HEADER: Final = ("category_index", "category_id", "index_of_parent_category", "category name")
_ROOT: Final = "-1"


def fits(file: FileText) -> bool:
    """Whether the first line is that of Tencent's hierarchy."""
    return tuple(file.text.partition("\n")[0].split("\t")) == _HEADER


def read(file: FileText) -> Branch:
    """The tree; what has nothing below it is a term. Of "name, synonym, ..." the first is the name, the rest a comment.

    Raises `SourceError` for a line of other fields, an index that stands twice, a parent that is not there, a circle.
    """
    nodes: list[Node] = []
    for number, line in enumerate(file.text.split("\n"), 1):
        if number == 1 or not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) != len(_HEADER):
            what = (
                f"{len(fields)} fields where there should be {len(_HEADER)}: index, id, index of the parent and names"
            )
            raise file.wrong(what, number)
        index, identifier, parent, names = fields
        if not index.isdecimal():
            raise file.wrong(f"the index is {index!r}: expected a number", number)
        name, _, synonyms = names.partition(",")
        above = "" if parent == _ROOT else parent
        nodes.append(Node(index, above, name.strip(), number, comment=synonyms.strip(), id=identifier))
    return grow(file, nodes)
