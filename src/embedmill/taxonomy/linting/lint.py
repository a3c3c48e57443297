"""A tree is looked through, and mended where that is safe."""

from __future__ import annotations

from collections.abc import Sequence

from embedmill.taxonomy.grouping.lists import Embed
from embedmill.taxonomy.linting.findings import LintFinding
from embedmill.taxonomy.linting.meaning import meaning_findings, texts_of
from embedmill.taxonomy.linting.written import doubled, written_findings
from embedmill.taxonomy.tree import Branch, Taken, Term, below


def lint_tree(root: Branch, embed: Embed | None, *, max_leaf: int) -> list[LintFinding]:
    """All findings; without `embed` only what is seen as it is written. All texts are embedded by one call."""
    found = written_findings(root, max_leaf=max_leaf)
    if embed is None or not (texts := texts_of(root)):
        return found
    return found + meaning_findings(root, dict(zip(texts, embed(texts), strict=True)))


def fix_tree(root: Branch) -> list[Taken]:
    """Take away, in place, terms that stand twice in one list, and branches with nothing below; what was taken.

    What stands in two lists is left: it may be two senses, and which place is right is for people to say.
    """
    taken: list[Taken] = []
    for path, branch in below(root):
        for name in dict.fromkeys(term.text for term in branch.terms):
            again = {id(term) for term in doubled(branch, name)}
            branch.children[:] = [child for child in branch.children if id(child) not in again]
            taken += [(path, name)] * len(again)
    return taken + _without_empty(root)


def _without_empty(root: Branch) -> list[Taken]:
    """Deepest first: a branch of empty branches alone becomes empty itself."""
    taken: list[Taken] = []
    for path, branch in reversed(list(below(root))):
        empty = {id(each) for each in branch.branches if not each.children}
        taken += [(path, each.name) for each in branch.branches if id(each) in empty]
        branch.children[:] = [child for child in branch.children if id(child) not in empty]
    return taken


def drop_outliers(root: Branch, findings: Sequence[LintFinding]) -> list[Taken]:
    """Take away, in place, the terms that are outliers; what was taken."""
    outliers = {
        (path, name)
        for each in findings
        if each.kind == "outlier"
        for path, name in zip(each.paths, each.terms, strict=True)
    }
    taken: list[Taken] = []
    for path, branch in below(root):
        gone = [term for term in branch.terms if (path, term.text) in outliers]
        branch.children[:] = [child for child in branch.children if not (isinstance(child, Term) and child in gone)]
        taken += [(path, term.text) for term in gone]
    return taken
