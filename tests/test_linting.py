"""What lint finds, and what it mends: nothing else is taken, and what is taken is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings

from embedmill import load_embedder
from embedmill.core.vectors import Vectors
from embedmill.taxonomy.linting.findings import LintFinding
from embedmill.taxonomy.linting.lint import drop_outliers, fix_tree, lint_tree
from embedmill.taxonomy.tree import Branch, Term
from test_grouped_lists import TREES

EMBEDDER = load_embedder("test:16")


def tree(text: str) -> Branch:
    """A tree from lines: a name that ends with a colon is a branch, four spaces are a level."""
    root = Branch("")
    open_branches = [root]
    for line in text.strip("\n").splitlines():
        depth = (len(line) - len(line.lstrip())) // 4
        name, _, comment = line.strip().partition(" # ")
        below = open_branches[depth]
        if name.endswith(":"):
            branch = Branch(name[:-1])
            below.children.append(branch)
            open_branches[depth + 1 :] = [branch]
        else:
            below.children.append(Term(name, comment))
    return root


def found(root: Branch, kind: str, max_leaf: int = 40) -> list[LintFinding]:
    return [finding for finding in lint_tree(root, None, max_leaf=max_leaf) if finding.kind == kind]


def test_a_word_in_two_places_is_reported_once_with_both() -> None:
    cranes = "machines:\n    crane\n    lift\n    crane:\n        tower crane"
    root = tree(f"birds:\n    crane\n    heron\n{cranes}\nbirds again:\n    crane\n    heron")
    (one,) = [finding for finding in lint_tree(root, None, max_leaf=40) if finding.terms == ("crane",)]
    assert one.kind == "sense" and not one.fixable
    assert one.paths == (("birds",), ("machines",), ("machines",), ("birds again",))
    (heron,) = found(root, "double")
    assert heron.terms == ("heron",) and heron.paths == (("birds",), ("birds again",)) and not heron.fixable


def test_a_branch_with_the_name_of_one_of_its_terms_is_no_second_place() -> None:
    assert not lint_tree(tree("fox:\n    fox\n    red fox\noak:\n    oak\n    elm"), None, max_leaf=40)
    (one,) = lint_tree(tree("fox:\n    fox\n    red fox\nbeasts:\n    fox\n    elk"), None, max_leaf=40)
    assert one.kind == "sense" and one.paths == (("fox",), ("beasts",))


def test_a_list_that_stands_under_two_names_is_looked_at_once() -> None:
    """As an alias of YAML has it: what is in it is doubled on purpose, and no better place for itself."""
    root = tree("dogs:\n    poodle\n    beagle\n    Beagle\n    zinc\nplants:\n    oak\n    elm\n    fir")
    root.children.append(Branch("pets", root.branches[0].children))
    findings = lint_tree(root, EMBEDDER.embed, max_leaf=40)
    assert [one.kind for one in findings if one.kind != "outlier"] == ["spelling"]
    assert ("pets",) not in [path for one in findings for path in (*one.paths, one.better)]


def test_doubles_in_one_list_are_fixable_and_senses_stay() -> None:
    root = tree(
        "a:\n    bank # of a river\n    bank # of money\n    bank # of money\n    tree\nb:\n    bank\n    money"
    )
    assert fix_tree(root) == [(("a",), "bank")]
    assert root.term_counts() == Counter({"bank": 3, "tree": 1, "money": 1})
    assert fix_tree(root) == []


def test_a_double_is_told_beside_its_sense() -> None:
    root = tree("a:\n    bank\n    bank\n    tree\nb:\n    bank\n    money")
    double, sense = (each for each in lint_tree(root, None, max_leaf=40) if each.terms == ("bank",))
    assert (double.kind, double.fixable, set(double.paths)) == ("double", True, {("a",)})
    assert (sense.kind, sense.fixable, set(sense.paths)) == ("sense", False, {("a",), ("b",)})


def test_a_branch_with_nothing_below_goes_and_so_does_what_it_was_alone_in() -> None:
    root = tree("a:\n    b:\n        c:\nd:\n    term")
    assert [(finding.terms, finding.fixable) for finding in found(root, "empty")] == [(("c",), True)]
    assert fix_tree(root) == [(("a", "b"), "c"), (("a",), "b"), ((), "a")]
    assert [branch.name for branch in root.branches] == ["d"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("red fox", "Red Foxes"), ("x-ray", "X ray"), ("café", "cafe"), ("e\u0301cole", "école"), ("box", "boxes")],
)
def test_spelling_variants(one: str, other: str) -> None:
    (finding,) = found(Branch("", [Term(one), Term("elsewhere"), Term(other)]), "spelling")
    assert finding.terms == (one, other)


@pytest.mark.parametrize(("one", "other"), [("glas", "glass"), ("?", "!"), ("C", "C++"), ("12", "13")])
def test_no_spelling_variants(one: str, other: str) -> None:
    assert not found(Branch("", [Term(one), Term(other)]), "spelling")


def test_names_that_repeat_their_parents_and_lists_that_are_too_long() -> None:
    root = tree("Foxes:\n    fox\n    red fox\n    Fox:\n        kit fox")
    assert [finding.terms for finding in found(root, "repeats-parent")] == [("Fox",)]
    long = Branch("", [Branch("list", [Term(str(number)) for number in range(6)])])
    (finding,) = found(long, "too-long", max_leaf=5)
    assert finding.paths == (("list",),) and "6 terms" in finding.message
    assert not found(long, "too-long", max_leaf=6)


def vectors(texts: Sequence[str]) -> Vectors:
    """Foxes, trees and stones each have their own direction, and every text a little of its own."""
    rows = np.random.default_rng(1).normal(size=(len(texts), 24)).astype(np.float32) * 0.08
    for row, text in enumerate(texts):
        for number, word in enumerate(["fox", "tree", "stone"]):
            rows[row, number] += word in text
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_an_outlier_is_found_with_its_better_place_and_dropped_when_asked() -> None:
    root = tree(
        "foxes:\n    red fox\n    arctic fox\n    oak tree\n    kit fox\n"
        "trees:\n    pine tree\n    elm tree\n    fir tree\nstones:\n    gem stone\n    key stone\n    flint stone"
    )
    outliers = [finding for finding in lint_tree(root, vectors, max_leaf=40) if finding.kind == "outlier"]
    assert [(finding.terms, finding.paths, finding.better) for finding in outliers] == [
        (("oak tree",), (("foxes",),), ("trees",))
    ]
    before = root.term_counts()
    assert drop_outliers(root, outliers) == [(("foxes",), "oak tree")]
    assert before - root.term_counts() == Counter(["oak tree"])


def test_near_doubles_are_of_one_list() -> None:
    root = tree("a:\n    sofa\n    couch\n    lamp\nb:\n    sofas\n    rug")

    def same(texts: Sequence[str]) -> Vectors:
        rows = np.eye(len(texts), 12, dtype=np.float32)
        rows[[row for row, text in enumerate(texts) if text in ("sofa", "couch", "sofas")]] = np.eye(1, 12, 11)
        return rows

    (finding,) = [finding for finding in lint_tree(root, same, max_leaf=40) if finding.kind == "near-double"]
    assert finding.terms == ("sofa", "couch") and finding.score == pytest.approx(1)


def test_other_spellings_of_a_term_are_no_near_doubles_of_it() -> None:
    root = tree("a:\n    caf\u00e9\n    cafe\n    couch\n    lamp")
    found = lint_tree(root, lambda texts: np.ones((len(texts), 1), np.float32), max_leaf=40)
    told = {finding.terms for finding in found if finding.kind == "near-double"}
    assert ("caf\u00e9", "cafe") not in told and ("cafe", "couch") in told
    assert [finding.terms for finding in found if finding.kind == "spelling"] == [("caf\u00e9", "cafe")]


@settings(max_examples=60)
@given(TREES)
def test_what_is_taken_is_told_and_nothing_else_goes(root: Branch) -> None:
    before = root.term_counts()
    distinct = set(before)
    findings = lint_tree(root, EMBEDDER.embed, max_leaf=5)
    assert root.term_counts() == before
    taken = fix_tree(root)
    gone = before - root.term_counts()
    assert not root.term_counts() - before
    assert set(root.term_counts()) == distinct  # of a double one is left
    assert gone <= Counter(name for _, name in taken)
    assert bool(taken) == any(finding.fixable for finding in findings)
    assert not any(finding.fixable for finding in lint_tree(root, None, max_leaf=5))
    dropped = drop_outliers(root, findings)
    assert before - gone - root.term_counts() == Counter(name for _, name in dropped)
