"""A tree is cut to shape: what is left out, promoted, merged and renamed, before its lists are grouped and after."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, Literal

from embedmill.core.errors import UsageError
from embedmill.taxonomy.grouping.naming import plain, telling_word
from embedmill.taxonomy.tree import Branch, Taken, Term, below, distinct, free_name

_WRAPPERS: Final = frozenset(
    plain(name)
    for name in (
        "all",
        "category",
        "concepts",
        "content",
        "entries",
        "items",
        "list",
        "root",
        "tags",
        "terms",
        "things",
        "values",
        "wildcards",
    )
)  # names that say nothing of what is below
_OTHER: Final = "Other"

_SIZE: Final = re.compile(r"\d+ terms, cohesion -?\d\.\d\d")  # as `size_comment` has it

Chosen = Callable[[Branch], bool]


def known_as(names: Collection[str]) -> Chosen:
    """Whether a branch has one of these names or identifiers; names are compared without case and plural."""
    exact, alike = set(names), {plain(name) for name in names}
    return lambda branch: branch.id in exact - {""} or plain(branch.name) in alike - {""}


def check_known(root: Branch, names: Collection[str], option: str) -> None:
    """Raise `UsageError` for a name or identifier that no branch has."""
    for name in names:
        if not any(known_as([name])(branch) for branch in distinct(root)):
            raise UsageError(
                f"{option}: the tree has no branch {name!r}: see its names and identifiers with analyze --json"
            )


def subtree(root: Branch, name: str) -> Branch:
    """The first branch of this name or identifier. Raises `UsageError` where there is none."""
    check_known(root, [name], "--root")
    return next(branch for branch in distinct(root) if known_as([name])(branch))


def exclude_subtrees(root: Branch, names: Collection[str]) -> list[Taken]:
    """Take branches of these names or identifiers away, in place, with all below; the terms that went."""
    check_known(root, names, "--exclude-subtree")
    chosen = known_as(names)
    taken: list[Taken] = []
    for path, branch in below(root):
        for gone in [each for each in branch.branches if chosen(each)]:
            branch.children.remove(gone)
            taken += [((*path, gone.name, *deeper), term.text) for deeper, inner in gone.walk() for term in inner.terms]
    return taken


def expression(pattern: str) -> re.Pattern[str]:
    """The regular expression of `exclude_terms`. Raises `UsageError` for what is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--exclude-regex {pattern!r} is no regular expression: {error}") from error


def exclude_terms(root: Branch, pattern: str) -> list[Taken]:
    """Take terms away, in place, in which the regular expression is found; what went. Raises `UsageError` for none.

    Branches of which nothing is left go as well.
    """
    found = expression(pattern).search
    return _take(root, lambda branch: [term for term in branch.terms if found(term.text)])


def limit_terms(root: Branch, most: int) -> list[Taken]:
    """Leave the first `most` terms of the tree, in its order, in place; what went. 0 leaves none.

    Branches of which nothing is left go as well.
    """
    left = most

    def beyond(branch: Branch) -> list[Term]:
        nonlocal left
        gone = branch.terms[max(left, 0) :]
        left -= len(branch.terms)
        return gone

    return _take(root, beyond)


def _take(root: Branch, chosen: Callable[[Branch], list[Term]]) -> list[Taken]:
    """Take the chosen terms of each branch away, and the branches that are emptied by it; the terms that went."""
    taken: list[Taken] = []
    branches = list(below(root))
    had = {id(branch) for _, branch in branches if branch.children}
    for path, branch in branches:
        gone = chosen(branch)
        taken += [(path, term.text) for term in gone]
        kept = {id(term) for term in branch.terms} - {id(term) for term in gone}
        branch.children[:] = [child for child in branch.children if isinstance(child, Branch) or id(child) in kept]
    for _, branch in reversed(branches):  # the deepest first
        branch.children[:] = [
            child for child in branch.children if isinstance(child, Term) or child.children or id(child) not in had
        ]
    return taken


def flatten(root: Branch) -> None:
    """Make one list of all terms, in place; a branch that its file knows by an identifier is a term as well.

    Comments of the branches that go stand above what followed them.
    """
    root.children[:] = list(_flat(root))


def _flat(root: Branch) -> Iterator[Term]:
    waiting: list[Branch | Term | list[str]] = list(reversed(root.children))
    comments: list[str] = []
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            comments += node
            continue
        if isinstance(node, Branch):
            is_new = id(node) not in seen
            seen.add(id(node))
            waiting += [_lines(node.below) if is_new else [], *reversed(node.children)]
            if not node.id:
                comments += _lines([*node.above, node.comment]) if is_new else []
                continue
            node = Term(node.name, node.comment, list(node.above), node.id)
        if comments:
            node.above, comments = [*comments, *node.above], []
        yield node
    root.below += comments


def _lines(comments: Iterable[str]) -> list[str]:
    """Lines of comment of a branch that goes: those that users wrote."""
    return [line for line in comments if line and not _SIZE.fullmatch(line)]


def size_comment(terms: int, cohesion: float) -> str:
    """The comment of a new group, where nothing else is asked for."""
    return f"{terms} terms, cohesion {cohesion:.2f}"


def cut_depth(root: Branch, depth: int) -> None:
    """Have no branch further than `depth` levels below the root, in place: deeper terms join the list above them."""
    level = [root]
    for _ in range(depth):
        level = [below for branch in level for below in branch.branches]
    for branch in level:
        flatten(branch)


def skip(root: Branch, names: Collection[str]) -> None:
    """Leave branches of these names or identifiers out, in place, and promote what is below to where they stood."""
    check_known(root, names, "--skip")
    _dissolve(root, lambda branch, _: known_as(names)(branch))


def dissolve_repeated(root: Branch) -> None:
    """Dissolve branches that have their parent's name, in place."""
    _dissolve(root, lambda branch, parent: bool(parent.name) and plain(branch.name) == plain(parent.name))


def dissolve_wrappers(root: Branch) -> None:
    """Dissolve a branch that is its parent's only child and whose name says nothing, in place; named chains stay."""
    _dissolve(root, lambda branch, parent: len(parent.children) == 1 and plain(branch.name) in _WRAPPERS)


def _dissolve(root: Branch, chosen: Callable[[Branch, Branch], bool]) -> None:
    """Put what is below the chosen branches where they stood, in place, and their comments above their parent."""
    for branch in list(distinct(root)):
        while any(isinstance(child, Branch) and chosen(child, branch) for child in branch.children):
            children: list[Branch | Term] = []
            for child in branch.children:
                if isinstance(child, Branch) and chosen(child, branch):
                    children += child.children
                    (branch.above if branch is not root else root.below).extend(_comments(child))
                else:
                    children.append(child)
            branch.children[:] = children


def _comments(branch: Branch) -> list[str]:
    return _lines([*branch.above, branch.comment, *branch.below])


def settle_own_terms(root: Branch, label: str) -> None:
    """Give a branch's own terms beside sub-branches a branch of their own, in place, where the first of them stood."""
    for branch in list(distinct(root)):
        terms, branches = branch.terms, branch.branches
        if terms and branches:
            own = Branch(free_name(label, (branch.name, *(each.name for each in branches))), list(terms))
            first = branch.children.index(terms[0])
            before = [child for child in branch.children[:first] if isinstance(child, Branch)]
            branch.children[:] = [*before, own, *branches[len(before) :]]


def merge_short(root: Branch, min_leaf: int) -> None:
    """Merge sibling lists of fewer than `min_leaf` terms, in place, into one called ``Other (Keyword)``."""
    for branch in list(distinct(root)):
        short = [each for each in branch.branches if 0 < len(each.terms) < min_leaf and not each.branches]
        if len(short) < 2:
            continue
        terms = [term for each in short for term in each.terms]
        keyword = telling_word([term.text for term in terms]) or short[0].name
        taken = [each.name for each in branch.branches if each not in short]
        merged = Branch(free_name(f"{_OTHER} ({keyword.capitalize()})", taken), list(terms))
        merged.above = [line for each in short for line in _comments(each)]
        first = branch.children.index(short[0])
        branch.children[:] = [
            merged if number == first else child
            for number, child in enumerate(branch.children)
            if number == first or child not in short
        ]


def change_case(root: Branch, case: Literal["title", "lower"]) -> None:
    """Write the names of branches in title or lower case, in place; terms stay as written."""
    for branch in distinct(root):
        branch.name = _title(branch.name) if case == "title" else branch.name.lower()


def _title(name: str) -> str:
    return re.sub(r"[^\W\d_][\w'\u2019]*", lambda word: word.group()[0].upper() + word.group()[1:], name)


def tell_apart(root: Branch) -> None:
    """Tell sibling branches of one name apart, in place: by their synonym, then their identifier, then a number."""
    for branch in list(distinct(root)):
        seen: set[str] = set()
        for child in branch.branches:
            if child.name in seen:
                told = [child.comment.split(",")[0].strip(), child.id]
                names = [f"{child.name} ({each})" for each in told if each]
                child.name = next((name for name in names if name not in seen), free_name(child.name, seen))
            seen.add(child.name)


def all_but(root: Branch, chosen: Branch) -> list[Taken]:
    """The terms of a tree that are not below this branch of it."""
    below_chosen = {id(term) for _, branch in below(chosen) for term in branch.terms}
    return [(path, term.text) for path, branch in below(root) for term in branch.terms if id(term) not in below_chosen]
