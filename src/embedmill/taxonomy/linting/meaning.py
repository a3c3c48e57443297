"""What vectors tell of a tree: terms that mean nearly the same, and terms far from their siblings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from embedmill.taxonomy.grouping.ward import Floats
from embedmill.taxonomy.linting.findings import LintFinding
from embedmill.taxonomy.linting.written import folded
from embedmill.taxonomy.tree import Branch, Path, Term, below, embedded_text, lists, name_of, shown

NEAR: Final = 0.95
"""The cosine from which on two terms of a list mean nearly the same."""

_FEWEST: Final = 3  # children of a list that has outliers
_NEAREST: Final = 3  # siblings that count as a term's company
_NAME, _ELSEWHERE = 0.9, 0.75  # weights of the parent's name and of the best other list; of the siblings' it is 1

# What 5 % of the terms of a sound tree lie below, by whether the list's parent has a name and whether there are other
# lists: the Tencent hierarchy, with 200 of its terms moved into wrong branches (benchmarks/README.md).
_BOUNDS: Final[Mapping[tuple[bool, bool], float]] = {
    (True, True): -0.074,
    (False, True): -0.147,
    (True, False): 0.262,
    (False, False): 0.204,
}

_PAIRS: Final = 20_000  # whose mean cosine is that of terms which have nothing to do with each other


@dataclass(frozen=True, slots=True)
class _List:
    path: Path
    branch: Branch
    rows: Sequence[int]  # of its children
    name: int | None  # row of its own name


def texts_of(root: Branch) -> list[str]:
    """What has to be embedded for `meaning_findings`, each distinct text once."""
    texts: dict[str, None] = {}
    for _, branch in below(root):
        for child in (branch, *branch.children):
            texts[embedded_text(child)] = None
    return [text for text in texts if text.strip()]


def meaning_findings(root: Branch, vectors: Mapping[str, Floats]) -> list[LintFinding]:
    """Near-doubles and outliers, in the tree's order; `vectors` has one of unit length for each of `texts_of`."""
    rows = {text: row for row, text in enumerate(vectors)}
    if not rows:
        return []
    matrix = np.stack([*vectors.values()]).astype(np.float32)
    found = [
        _List(
            path,
            branch,
            [rows[text] for text in map(embedded_text, branch.children) if text in rows],
            rows.get(embedded_text(branch)),
        )
        for path, branch in lists(root)
    ]
    whole = [each for each in found if len(each.rows) == len(each.branch.children)]
    return [*_near_doubles(whole, matrix), *_outliers(whole, matrix)]


def _near_doubles(compared: Sequence[_List], matrix: Floats) -> Iterator[LintFinding]:
    for each in compared:
        terms = [
            (row, child) for row, child in zip(each.rows, each.branch.children, strict=True) if isinstance(child, Term)
        ]
        held = matrix[[row for row, _ in terms]]
        for first in range(len(terms)):
            cosines = held[first + 1 :] @ held[first]
            for later in np.flatnonzero(cosines >= NEAR).tolist():
                one, other = terms[first][1].text, terms[first + 1 + later][1].text
                if folded(one) != folded(other):  # else they are told as one term in other spellings
                    message = f"{one!r} and {other!r} in {shown(each.path)} mean nearly the same"
                    score = round(float(cosines[later]), 4)
                    yield LintFinding("near-double", (one, other), (each.path,) * 2, message, score=score)


def _outliers(compared: Sequence[_List], matrix: Floats) -> Iterator[LintFinding]:
    long = [each for each in compared if len(each.rows) >= _FEWEST]
    if not long:
        return
    centres = np.stack([_unit(matrix[each.rows].mean(axis=0)) for each in long])
    floor = _unrelated(matrix)
    for number, each in enumerate(long):
        scores, nearer = _scores(each, number, matrix, centres, floor)
        bound = _BOUNDS[each.name is not None, len(long) > 1]
        for place in np.flatnonzero(scores < bound).tolist():
            child = each.branch.children[place]
            name = name_of(child)
            if not isinstance(child, Term):
                continue
            better_path = long[nearer[place]].path if place in nearer else None
            hint = f": it would be nearer to those in {shown(better_path)}" if better_path is not None else ""
            message = f"{name!r} in {shown(each.path)} is far from its siblings{hint}"
            score = round(bound - float(scores[place]), 4)
            yield LintFinding("outlier", (name,), (each.path,), message, score=score, better=better_path)


def _scores(
    each: _List, number: int, matrix: Floats, centres: Floats, floor: float
) -> tuple[Floats, Mapping[int, int]]:
    """How well each child fits, ``(children,)``; and which list elsewhere each is nearer to than to its siblings."""
    held = matrix[each.rows]
    many = len(held)
    cosines = held @ held.T
    np.fill_diagonal(cosines, -2)
    company = -np.sort(-cosines, axis=1)[:, : min(_NEAREST, many - 1)].mean(axis=1)
    others = (held.sum(axis=0) - held) / (many - 1)
    others /= np.maximum(np.linalg.norm(others, axis=1, keepdims=True), 1e-12)
    siblings = np.einsum("ij,ij->i", held, others)
    elsewhere = held @ centres.T
    elsewhere[:, number] = -2
    best, reached = elsewhere.argmax(axis=1), elsewhere.max(axis=1)
    nearer = {place: int(best[place]) for place in np.flatnonzero(reached > siblings).tolist()}

    def above(cosine: Floats) -> Floats:
        return (cosine - floor) / (1 - floor)

    scores = above(company) + above(siblings)
    if each.name is not None:
        scores += _NAME * above(held @ matrix[each.name])
    if len(centres) > 1:
        scores -= _ELSEWHERE * above(reached)
    return scores, nearer


def _unrelated(matrix: Floats) -> float:
    """The mean cosine of pairs at random: what "nothing in common" is to this model."""
    if len(matrix) < 2:
        return 0.0
    drawn = np.random.default_rng(0).integers(len(matrix), size=(2, _PAIRS))
    drawn = drawn[:, drawn[0] != drawn[1]]
    return min(float(np.einsum("ij,ij->i", matrix[drawn[0]], matrix[drawn[1]]).mean()), 0.9)


def _unit(vector: Floats) -> Floats:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
