"""Long lists of a tree become groups of like terms: collected over all of it, grouped side by side, put in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from embedmill.core.errors import MissingExtra
from embedmill.core.vectors import Vectors
from embedmill.taxonomy.grouping.division import Group, divide
from embedmill.taxonomy.grouping.naming import Source, named
from embedmill.taxonomy.grouping.threads import Map, map_within
from embedmill.taxonomy.grouping.ward import Floats, Indices
from embedmill.taxonomy.tree import Branch, Path, Term, distinct, embedded_text, free_name

Tell = Callable[[int, int], None]
"""Told how many lists are grouped, and of how many."""

Embed = Callable[[Sequence[str]], Vectors]
"""Vectors of ``(n, dimension)``, of unit length, for n texts."""


def quiet(done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """How lists are grouped."""

    max_leaf: int = 40
    """Terms: longer lists are grouped."""
    min_group: int = 3
    """Terms: smaller groups are dissolved."""
    threshold: float = 0.55
    """Cohesion below which a group is dissolved (benchmarks/README.md)."""
    own_label: str = "other"
    """The branch of what fits nowhere, and of a branch's own terms beside its sub-branches."""


@dataclass(frozen=True, slots=True)
class Grouped:
    """A group that was made of terms of a list."""

    branch: Branch
    terms: int
    """In all below it."""
    cohesion: float
    """The mean cosine of its terms with their centre, from -1 to 1."""
    medoid: str
    """The term nearest to the centre."""
    name_from: Source
    path: Path = ()
    """Of the branch, once it is in its place."""


@dataclass(slots=True)
class _Plan:
    """What becomes of a list: terms that stay one, or named parts."""

    name: str
    terms: Sequence[Term]
    vectors: Floats
    grouping: Grouping
    parts: list[_Plan] = field(default_factory=list)
    group: Group | None = None  # whose terms these are; None for what fits nowhere
    medoid: str = ""
    name_from: Source = "medoid"

    @property
    def long(self) -> bool:
        return len(self.terms) > self.grouping.max_leaf


def group_lists(
    root: Branch, embed: Embed, grouping_of: Callable[[Branch], Grouping], *, workers: int = 1, tell: Tell = quiet
) -> list[Grouped]:
    """Group the long lists of a tree, in place, in so many threads; what was made, in the tree's order.

    All their terms are embedded by one call, each distinct one once. The same for the same tree, however many workers
    there are; and a tree whose lists were grouped is not changed by doing it again. Raises `MissingExtra`.
    """
    first: dict[int, Branch] = {}  # of those that share one list
    for branch in distinct(root):
        first.setdefault(id(branch.children), branch)
    long = [branch for branch in first.values() if len(branch.terms) > grouping_of(branch).max_leaf]
    if not long:
        return []
    terms = [branch.terms for branch in long]
    texts = [[embedded_text(term) for term in each] for each in terms]
    rows = {text: row for row, text in enumerate(dict.fromkeys(text for each in texts for text in each))}
    vectors = np.asarray(embed(list(rows)), np.float32)
    plans = [
        _Plan(branch.name, each, vectors[[rows[text] for text in own]], grouping_of(branch))
        for branch, each, own in zip(long, terms, texts, strict=True)
    ]
    _divide_all(plans, workers, tell)
    made: list[Grouped] = []
    for branch, plan in zip(long, plans, strict=True):
        if plan.parts:
            branch.children[:] = [_grown(part, made) for part in plan.parts]
    return made


def _divide_all(plans: Sequence[_Plan], workers: int, tell: Tell) -> None:
    """Divide lists, and what is still too long of them, until no more comes of that: a level after the other."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingExtra("arranging terms", "taxonomies") from error
    done = total = 0
    # One thread for each product of matrices: so many lists are grouped at once, and sums come in one order everywhere.
    with threadpool_limits(1), ThreadPoolExecutor(workers, thread_name_prefix="embedmill-group") as pool:
        within = map_within(pool)
        waiting = list(plans)
        while waiting:
            total += len(waiting)
            for plan, parts in zip(waiting, pool.map(lambda plan: _parts(plan, within), waiting), strict=True):
                plan.parts = parts
                done += 1
                tell(done, total)
            waiting = [part for plan in waiting for part in plan.parts if part.long]


def _parts(plan: _Plan, side_by_side: Map) -> list[_Plan]:
    """The parts of a list, what fits nowhere as the last; none where nothing comes of dividing it."""
    grouping, terms = plan.grouping, plan.terms
    found = divide(
        plan.vectors,
        max_leaf=grouping.max_leaf,
        min_group=grouping.min_group,
        threshold=grouping.threshold,
        side_by_side=side_by_side,
    )
    rows = [group.rows for group in found.groups]
    if not rows or len(rows[0]) == len(terms):
        return []
    names = named(
        [[terms[row].text for row in each] for each in rows],
        [[terms[row].text for row in group.nearest] for group in found.groups],
        [plan.name, grouping.own_label],
    )

    def part(name: str, chosen: Indices) -> _Plan:
        return _Plan(name, [terms[row] for row in chosen], plan.vectors[chosen], grouping)

    parts = []
    for group, name in zip(found.groups, names, strict=True):
        parts.append(part(name.text, group.rows))
        parts[-1].group, parts[-1].name_from = group, name.source
        parts[-1].medoid = terms[group.nearest[0]].text
    if len(found.others):
        parts.append(part(free_name(grouping.own_label, [plan.name]), found.others))
    return parts


def _grown(plan: _Plan, made: list[Grouped]) -> Branch:
    """A part as a branch; what was made is added to `made`, a branch before those below it."""
    branch = Branch(plan.name)
    if plan.group is not None:
        made.append(Grouped(branch, len(plan.terms), plan.group.cohesion, plan.medoid, plan.name_from))
    branch.children[:] = [_grown(part, made) for part in plan.parts] if plan.parts else plan.terms
    return branch
