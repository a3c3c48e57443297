"""What can be seen of a tree as it is written, without vectors."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from embedmill.taxonomy.grouping.naming import plain, singular
from embedmill.taxonomy.linting.findings import LintFinding
from embedmill.taxonomy.tree import Branch, Path, Term, below, lists, name_of, shown

_BETWEEN_WORDS: Final = re.compile(r"[\s\-\u2010-\u2015_.'\u2019]+")

_ALIKE: Final = 0.5  # of the neighbours of two places that are the same: the places are then one, doubled


def written_findings(root: Branch, *, max_leaf: int) -> list[LintFinding]:
    """Doubles, senses, spelling variants, repeated names, lists too long and empty branches, in the tree's order."""
    return [*_repeated(root), *_variants(root), *_shapes(root, max_leaf)]


def _repeated(root: Branch) -> Iterator[LintFinding]:
    """Names, of terms and branches, that stand in two places."""
    places: dict[str, list[tuple[Path, Branch]]] = defaultdict(list)
    for path, branch in lists(root):
        for child in branch.children:
            if not _is_named_after_its_own(child):
                places[name_of(child)].append((path, branch))
    for name, found in places.items():
        if len(found) > 1:
            yield from _of_places(name, found)


def _is_named_after_its_own(child: Branch | Term) -> bool:
    """Whether this is a branch with the name of one of its terms, as groups have: that is one place, and not two."""
    return isinstance(child, Branch) and any(term.text == child.name for term in child.terms)


def _of_places(name: str, places: Sequence[tuple[Path, Branch]]) -> Iterator[LintFinding]:
    """What is told of a name: that a list has it doubled, and what its lists are to each other."""
    paths = tuple(path for path, _ in places)
    told = " and ".join(dict.fromkeys(map(shown, paths)))
    branches = {id(branch): branch for _, branch in places}.values()
    if len(branches) == 1:
        (branch,) = branches
        message = f"{name!r} stands {len(places)} times in {told}"
        yield LintFinding("double", (name,), paths, message, fixable=bool(doubled(branch, name)))
        return
    for branch in branches:
        if again := doubled(branch, name):
            here = tuple(path for path, each in places if each is branch)
            message = f"{name!r} stands {len(again) + 1} times in {shown(here[0])}"
            yield LintFinding("double", (name,), here, message, fixable=True)
    neighbours = [{name_of(child) for child in branch.children} - {name} for branch in branches]
    if all(_alike(neighbours[0], other) for other in neighbours[1:]):
        yield LintFinding("double", (name,), paths, f"{name!r} stands in {told}, among the same neighbours")
    else:
        yield LintFinding("sense", (name,), paths, f"{name!r} stands in {told}: it may mean two things")


def doubled(branch: Branch, name: str) -> list[Term]:
    """The terms of this name that a branch has once more, synonyms and identifier and all."""
    seen: set[tuple[str, str]] = set()
    again = []
    for term in branch.terms:
        if term.text == name:
            key = term.comment, term.id
            if key in seen:
                again.append(term)
            seen.add(key)
    return again


def _alike(one: set[str], other: set[str]) -> bool:
    return bool(one | other) and len(one & other) >= _ALIKE * len(one | other)


def _variants(root: Branch) -> Iterator[LintFinding]:
    """Terms of one list that are one term in other spellings."""
    for path, branch in lists(root):
        spellings: dict[str, list[Term]] = defaultdict(list)
        for term in branch.terms:
            spellings[folded(term.text)].append(term)
        for terms in spellings.values():
            texts = tuple(dict.fromkeys(term.text for term in terms))
            if len(texts) > 1:
                message = f"{' and '.join(map(repr, texts))} in {shown(path)} are one term in other spellings"
                yield LintFinding("spelling", texts, (path,) * len(texts), message)


def folded(text: str) -> str:
    """A term without case, plural, accents, hyphens, points and spaces."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(sign for sign in apart if not unicodedata.combining(sign))
    return "".join(singular(word) for word in _BETWEEN_WORDS.split(bare)) or text


def _shapes(root: Branch, max_leaf: int) -> Iterator[LintFinding]:
    for path, branch in below(root):
        if not branch.children:
            yield LintFinding(
                "empty", (branch.name,), (path,), f"{shown(path)} has nothing below it", fixable=bool(path)
            )
        if len(branch.terms) > max_leaf:
            message = f"{shown(path)} has {len(branch.terms):,} terms, more than {max_leaf}: arrange groups them"
            yield LintFinding("too-long", (branch.name,), (path,), message)
        for name in (each.name for each in branch.branches):
            if path and plain(name) == plain(branch.name) and plain(name):
                yield LintFinding(
                    "repeats-parent", (name,), (path,), f"{name!r} in {shown(path)} repeats its parent's name"
                )
