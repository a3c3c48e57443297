"""Shaping takes no term but those it says, and does what each of its names promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmill.core.errors import UsageError
from embedmill.taxonomy import shaping
from embedmill.taxonomy.tree import Branch, Term
from test_grouped_lists import TREES
from test_linting import tree


def shape(branch: Branch) -> object:
    return {branch.name: [shape(child) if isinstance(child, Branch) else child.text for child in branch.children]}


KEEPING: dict[str, Callable[[Branch], object]] = {
    "flatten": shaping.flatten,
    "depth": lambda root: shaping.cut_depth(root, 1),
    "repeated": shaping.dissolve_repeated,
    "wrappers": shaping.dissolve_wrappers,
    "short": lambda root: shaping.merge_short(root, 4),
    "title": lambda root: shaping.change_case(root, "title"),
    "lower": lambda root: shaping.change_case(root, "lower"),
    "apart": shaping.tell_apart,
}


@settings(max_examples=60)
@given(TREES)
def test_terms_are_kept_as_they_are(root: Branch) -> None:
    before = root.term_counts()
    for name, shape_tree in KEEPING.items():
        shaped = deepcopy(root)  # to make a tree takes longer than to shape it eight times
        shape_tree(shaped)
        assert shaped.term_counts() == before, name


@settings(max_examples=60)
@given(TREES, st.sampled_from(["fox", "^red", "狐", "."]), st.integers(0, 30))
def test_what_is_taken_is_told(root: Branch, pattern: str, most: int) -> None:
    before = root.term_counts()
    taken = shaping.exclude_terms(root, pattern)
    assert Counter(name for _, name in taken) == before - root.term_counts()
    left = root.term_counts()
    rest = shaping.limit_terms(root, most)
    assert Counter(name for _, name in rest) == left - root.term_counts()
    assert root.term_counts().total() == min(most, left.total())


TREE = """
animals:
    items:
        fox
        wolf
    Animals:
        dog
plants:
    oak:
        red oak
    elm:
        wych elm
    firs:
        fir
        silver fir
        grand fir
"""


def test_a_subtree_goes_with_all_below() -> None:
    root = tree(TREE)
    taken = shaping.exclude_subtrees(root, ["Plant"])  # number and case make no difference
    assert [name for _, name in taken] == ["red oak", "wych elm", "fir", "silver fir", "grand fir"]
    assert taken[0][0] == ("plants", "oak")
    assert [branch.name for branch in root.branches] == ["animals"]
    with pytest.raises(UsageError, match="--exclude-subtree: the tree has no branch 'minerals'"):
        shaping.exclude_subtrees(root, ["minerals"])


def test_a_root_is_chosen_by_name_or_identifier() -> None:
    root = tree(TREE)
    root.branches[1].id = "n42"
    assert shaping.subtree(root, "n42") is shaping.subtree(root, "plants") is root.branches[1]
    with pytest.raises(UsageError, match="--root"):
        shaping.subtree(root, "n43")


def test_branches_that_are_emptied_go_and_those_that_were_empty_stay() -> None:
    text = "a:\n    b:\n        c:\n            fox\nd:\n    elm\ne:"
    for take in (lambda root: shaping.exclude_terms(root, "fox"), lambda root: shaping.limit_terms(root, 0)):
        root = tree(text)
        take(root)
        assert "a" not in [branch.name for branch in root.branches] and "e" in [branch.name for branch in root.branches]
    root = tree(text)
    assert shaping.limit_terms(root, 1) == [(("d",), "elm")]
    assert [branch.name for branch in root.branches] == ["a", "e"]


def test_what_is_skipped_is_promoted() -> None:
    root = tree(TREE)
    shaping.skip(root, ["animals"])
    assert [branch.name for branch in root.branches] == ["items", "plants"]
    assert root.branches[0].terms[0].text == "fox"


def test_repeated_names_and_wrappers_dissolve_and_named_chains_stay() -> None:
    root = tree(TREE)
    shaping.dissolve_repeated(root)
    assert shape(root.branches[0]) == {"animals": [{"items": ["fox", "wolf"]}, "dog"]}
    root = tree("a:\n    b:\n        items:\n            list:\n                term")
    shaping.dissolve_wrappers(root)
    assert shape(root) == {"": [{"a": [{"b": ["term"]}]}]}


def test_short_lists_merge_under_a_keyword() -> None:
    root = tree(TREE)
    root.branches[1].branches[0].above = ["instruction: only trees", "a note"]
    shaping.merge_short(root, 2)
    merged = root.branches[1].branches[0]
    assert shape(root.branches[1]) == {
        "plants": [{merged.name: ["red oak", "wych elm"]}, {"firs": ["fir", "silver fir", "grand fir"]}]
    }
    assert merged.name == "Other (Elm)"
    assert merged.above == ["instruction: only trees", "a note"]


def test_depth_and_flatten() -> None:
    root = tree(TREE)
    shaping.cut_depth(root, 1)
    assert shape(root.branches[0]) == {"animals": ["fox", "wolf", "dog"]}
    assert len(root.branches) == 2
    root = Branch(
        "", [Branch("matter", [Branch("gas", [Term("neon")], id="n2"), Branch("named only", [Term("dust")])], id="n1")]
    )
    shaping.flatten(root)
    assert [(term.text, term.id) for term in root.terms] == [
        ("matter", "n1"),
        ("gas", "n2"),
        ("neon", ""),
        ("dust", ""),
    ]


def test_case_is_of_branches_alone() -> None:
    root = tree("red OAKS of o'hara:\n    Red oak")
    shaping.change_case(root, "title")
    assert shape(root) == {"": [{"Red OAKS Of O'hara": ["Red oak"]}]}
    shaping.change_case(root, "lower")
    assert shape(root) == {"": [{"red oaks of o'hara": ["Red oak"]}]}


def test_siblings_of_one_name_are_told_apart() -> None:
    root = Branch(
        "",
        [
            Branch("crane", comment="wader"),
            Branch("crane", comment="lifting device, derrick"),
            Branch("crane", comment="lifting device", id="n7"),
            Branch("crane"),
        ],
    )
    shaping.tell_apart(root)
    assert [branch.name for branch in root.branches] == ["crane", "crane (lifting device)", "crane (n7)", "crane 2"]


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(UsageError, match=r"--exclude-regex '\('"):
        shaping.exclude_terms(tree(TREE), "(")
