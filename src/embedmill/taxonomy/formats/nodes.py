"""From rows that each name their parent to a tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from embedmill.core.checks import suggestion
from embedmill.taxonomy.formats.text import FileText
from embedmill.taxonomy.tree import Branch, Term

MOST_NODES: Final = 10_000_000
"""Terms and branches of a tree, a branch with several parents counted below each of them."""


@dataclass(frozen=True, slots=True)
class Node:
    """A row."""

    key: str
    """What rows below it call it."""
    parent: str
    """The key of what it stands below; "" for a root."""
    name: str
    line: int
    comment: str = ""
    id: str = ""
    is_branch: bool = False
    """It is a branch even with nothing below it."""


def grow(file: FileText, nodes: Sequence[Node], *, several_parents: bool = False) -> Branch:
    """The tree of some rows, in their order. What has nothing below it is a term.

    `several_parents`: a key may stand in more than one row, below other parents or again below one; a branch is one
    object then. Raises `SourceError` for an empty name, a key twice where it may not be, a parent that is not there, a
    circle, more than `MOST_NODES`, or where there are no rows.
    """
    if not nodes:
        raise file.no_terms()
    parents = {node.parent for node in nodes}
    known: dict[str, Branch] = {"": Branch("")}
    keys: set[str] = set()
    for node in nodes:
        if not node.name.strip():
            raise file.wrong("the name is empty: write it, or remove the line", node.line)
        if node.key in keys and not several_parents:
            raise file.wrong(f"{node.key!r} stands twice as an index: give each line its own", node.line)
        keys.add(node.key)
        if (node.key in parents or node.is_branch) and node.key not in known:
            known[node.key] = Branch(node.name, comment=node.comment, id=node.id)
    children: dict[str, list[str]] = {}
    lines: dict[str, int] = {}
    for node in nodes:
        above = known.get(node.parent)
        if above is None:
            raise file.wrong(f"the parent {node.parent!r} is in no line{suggestion(node.parent, keys)}", node.line)
        branch = known.get(node.key)
        above.children.append(branch or Term(node.name, node.comment, id=node.id))
        if branch:
            children.setdefault(node.parent, []).append(node.key)
            lines.setdefault(node.key, node.line)
    _check(file, known, children, lines)
    return known[""]


def _check(file: FileText, known: dict[str, Branch], children: dict[str, list[str]], lines: dict[str, int]) -> None:
    """Raise `SourceError` for a circle, also one that no root leads to, and for more nodes than can be."""
    sizes: dict[str, int] = {}
    path: dict[str, None] = {}  # the keys from the start to where we are, in order
    for start in known:
        waiting = [(start, False)]
        while waiting:
            key, done = waiting.pop()
            if done:
                del path[key]
                below = children.get(key, [])
                sizes[key] = len(known[key].children) + sum(sizes[each] for each in below)
                if sizes[key] > MOST_NODES:
                    what = f"below {known[key].name!r} are more than {MOST_NODES:,} terms and branches"
                    raise file.wrong(f"{what}: give branches fewer parents", lines.get(key, 0))
            elif key in path:
                names = [known[each].name for each in [*list(path)[list(path).index(key) :], key]]
                shown = " > ".join(names if len(names) < 7 else [*names[:3], "...", *names[-2:]])
                raise file.wrong(f"a circle of parents: {shown}; remove one of its lines", lines[key])
            elif key not in sizes:
                path[key] = None
                waiting.append((key, True))
                waiting += [(each, False) for each in children.get(key, [])]
