"""Long lists of a tree become groups of like terms: collected over all of it, grouped side by side, put in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from embedmill.core.vectors import Vectors
from embedmill.taxonomy.grouping.division import divide
from embedmill.taxonomy.grouping.naming import Source, named
from embedmill.taxonomy.grouping.ward import Floats, Indices
from embedmill.taxonomy.tree import Branch, Term, distinct, embedded_text, free_name

Embed = Callable[[Sequence[str]], Vectors]
"""Vectors of ``(n, dimension)``, of unit length, for n texts."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """How lists are grouped."""

    max_leaf: int = 40
    """Terms: longer lists are grouped."""
    min_group: int = 3
    """Terms: smaller groups are dissolved."""
    threshold: float = 0.5
    """Cohesion below which a group is dissolved (benchmarks/README.md)."""
    own_label: str = "other"
    """The branch of what fits nowhere, and of a branch's own terms beside its sub-branches."""


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A group that was made."""

    path: tuple[str, ...]
    terms: int
    cohesion: float
    medoid: str
    name_from: Source


@dataclass(slots=True)
class _Plan:
    """What becomes of a list: terms that stay one, or named parts."""

    terms: list[Term]
    parts: list[_Plan] = field(default_factory=list)
    name: str = ""
    cohesion: float | None = None
    medoid: str = ""
    name_from: Source | None = None


def arrange_tree(root: Branch, embed: Embed, grouping: Grouping, *, workers: int = 1) -> list[GroupReport]:
    """Group the long lists of a tree, in place, in so many threads; what was grouped, in the tree's order.

    All their terms are embedded by one call, each distinct one once. The same for the same tree, however many workers
    there are; and a tree that was arranged is not changed by being arranged again.
    """
    _settle_own_terms(root, grouping.own_label)
    long = [branch for branch in distinct(root) if len(branch.terms) > grouping.max_leaf]
    inputs = {embedded_text(term): row for row, term in enumerate(_first_of_each(long))}
    if not inputs:
        return []
    vectors = np.asarray(embed(list(inputs)), np.float32)

    def planned(branch: Branch) -> _Plan:
        rows = np.array([inputs[embedded_text(term)] for term in branch.terms])
        return _plan(branch.terms, vectors[rows], branch.name, grouping)

    with ThreadPoolExecutor(workers, thread_name_prefix="embedmill-group") as pool:
        plans = list(pool.map(planned, long))
    for branch, plan in zip(long, plans, strict=True):
        if plan.parts:
            branch.children[:] = [_grown(part) for part in plan.parts]
    return [report for branch, plan in zip(long, plans, strict=True) for report in _reports(plan, (branch.name,))]


def _settle_own_terms(root: Branch, label: str) -> None:
    """Give a branch's own terms, beside its sub-branches, a branch of their own, where the first of them stood."""
    for branch in list(distinct(root)):
        terms, branches = branch.terms, branch.branches
        if terms and branches:
            own = Branch(free_name(label, (each.name for each in branches)), list(terms))
            first = branch.children.index(terms[0])
            before = [child for child in branch.children[:first] if isinstance(child, Branch)]
            branch.children[:] = [*before, own, *branches[len(before) :]]


def _first_of_each(branches: Iterable[Branch]) -> Iterator[Term]:
    first = {embedded_text(term): term for branch in branches for term in reversed(branch.terms)}
    yield from first.values()


def _plan(terms: Sequence[Term], vectors: Floats, name: str, grouping: Grouping) -> _Plan:
    """Divide a list, and what is still too long of it, until no more comes of that."""
    plan = _Plan(list(terms), name=name)
    if len(terms) <= grouping.max_leaf:
        return plan
    found = divide(vectors, max_leaf=grouping.max_leaf, min_group=grouping.min_group, threshold=grouping.threshold)
    rows = [group.rows for group in found.groups]
    if not rows or len(rows[0]) == len(terms):
        return plan
    names = named(
        [[terms[row].text for row in each] for each in rows],
        [[terms[row].text for row in _nearest_first(vectors, each)] for each in rows],
        [name, grouping.own_label],
    )
    for group, own in zip(found.groups, names, strict=True):
        part = _plan([terms[row] for row in group.rows], vectors[group.rows], own.text, grouping)
        part.cohesion, part.medoid, part.name_from = group.cohesion, terms[group.medoid].text, own.source
        plan.parts.append(part)
    if len(found.others):
        others = [terms[row] for row in found.others]
        plan.parts.append(_plan(others, vectors[found.others], grouping.own_label, grouping))
    return plan


def _nearest_first(vectors: Floats, rows: Indices) -> Indices:
    centre = vectors[rows].mean(axis=0)
    return rows[np.argsort(-(vectors[rows] @ centre), kind="stable")]


def _grown(plan: _Plan) -> Branch:
    branch = Branch(plan.name, [_grown(part) for part in plan.parts] if plan.parts else list(plan.terms))
    if plan.cohesion is not None:
        branch.above = [f"{len(plan.terms)} terms, cohesion {plan.cohesion:.2f}"]
    return branch


def _reports(plan: _Plan, path: tuple[str, ...]) -> Iterator[GroupReport]:
    for part in plan.parts:
        below = (*path, part.name)
        if part.cohesion is not None and part.name_from is not None:
            yield GroupReport(below, len(part.terms), round(part.cohesion, 4), part.medoid, part.name_from)
        yield from _reports(part, below)
