"""Two trees compared, and the shape of one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings

from embedmill.taxonomy.analyzing import shape_of
from embedmill.taxonomy.comparing import compare_trees
from embedmill.taxonomy.tree import Branch, Term
from test_grouped_lists import TREES, copied
from test_linting import tree


@settings(max_examples=60)
@given(TREES, TREES)
def test_what_is_kept_lost_and_new_adds_up(one: Branch, other: Branch) -> None:
    found = compare_trees(one, other)
    before, after = one.term_counts(), other.term_counts()
    assert Counter(found.lost) == before - after
    assert Counter(found.new) == after - before
    assert found.kept == (before & after).total()
    assert len(found.moved) <= found.kept
    assert 0 <= found.jaccard <= 1
    back = compare_trees(other, one)
    assert (back.kept, Counter(back.lost), Counter(back.new)) == (found.kept, Counter(found.new), Counter(found.lost))


@settings(max_examples=30)
@given(TREES)
def test_a_tree_is_as_itself(one: Branch) -> None:
    found = compare_trees(one, copied(one))
    assert (found.lost, found.new, found.moved, found.jaccard) == ((), (), (), 1)
    assert found.adjusted_rand in (None, 1) and (found.kept > 0) == (found.adjusted_rand == 1)


def test_moved_terms_say_from_where_to_where() -> None:
    one = tree("a:\n    fox\n    wolf\n    oak\nb:\n    elm\n    fox")
    other = tree("a:\n    fox\n    wolf\nb:\n    elm\n    oak\n    fir\n    fox")
    found = compare_trees(one, other)
    assert (found.kept, found.lost, found.new) == (5, (), ("fir",))
    assert found.moved == (("oak", ("a",), ("b",)),)
    assert found.jaccard == pytest.approx(5 / 6)
    assert 0 < (found.adjusted_rand or 0) < 1
    assert found.to_dict()["kept"] == 5


def test_the_shape_of_a_tree() -> None:
    lists = [Branch(f"list {size}", [Term(f"term {number}") for number in range(size)]) for size in range(1, 11)]
    root = Branch("", [Branch("all", [Branch("below", list(lists)), Term("own")])])
    found = shape_of(root)
    assert (found.terms, found.distinct, found.branches, found.depth) == (56, 11, 12, 3)
    assert (found.lists, found.shortest, found.longest, found.median, found.mixed) == (11, 1, 10, 5, 1)
    assert (found.max_leaf, found.min_leaf) == (9, 1)
    nothing = shape_of(Branch(""))
    assert (nothing.terms, nothing.depth, nothing.lists, nothing.max_leaf, nothing.min_leaf) == (0, 0, 0, 2, 1)
