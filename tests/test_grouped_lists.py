"""Grouping lists loses no term, gives the same for any number of workers, and changes nothing the second time."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmill import load_embedder
from embedmill.core.vectors import Vectors
from embedmill.taxonomy.grouping.lists import Embed, Grouped, Grouping, group_lists
from embedmill.taxonomy.shaping import settle_own_terms
from embedmill.taxonomy.tree import Branch, Term

EMBEDDER = load_embedder("test:16")
WORDS = ["red", "fox", "oak", "tree", "wolf", "stone", "no", "2012-01-01", "狐", "river"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
TERMS = st.builds(Term, TEXTS, st.sampled_from(["", "a synonym", "a gloss"]))


def embed(texts: Sequence[str]) -> Vectors:
    assert len(set(texts)) == len(texts)  # each distinct one once
    return EMBEDDER.embed(texts)


def branches(below: st.SearchStrategy[Branch | Term]) -> st.SearchStrategy[Branch]:
    return st.builds(Branch, st.sampled_from(["animals", "plants", "other", "fox"]), st.lists(below, max_size=40))


TREES = st.builds(
    Branch, st.sampled_from(["", "all"]), st.lists(st.recursive(TERMS, branches, max_leaves=80), max_size=80)
)
GROUPINGS = st.builds(Grouping, max_leaf=st.integers(2, 20), min_group=st.integers(1, 5), threshold=st.floats(-1, 1))


def grouped(root: Branch, embed: Embed, grouping: Grouping, *, workers: int = 1) -> list[Grouped]:
    settle_own_terms(root, grouping.own_label)
    return group_lists(root, embed, lambda _: grouping, workers=workers)


def told(groups: list[Grouped]) -> list[object]:
    return [(group.branch.name, group.terms, group.cohesion, group.medoid, group.name_from) for group in groups]


def shape(branch: Branch) -> object:
    return (
        branch.name,
        branch.above,
        [shape(child) if isinstance(child, Branch) else child.text for child in branch.children],
    )


def copied(branch: Branch) -> Branch:
    children = [copied(child) if isinstance(child, Branch) else child for child in branch.children]
    return Branch(branch.name, children)


@settings(max_examples=60)
@given(TREES, GROUPINGS)
def test_no_term_is_lost_doubled_or_changed(tree: Branch, grouping: Grouping) -> None:
    before = tree.term_counts()
    terms = {id(term) for _, branch in tree.walk() for term in branch.terms}
    names = [branch.name for _, branch in tree.walk()]
    grouped(tree, embed, grouping)
    assert tree.term_counts() == before
    assert {id(term) for _, branch in tree.walk() for term in branch.terms} == terms
    after = [branch.name for _, branch in tree.walk()]
    for name in names:
        after.remove(name)  # each branch that was there is still there
    for _, branch in tree.walk():
        assert not (branch.terms and branch.branches)


@settings(max_examples=40)
@given(TREES, GROUPINGS)
def test_any_number_of_workers_gives_the_same_and_a_second_time_changes_nothing(
    tree: Branch, grouping: Grouping
) -> None:
    once, side_by_side = copied(tree), copied(tree)
    reports = grouped(once, embed, grouping)
    assert told(grouped(side_by_side, embed, grouping, workers=8)) == told(reports)
    assert shape(once) == shape(side_by_side)
    before = shape(once)
    assert grouped(once, embed, grouping) == []
    assert shape(once) == before


def test_a_branch_in_two_places_is_arranged_once() -> None:
    shared = Branch("shared", [Term(f"{word} {number}") for number in range(10) for word in WORDS])
    tree = Branch("", [Branch("one", [shared]), Branch("two", [shared])])
    before = tree.term_counts()
    reports = grouped(tree, embed, Grouping(max_leaf=20, threshold=-1))
    assert reports and tree.term_counts() == before
    assert tree.branches[0].branches[0] is tree.branches[1].branches[0] is shared
    assert len({id(report.branch) for report in reports}) == len(reports)


def test_lists_that_are_short_need_no_model() -> None:
    def never(texts: Sequence[str]) -> Vectors:
        raise AssertionError("nothing is to be embedded")

    tree = Branch("", [Branch("short", [Term("fox"), Term("oak")])])
    assert grouped(tree, never, Grouping()) == []


def test_all_lists_are_embedded_by_one_call_and_from_one_thread() -> None:
    calls: list[tuple[int, int]] = []

    def counted(texts: Sequence[str]) -> Vectors:
        calls.append((len(texts), threading.get_ident()))
        return EMBEDDER.embed(texts)

    lists = [Branch(f"list {each}", [Term(f"{word} {each} {n}") for n in range(6) for word in WORDS]) for each in "abc"]
    grouped(Branch("", list(lists)), counted, Grouping(), workers=3)
    assert calls == [(180, threading.get_ident())]


def test_own_terms_beside_branches_have_a_branch_of_their_own() -> None:
    inner = Branch("inner", [Term("fox")])
    tree = Branch("all", [Term("oak"), inner, Term("wolf"), Branch("other", [Term("stone")])])
    grouped(tree, embed, Grouping())
    assert shape(tree) == (
        "all",
        [],
        [("other 2", [], ["oak", "wolf"]), ("inner", [], ["fox"]), ("other", [], ["stone"])],
    )


def test_what_fits_nowhere_is_together() -> None:
    like = [Term(f"red fox {number % 7}") for number in range(30)]
    odd = [Term(f"{word}{number}") for number, word in enumerate(["aq", "zk", "mv", "xw", "jj", "pf"])]
    tree = Branch("", [*like, *odd])

    def vectors(texts: Sequence[str]) -> Vectors:
        rows = np.zeros((len(texts), 16), np.float32)
        for row, text in enumerate(texts):
            rows[row, 0 if "fox" in text else 1 + row % 15] = 1
        return rows

    grouped(tree, vectors, Grouping(max_leaf=20, min_group=3))
    others = next(branch for branch in tree.branches if branch.name == "other")
    assert {term.text for term in others.terms} <= {term.text for term in odd}
