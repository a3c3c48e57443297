"""Trees of terms: whether known groups are found again, and terms that were moved; and how long it all takes.

The file is the hierarchy of Tencent ML-Images (`dictionary_and_semantic_hierarchy.txt`, annotations CC BY 4.0), which
is not part of this project. Each part is measured by itself (``--only``), its contenders in turns. To be run while the
machine is idle.
"""

from __future__ import annotations

import copy
import math
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import Bar, Run, median, options, tell
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_mutual_info_score

from embedmill import Term, Tree, load_embedder
from embedmill.taxonomy.formats.registry import read_tree
from embedmill.taxonomy.grouping.division import divide
from embedmill.taxonomy.grouping.lists import Grouping, group_lists
from embedmill.taxonomy.grouping.ward import ward
from embedmill.taxonomy.linting.lint import lint_tree
from embedmill.taxonomy.shaping import flatten
from embedmill.taxonomy.tree import embedded_text

Floats = NDArray[np.float32]

_BRANCHES = 50  # that are flattened
_TERMS = (40, 1000)  # of such a branch, at least and at most
_PLANTED = 200  # terms that are moved
_FALSE_ALARMS = 0.05
_LARGE = 100_000


def main() -> None:
    parser = options(__doc__ or "", rounds=3)
    parser.add_argument("file", type=Path, metavar="FILE", help="the hierarchy")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="leave the other parts out")
    arguments = parser.parse_args()
    Run("taxonomies", arguments).finish_parts(PARTS, arguments)


def _vectors(tree: Tree, arguments: Namespace) -> Callable[[Sequence[str]], Floats]:
    """Gives vectors of the tree's texts, which are embedded now."""
    texts = {embedded_text(node): None for _, branch in tree.walk() for node in (branch, *branch.children)}
    listed = [text for text in texts if text.strip()]
    with load_embedder(arguments.model) as embedder:
        found = dict(zip(listed, embedder.embed(listed), strict=True))
    return lambda some: np.stack([found[text] for text in some])


def _known(tree: Tree) -> Iterator[tuple[list[Term], list[int]]]:
    """Branches with three sub-branches of terms and more, flattened: their terms, and the sub-branch of each."""
    for _, branch in tree.walk():
        inner = branch.branches
        if len(inner) >= 3:
            terms = [
                (term, number) for number, each in enumerate(inner) for _, below in each.walk() for term in below.terms
            ]
            if _TERMS[0] <= len(terms) <= _TERMS[1]:
                yield [term for term, _ in terms], [number for _, number in terms]


def _recovery(arguments: Namespace, bars: list[Bar], rows: list[tuple[str, str]]) -> object:
    tree = read_tree(arguments.file)
    embed = _vectors(tree, arguments)
    cases = list(_known(tree))
    chosen = np.random.default_rng(0).choice(len(cases), min(_BRANCHES, len(cases)), replace=False)
    scores: dict[str, list[float]] = {}
    named: list[float] = []
    for number in sorted(chosen):
        terms, truth = cases[number]
        vectors = np.ascontiguousarray(embed([embedded_text(term) for term in terms]))
        for name, labels in _contenders(vectors, len(set(truth))).items():
            scores.setdefault(name, []).append(float(adjusted_mutual_info_score(truth, labels)))
        root = Tree("", list(terms))
        group_lists(root, embed, lambda _: Grouping())
        named.append(sum(len(_below(branch)) for branch in root.branches if branch.name != "other") / len(terms))
    means = {name: float(np.mean(found)) for name, found in scores.items()}
    rows += [(f"adjusted mutual information, {name}", f"{value:.3f}") for name, value in means.items()]
    best = max(value for name, value in means.items() if name != "arrange")
    bars.append(
        Bar(
            "arrange, mean adjusted mutual information over 50 branches",
            0.235,
            means["arrange"],
            at_least=True,
            digits=3,
        )
    )
    bars.append(Bar("arrange against the best of the others", 0, means["arrange"] - best, at_least=True, digits=3))
    bars.append(
        Bar(
            "terms of a long list in named groups, mean",
            80,
            100 * float(np.mean(named)),
            at_least=True,
            unit=" %",
            digits=1,
        )
    )
    return {
        "means": means,
        "branches": len(chosen),
        "terms": [len(cases[number][0]) for number in chosen],
        "named": named,
    }


def _below(branch: Tree) -> list[Term]:
    return [term for _, each in branch.walk() for term in each.terms]


def _contenders(vectors: Floats, groups: int) -> dict[str, Any]:
    """Labels of each method; what fits nowhere is a group of its own."""
    count = len(vectors)
    grouping = Grouping()
    division = divide(vectors, max_leaf=grouping.max_leaf, min_group=grouping.min_group, threshold=grouping.threshold)
    ours = np.full(count, -1)
    for label, group in enumerate(division.groups):
        ours[group.rows] = label
    few = PCA(min(5, count)).fit_transform(vectors)
    return {
        "arrange": ours,
        "a Ward tree cut at the square root of half the terms": ward(vectors).cut(max(2, round(math.sqrt(count / 2)))),
        "k-means with the true number": KMeans(groups, n_init=4, random_state=0).fit_predict(vectors),
        "HDBSCAN": HDBSCAN(min_cluster_size=3, copy=True).fit_predict(vectors),
        "HDBSCAN on five principal components": HDBSCAN(min_cluster_size=3, copy=True).fit_predict(few),
    }


def _outliers(arguments: Namespace, bars: list[Bar], rows: list[tuple[str, str]]) -> object:
    """Terms moved into wrong branches, and which of them lint finds, at the bound that it has."""
    sound = read_tree(arguments.file)
    embed = _vectors(sound, arguments)
    found: list[tuple[float, float]] = []
    for seed in range(arguments.rounds):
        tree = copy.deepcopy(sound)
        drawn = np.random.default_rng(seed)
        lists = [branch for _, branch in tree.walk() if len(branch.children) >= 4]
        planted: set[int] = set()
        while len(planted) < _PLANTED:
            one, other = (lists[row] for row in drawn.choice(len(lists), 2, replace=False))
            if len(one.children) > 3 and one.terms:
                term = one.terms[int(drawn.integers(len(one.terms)))]
                if id(term) not in planted:
                    one.children.remove(term)
                    other.children.append(term)
                    planted.add(id(term))
        outliers = {
            (each.paths[0], each.terms[0]) for each in lint_tree(tree, embed, max_leaf=40) if each.kind == "outlier"
        }
        counts = Counter(
            (id(term) in planted, (path, term.text) in outliers)
            for path, branch in tree.walk()
            if len(branch.children) >= 3
            for term in branch.terms
        )
        found.append(
            (counts[True, True] / _PLANTED, counts[False, True] / (counts[False, True] + counts[False, False]))
        )
        tell(f"round {seed + 1}: {found[-1][0]:.1%} found, {found[-1][1]:.1%} false alarms")
    hits, alarms = (median([pair[place] for pair in found]) for place in (0, 1))
    bars.append(
        Bar(f"of {_PLANTED} terms in wrong branches, found", 70, 100 * hits, at_least=True, unit=" %", digits=1)
    )
    bars.append(Bar("false alarms of lint", 100 * _FALSE_ALARMS, 100 * alarms, unit=" %", digits=1))
    return {"found": found}


def _speed(arguments: Namespace, bars: list[Bar], rows: list[tuple[str, str]]) -> object:
    """All names as one list: what of the time is the model's, and what two threads gain in grouping."""
    tree = read_tree(arguments.file)
    flatten(tree)
    texts = list(dict.fromkeys(embedded_text(term) for term in tree.terms))
    seconds: dict[str, list[float]] = {"embedding": [], "grouping, 1 thread": [], "grouping, 2 threads": []}
    with load_embedder(arguments.model) as embedder:
        embedder.embed(texts[:300])
        for number in range(arguments.rounds):
            begun = time.perf_counter()
            vectors = embedder.embed(texts)
            seconds["embedding"].append(time.perf_counter() - begun)
            known = dict(zip(texts, vectors, strict=True))
            for threads in (1, 2):
                root = Tree("", list(tree.children))
                begun = time.perf_counter()
                group_lists(
                    root,
                    lambda some, known=known: np.stack([known[text] for text in some]),
                    lambda _: Grouping(),
                    workers=threads,
                )  # type: ignore[misc]
                seconds[f"grouping, {threads} thread{'s' * (threads > 1)}"].append(time.perf_counter() - begun)
            tell(f"round {number + 1}: " + ", ".join(f"{name} {taken[-1]:.2f} s" for name, taken in seconds.items()))
    middle = {name: median(taken) for name, taken in seconds.items()}
    share = middle["embedding"] / (middle["embedding"] + middle["grouping, 2 threads"])
    bars.append(
        Bar(f"share of the model in arranging {len(tree.terms):,} names as one list", 0.6, share, at_least=True)
    )
    gain = middle["grouping, 1 thread"] / middle["grouping, 2 threads"]
    bars.append(Bar("grouping them with 2 threads against 1", 1.5, gain, at_least=True))
    rows += [(name, f"{value:.2f} s") for name, value in middle.items()]
    return {"seconds": seconds}


def _large(arguments: Namespace, bars: list[Bar], rows: list[tuple[str, str]]) -> object:
    """One flat list of 100,000 terms whose vectors are known: those of names, several times each, off a little."""
    import resource

    tree = read_tree(arguments.file)
    flatten(tree)
    texts = list(dict.fromkeys(embedded_text(term) for term in tree.terms))
    with load_embedder(arguments.model) as embedder:
        vectors = embedder.embed(texts)
    drawn = np.random.default_rng(0)
    rows_of = drawn.integers(len(texts), size=_LARGE)
    noise = drawn.normal(size=(_LARGE, vectors.shape[1])).astype(np.float32) * 0.02
    many = vectors[rows_of] + noise
    many /= np.linalg.norm(many, axis=1, keepdims=True)
    root = Tree("", [Term(f"{texts[row]} {number}") for number, row in enumerate(rows_of)])
    begun = time.perf_counter()
    group_lists(root, lambda _: many, lambda _: Grouping(), workers=arguments.threads)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bars.append(Bar(f"grouping one list of {_LARGE:,} terms, vectors known", 60, seconds, unit=" s", digits=1))
    bars.append(Bar("peak memory of that process", 2000, peak, unit=" MB", digits=0))
    return {"seconds": seconds, "peak MB": peak, "branches": sum(1 for _ in root.walk())}


PARTS = {"recovery": _recovery, "outliers": _outliers, "speed": _speed, "large": _large}

if __name__ == "__main__":
    main()
