"""Trees of terms for tests, and what is compared of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from embedmill.taxonomy.formats.signs import sign
from embedmill.taxonomy.tree import Branch, Term

LINES = st.text("ab #:'é", max_size=6).map(str.strip)


def trees(texts: st.SearchStrategy[str], comments: st.SearchStrategy[str] = LINES) -> st.SearchStrategy[Branch]:
    """Trees with something in them."""
    above = st.lists(comments, max_size=2)
    terms = st.builds(Term, texts, comments, above)
    branches: st.SearchStrategy[Branch] = st.deferred(
        lambda: st.builds(Branch, texts, st.lists(terms | branches, max_size=4), comments, above)
    )
    return st.builds(Branch, st.just(""), st.lists(terms | branches, min_size=1, max_size=5))


def outline(tree: Branch) -> list[Any]:
    """The names and terms of a tree, in order, each branch a list that begins with its name."""
    found: list[Any] = [tree.name]
    waiting = [(tree, found)]
    while waiting:
        branch, lines = waiting.pop()
        for child in branch.children:
            if isinstance(child, Term):
                lines.append(child.text)
            else:
                inner: list[Any] = [child.name]
                lines.append(inner)
                waiting.append((child, inner))
    return found


def comment_lines(tree: Branch) -> Counter[str]:
    """How often each line of comment stands in a tree, with its sign; empty ones left out."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    for _, branch in tree.walk():
        for node in (branch, *branch.terms):
            if id(node) not in seen:
                seen.add(id(node))
                found.update(map(sign, [node.comment, *node.above]))
        if id(branch.below) not in seen:
            seen.add(id(branch.below))
            found.update(map(sign, branch.below))
    del found[""]
    return found


def shared_data(name: str) -> Path:
    """A file of the folder of data that lies beside the checkout; the test is skipped where there is none."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "shared" / "data" / name).is_file():
            return folder / "shared" / "data" / name
    pytest.skip(f"shared/data/{name} is not here")
