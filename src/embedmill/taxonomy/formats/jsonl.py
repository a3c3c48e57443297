"""JSON Lines: a line ``{"text", "label", "hierarchy"}`` for each term."""

from __future__ import annotations

import json
import re
from typing import Final

from embedmill.taxonomy.formats.text import FileText
from embedmill.taxonomy.tree import Branch, Term

_KEYS: Final = {"text", "hierarchy"}

_HALF: Final = re.compile("[\ud800-\udfff]")
"""Half of a character, as JSON may have it by number: no encoding has it otherwise."""


def fits(file: FileText) -> bool:
    """Whether the first line that is not empty is such an object."""
    first = file.text.lstrip().partition("\n")[0]
    if not first.startswith("{"):
        return False
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and row.keys() >= _KEYS


def read(file: FileText) -> Branch:
    """The terms in the branches that their `hierarchy` names, in the order of the lines; `label` is the last of it.

    Raises `SourceError` for a line that is no such object, and where there are no terms.
    """
    root = Branch("")
    known: dict[tuple[str, ...], Branch] = {(): root}
    for number, line in enumerate(file.text.split("\n"), start=1):
        if not line.strip():
            continue
        text, names = _term(file, line, number)
        for depth, name in enumerate(names):
            if names[: depth + 1] not in known:
                known[names[: depth + 1]] = branch = Branch(name)
                known[names[:depth]].children.append(branch)
        known[names].children.append(Term(text))
    if not root.children:
        raise file.no_terms()
    return root


def _term(file: FileText, line: str, number: int) -> tuple[str, tuple[str, ...]]:
    """The term of a line, and the names of the branches it is in."""
    try:
        row = json.loads(line)
        text, names = row["text"], row["hierarchy"]
        if isinstance(text, str) and isinstance(names, list) and all(isinstance(name, str) for name in names):
            return text, tuple(names)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise file.wrong('no term: write {"text": "a term", "hierarchy": ["its", "branches"]}', number)


def write(tree: Branch) -> str:
    """The terms in order: the name of their branch as `label`, the names from the root to it as `hierarchy`."""
    lines: list[str] = []
    waiting: list[tuple[list[str], Branch | Term]] = [([], tree)]
    while waiting:
        names, node = waiting.pop()
        if isinstance(node, Term):
            row = {"text": node.text, "label": names[-1] if names else "", "hierarchy": names}
            line = json.dumps(row, ensure_ascii=False)
            lines.append((json.dumps(row) if _HALF.search(line) else line) + "\n")
            continue
        inner = [*names, node.name] if node.name or names else names
        waiting += [(inner, child) for child in reversed(node.children)]
    return "".join(lines)
