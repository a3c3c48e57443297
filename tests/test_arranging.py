"""A tree is arranged: no term is lost but those that are told, and a second time changes nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embedmill.core.errors import UsageError
from embedmill.taxonomy.arranging import PRESETS, Arrangement, arrange_tree
from embedmill.taxonomy.grouping.lists import Grouping
from embedmill.taxonomy.tree import Branch, Term
from taxonomy_trees import comment_lines, trees
from test_grouped_lists import GROUPINGS, TREES, WORDS, copied, embed, shape
from test_linting import tree

ARRANGEMENTS = st.builds(
    Arrangement,
    grouping=GROUPINGS.filter(lambda grouping: grouping.max_leaf >= 6),
    exclude_regex=st.sampled_from([None, "fox", "^no$"]),
    limit=st.sampled_from([0, 0, 7]),
    flatten=st.booleans(),
    depth=st.sampled_from([None, 0, 1]),
    shape=st.booleans(),
    min_leaf=st.integers(1, 6),
    case=st.sampled_from(["keep", "title", "lower"]),
    comment_template=st.sampled_from([None, "# instruction: {text}", "{name} {terms} {medoid} {cohesion}"]),
)


@settings(max_examples=60)
@given(TREES, ARRANGEMENTS)
def test_no_term_is_lost_but_those_that_are_told(root: Branch, arrangement: Arrangement) -> None:
    before = root.term_counts()
    after, done = arrange_tree(root, embed, arrangement)
    assert after.term_counts() + Counter(name for _, name in done.taken) == before
    if arrangement.exclude_regex is None and not arrangement.limit:
        assert not done.taken
    for _, branch in after.walk():
        assert not (branch.terms and branch.branches)
        names = [each.name for each in branch.branches]
        assert arrangement.case != "keep" or len(names) == len(set(names))
    assert done.after.terms == after.term_counts().total()


@settings(max_examples=60)
@given(TREES, ARRANGEMENTS)
def test_workers_make_no_difference_and_a_second_time_changes_nothing(root: Branch, arrangement: Arrangement) -> None:
    side_by_side, once = copied(root), copied(root)
    done = arrange_tree(once, embed, arrangement)[1]
    same = arrange_tree(side_by_side, embed, arrangement, workers=8)[1]
    assert [group.path for group in done.groups] == [group.path for group in same.groups]
    assert shape(once) == shape(side_by_side)
    if arrangement.flatten or arrangement.depth is not None or arrangement.limit:
        return  # these begin anew each time
    before = shape(once)
    again = arrange_tree(once, embed, arrangement)[1]
    assert not again.groups and shape(once) == before


def long_tree() -> Branch:
    terms = [Term(f"{word} {number}") for number in range(6) for word in WORDS]
    return Branch("", [Branch("one", list(terms)), Branch("two", [Branch("deep", list(terms), id="n2")])])


CHANGES: dict[str, dict[str, Any]] = {
    "root": {"root": "two"},
    "exclude_subtree": {"exclude_subtree": ("deep",)},
    "exclude_regex": {"exclude_regex": "fox"},
    "limit": {"limit": 5},
    "skip": {"skip": ("n2",)},
    "flatten": {"flatten": True},
    "depth": {"depth": 1},
    "case": {"case": "title"},
    "max_leaf": {"grouping": Grouping(max_leaf=10, threshold=-1)},
    "min_group": {"grouping": Grouping(min_group=15, threshold=-1)},
    "threshold": {"grouping": Grouping(threshold=0.9)},
    "own_label": {"grouping": Grouping(threshold=0.9, own_label="rest")},
    "overrides": {"overrides": {"deep": {"max_leaf": 100}}},
    "comment_template": {"comment_template": "# instruction: {text}"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_option_changes_something(name: str) -> None:
    usual = Arrangement(grouping=Grouping(threshold=-1))
    one, _ = arrange_tree(long_tree(), embed, usual)
    other, _ = arrange_tree(long_tree(), embed, Arrangement(**{"grouping": usual.grouping, **CHANGES[name]}))
    assert shape(one) != shape(other)


def test_shape_and_min_leaf() -> None:
    text = "a:\n    a:\n        fox\n        wolf\nb:\n    items:\n        oak tree\nc:\n    elm tree"
    plain, _ = arrange_tree(tree(text), embed, Arrangement())
    assert [branch.name for branch in plain.branches] == ["a", "b", "c"]
    shaped, _ = arrange_tree(tree(text), embed, Arrangement(shape=True, min_leaf=2))
    assert [branch.name for branch in shaped.branches] == ["a", "Other (Tree)"]
    assert [term.text for term in shaped.branches[0].terms] == ["fox", "wolf"]
    all_short, _ = arrange_tree(tree(text), embed, Arrangement(shape=True, min_leaf=3))
    assert len(all_short.branches) == 1


@settings(max_examples=60)
@given(trees(st.sampled_from([*WORDS, "items", "foxes"])), ARRANGEMENTS)
@example(Branch("", [Branch("items", [Branch("a", [Term("b")], "c", ["d"], ["e"])], "f")]), Arrangement(shape=True))
@example(Branch("", [Branch("a", [Branch("b", [Term("c")], "d", ["e"])], "", [], ["f"])]), Arrangement(flatten=True))
def test_no_comment_is_lost_with_a_branch_that_goes(root: Branch, arrangement: Arrangement) -> None:
    before = comment_lines(root)
    after, _ = arrange_tree(root, embed, replace(arrangement, exclude_regex=None, limit=0))
    assert before <= comment_lines(after)


def test_an_instruction_survives_merging_and_dissolving_and_the_size_of_a_group_does_not() -> None:
    short = [Branch(name, [Term(name)], "", [f"instruction: {name}", "1 terms, cohesion 0.50"]) for name in "bc"]
    arranged, _ = arrange_tree(Branch("", [Branch("a", short)]), embed, Arrangement(shape=True))
    (merged,) = arranged.branches[0].branches
    assert merged.above == ["instruction: b", "instruction: c"]
    skipped, _ = arrange_tree(arranged, embed, Arrangement(skip=(merged.name,)))
    assert skipped.branches[0].above == ["instruction: b", "instruction: c"]


def test_overrides_are_inherited_and_the_nearest_wins() -> None:
    terms = [Term(f"{word} {number}") for number in range(3) for word in WORDS]
    root = Branch("", [Branch("a", [Branch("b", [Branch("c", list(terms))]), Branch("d", list(terms))])])
    overrides = {"a": {"max_leaf": 10, "threshold": -1.0}, "b": {"max_leaf": 100}}
    arranged, done = arrange_tree(root, embed, Arrangement(overrides=overrides))
    inner = arranged.branches[0]
    assert len(inner.branches[0].branches[0].terms) == len(terms)  # c is below b
    assert len(inner.branches[1].branches) > 1
    assert all(group.path[:2] == ("a", "d") for group in done.groups)
    with pytest.raises(UsageError, match="--overrides: the tree has no branch 'e'"):
        arrange_tree(root, embed, Arrangement(overrides={"e": {}}))


def test_a_comment_has_the_gloss_of_its_name_or_medoid() -> None:
    root = Branch("", [Term(f"red fox {number}") for number in range(50)])
    template, glosses = "# instruction: {text} ({terms})", {"red": "a colour", "fox": "an animal", "red fox 3": "third"}
    _, done = arrange_tree(
        root,
        embed,
        Arrangement(comment_template=template, glosses=glosses, grouping=Grouping(threshold=-1, max_leaf=30)),
    )
    assert done.groups
    for group in done.groups:
        expected = glosses.get(group.branch.name) or glosses.get(group.medoid) or group.branch.name
        assert group.branch.above == [f"instruction: {expected} ({group.terms})"]


def test_limits_that_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="--min-leaf is 41 and --max-leaf 40"):
        arrange_tree(Branch(""), embed, Arrangement(shape=True, min_leaf=41))
    arrange_tree(Branch(""), embed, Arrangement(min_leaf=41))


@pytest.mark.parametrize("template", ["{nothing}", "{", "{0}", "{text.nothing}"])
def test_a_template_that_does_not_fit(template: str) -> None:
    with pytest.raises(UsageError, match="--comment-template"):
        arrange_tree(Branch(""), embed, Arrangement(comment_template=template))


def test_presets_go_from_short_lists_to_long_ones() -> None:
    limits = [(each["max_leaf"], each["min_leaf"]) for each in PRESETS.values()]
    assert limits == sorted(limits)
    assert next(iter(PRESETS)) == "ultra-detailed" and list(PRESETS)[-1] == "ultra-flat"
