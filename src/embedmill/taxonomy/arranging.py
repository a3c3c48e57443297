"""A tree is arranged: cut to shape, its long lists grouped, its new groups named and commented."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from embedmill.core.errors import UsageError
from embedmill.taxonomy import shaping
from embedmill.taxonomy.analyzing import Shape, shape_of
from embedmill.taxonomy.grouping.lists import Embed, Grouped, Grouping, Tell, group_lists, quiet
from embedmill.taxonomy.tree import Branch, Taken, below

Case = Literal["keep", "title", "lower"]

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "ultra-detailed": {"max_leaf": 10, "min_leaf": 2, "min_group": 2},
    "detailed": {"max_leaf": 20, "min_leaf": 3},
    "balanced": {"max_leaf": 40, "min_leaf": 5},
    "flat": {"max_leaf": 80, "min_leaf": 8, "min_group": 5},
    "ultra-flat": {"max_leaf": 200, "min_leaf": 20, "min_group": 10},
}
"""How long lists may be, by name; each has a row of options, which those that are given win over."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What is done to a tree, in the order in which it is done."""

    root: str | None = None
    """Name or identifier of the branch that is taken; None: all."""
    exclude_subtree: tuple[str, ...] = ()
    """Names or identifiers of branches that are left out."""
    exclude_regex: str | None = None
    """Terms in which this is found are left out."""
    limit: int = 0
    """Terms that are taken, the first ones; 0: all."""
    skip: tuple[str, ...] = ()
    """Names or identifiers of branches that are left out, while what is below is promoted."""
    flatten: bool = False
    """Whether all terms are one list at first."""
    depth: int | None = None
    """Levels of branches that are kept; None: all."""
    shape: bool = False
    """Whether repeated names and wrappers are dissolved, and short lists merged."""
    min_leaf: int = 5
    """With `shape`: lists of fewer terms are merged with others of their parent."""
    case: Case = "keep"
    """How names of branches are written."""
    grouping: Grouping = field(default_factory=Grouping)
    """How long lists are grouped."""
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name or identifier of a branch -> fields of `Grouping` that are others for it and all below."""
    comment_template: str | None = None
    """Of the comment of each new group; `GROUP_FIELDS` stand in braces. None: its size and cohesion."""
    glosses: Mapping[str, str] = field(default_factory=dict)
    """Term -> what it means, for the template."""


GROUP_FIELDS: Final = ("text", "name", "terms", "cohesion", "medoid")
"""What a comment's template may name: `text` is the gloss of the group's name, else of its medoid, else its name."""


@dataclass(frozen=True, slots=True)
class Arranged:
    """What was done."""

    before: Shape
    after: Shape
    groups: list[Grouped]
    taken: list[Taken]
    """Terms that options have left out; all others are in the tree as they were before."""


def arrange_tree(
    root: Branch, embed: Embed, arrangement: Arrangement, *, workers: int = 1, tell: Tell = quiet
) -> tuple[Branch, Arranged]:
    """Arrange a tree, in place, and give it, or the branch that is taken of it, with what was done.

    No term is lost but those that are told; the same for any number of workers; what was arranged so is not changed by
    being arranged so again. Raises `UsageError` for a branch that is not there, for a pattern or template that makes no
    sense, and `MissingExtra`.
    """
    check_arrangement(arrangement)
    before = shape_of(root)
    taken: list[Taken] = []
    if arrangement.root is not None:
        chosen = shaping.subtree(root, arrangement.root)
        taken += shaping.all_but(root, chosen)
        root = chosen
    taken += _cut(root, arrangement)
    shaping.settle_own_terms(root, arrangement.grouping.own_label)
    if arrangement.shape:
        shaping.merge_short(root, arrangement.min_leaf)
    groups = group_lists(root, embed, _groupings(root, arrangement), workers=workers, tell=tell)
    if arrangement.case != "keep":
        shaping.change_case(root, arrangement.case)
        shaping.tell_apart(root)  # those that differed in case alone
    for group in groups:
        group.branch.above = [_comment(group, arrangement)]
    paths = {id(branch): path for path, branch in below(root)}
    groups = [replace(group, path=paths[id(group.branch)]) for group in groups]
    return root, Arranged(before, shape_of(root), groups, taken)


def _cut(root: Branch, arrangement: Arrangement) -> list[Taken]:
    taken: list[Taken] = []
    if arrangement.exclude_subtree:
        taken += shaping.exclude_subtrees(root, arrangement.exclude_subtree)
    if arrangement.exclude_regex is not None:
        taken += shaping.exclude_terms(root, arrangement.exclude_regex)
    if arrangement.limit:
        taken += shaping.limit_terms(root, arrangement.limit)
    if arrangement.skip:
        shaping.skip(root, arrangement.skip)
    if arrangement.flatten:
        shaping.flatten(root)
    elif arrangement.depth is not None:
        shaping.cut_depth(root, arrangement.depth)
    if arrangement.shape:
        shaping.dissolve_repeated(root)
        shaping.dissolve_wrappers(root)
    shaping.tell_apart(root)
    return taken


def _groupings(root: Branch, arrangement: Arrangement) -> Callable[[Branch], Grouping]:
    """How each branch's list is grouped: as the nearest branch above it says for which something else holds."""
    least = arrangement.min_leaf if arrangement.shape else 0  # a smaller group would be merged the next time

    def suited(grouping: Grouping) -> Grouping:
        return replace(grouping, min_group=max(grouping.min_group, least))

    if not arrangement.overrides:
        usual = suited(arrangement.grouping)
        return lambda _: usual
    shaping.check_known(root, arrangement.overrides, "--overrides")
    shaped = [(shaping.known_as([name]), fields) for name, fields in arrangement.overrides.items()]
    found: dict[int, Grouping] = {}
    waiting = [(root, arrangement.grouping)]
    while waiting:
        branch, grouping = waiting.pop()
        for chosen, fields in shaped:
            if chosen(branch):
                grouping = replace(grouping, **fields)
        found[id(branch)] = suited(grouping)
        waiting += [(below, grouping) for below in branch.branches]
    return lambda branch: found[id(branch)]


def check_arrangement(arrangement: Arrangement) -> None:
    """Raise `UsageError` for what makes no sense, whatever the tree: limits, pattern, template."""
    if arrangement.shape and arrangement.min_leaf > arrangement.grouping.max_leaf:
        raise UsageError(
            f"--min-leaf is {arrangement.min_leaf} and --max-leaf {arrangement.grouping.max_leaf}: no list keeps both"
        )
    if arrangement.exclude_regex is not None:
        shaping.expression(arrangement.exclude_regex)
    template = arrangement.comment_template
    if template is None:
        return
    try:
        template.format_map(dict.fromkeys(GROUP_FIELDS, ""))
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise UsageError(
            f"--comment-template {template!r} does not fit: in braces it may have {', '.join(GROUP_FIELDS)}"
        ) from error


def _comment(group: Grouped, arrangement: Arrangement) -> str:
    if arrangement.comment_template is None:
        return shaping.size_comment(group.terms, group.cohesion)
    glosses, name = arrangement.glosses, group.branch.name
    text = arrangement.comment_template.format_map(
        {
            "text": glosses.get(name) or glosses.get(group.medoid) or name,
            "name": name,
            "terms": str(group.terms),
            "cohesion": f"{group.cohesion:.2f}",
            "medoid": group.medoid,
        }
    )
    return " ".join(text.split()).removeprefix("#").strip()
