"""JSON Lines: a line ``{"text", "label", "hierarchy"}`` for each term."""

from __future__ import annotations

import json
import re
from typing import Final

from embedmill.taxonomy.tree import Branch, Term

_HALF: Final = re.compile("[\ud800-\udfff]")
"""Half of a character, as JSON may have it by number: no encoding has it otherwise."""


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
