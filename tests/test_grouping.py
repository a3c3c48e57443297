"""Groups of like terms: Ward's tree, long lists in pieces, names."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedmill.taxonomy.grouping.division import WHOLE, divide
from embedmill.taxonomy.grouping.naming import named, plain
from embedmill.taxonomy.grouping.pieces import pieces
from embedmill.taxonomy.grouping.threads import Map, map_within
from embedmill.taxonomy.grouping.ward import ward


def unit(points: int, dimension: int, seed: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(size=(points, dimension)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@settings(max_examples=50)
@given(st.integers(1, 200), st.integers(2, 20), st.integers(0, 10**6), st.integers(1, 40))
def test_wards_tree_is_that_of_scipy(points: int, dimension: int, seed: int, groups: int) -> None:
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    vectors = unit(points, dimension, seed)
    labels = ward(vectors).cut(groups)
    assert len(set(labels.tolist())) == min(groups, points)
    if points > 1:
        expected = hierarchy.fcluster(hierarchy.ward(vectors.astype(float)), groups, "maxclust")
        pairs = set(zip(labels.tolist(), expected.tolist(), strict=True))
        assert len(pairs) == len(set(labels.tolist())) == len(set(expected.tolist()))


@given(st.integers(1, 30), st.integers(1, 40))
def test_wards_tree_of_equal_points(points: int, groups: int) -> None:
    labels = ward(np.ones((points, 3), np.float32)).cut(groups)
    assert len(set(labels.tolist())) == min(points, groups)


def test_a_heavy_point_is_as_so_many_points() -> None:
    vectors = unit(40, 8, 1)
    weights = np.random.default_rng(2).integers(1, 5, 40)
    repeated = np.repeat(np.arange(40), weights)
    for groups in (2, 5, 11):
        once = ward(vectors, weights).cut(groups)[repeated]
        many = ward(vectors[repeated]).cut(groups)
        assert len(set(zip(once.tolist(), many.tolist(), strict=True))) == groups


@settings(max_examples=50)
@given(st.integers(1, 300), st.integers(1, 5), st.integers(0, 10**6), st.integers(1, 60))
def test_pieces_have_every_row_once(points: int, dimension: int, seed: int, number: int) -> None:
    vectors = unit(points, dimension, seed).round(1)  # some rows are equal
    found = pieces(vectors, number)
    assert sorted(np.concatenate(found).tolist()) == list(range(points))
    assert len(found) <= number
    again = pieces(vectors, number)
    assert [part.tolist() for part in again] == [part.tolist() for part in found]


def test_a_long_list_is_divided_alike_by_one_thread_and_by_many() -> None:
    vectors = unit(WHOLE + 500, 16, 5)

    def divided(side_by_side: Map) -> list[object]:
        found = divide(vectors, max_leaf=40, min_group=3, threshold=0.3, side_by_side=side_by_side)
        return [(group.nearest.tolist(), group.cohesion) for group in found.groups]

    alone = divided(map)
    for threads in (1, 2, 8):
        with ThreadPoolExecutor(threads) as pool:
            # Three tasks, each of which gives work to the pool it is in.
            assert list(pool.map(divided, [map_within(pool)] * 3)) == [alone] * 3


def test_a_task_of_a_pool_gets_its_results_in_order_and_its_errors() -> None:
    def inner(number: int) -> int:
        if number == 99:
            raise ValueError("99 is not wanted")
        return -number

    with ThreadPoolExecutor(2) as pool:
        within = map_within(pool)
        found = pool.map(lambda begin: list(within(inner, range(begin, begin + 9))), range(0, 90, 9))
        assert [each for some in found for each in some] == [-number for number in range(90)]
        with pytest.raises(ValueError, match="99"):
            pool.submit(lambda: list(within(inner, [98, 99]))).result()


@settings(max_examples=50)
@given(st.integers(1, 300), st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 6), st.floats(-1, 1, width=32))
def test_each_row_is_in_one_group_or_left_over(
    points: int, seed: int, max_leaf: int, min_group: int, threshold: float
) -> None:
    division = divide(unit(points, 8, seed), max_leaf=max_leaf, min_group=min_group, threshold=threshold)
    rows = [*(row for group in division.groups for row in group.rows.tolist()), *division.others.tolist()]
    assert sorted(rows) == list(range(points))
    for group in division.groups:
        assert len(group.rows) >= min_group
        assert group.rows.tolist() == sorted(group.rows.tolist())
        assert sorted(group.nearest.tolist()) == group.rows.tolist()
        assert len(group.rows) > max_leaf or group.cohesion >= threshold


def test_clear_groups_are_found_in_a_list_that_is_divided_first() -> None:
    centres = unit(8, 32, 3)
    truth = np.arange(3 * WHOLE) % 8
    noise = np.random.default_rng(4).normal(size=(len(truth), 32)).astype(np.float32) * 0.03
    vectors = centres[truth] + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    division = divide(vectors, max_leaf=8, min_group=3, threshold=0.5)
    assert [set(truth[group.rows].tolist()) for group in division.groups] == [{label} for label in range(8)]
    assert not len(division.others)


WORDS = st.lists(
    st.sampled_from(["red fox", "foxes", "wolf", "Oak", "oaks", "a", "no", "狐", "  ", "x-ray", "fox"]), min_size=1
)


@given(st.lists(WORDS, max_size=8), st.lists(st.sampled_from(["fox", "Oak tree", "other"])))
def test_names_differ_and_have_no_words_from_outside(groups: list[list[str]], taken: list[str]) -> None:
    names = named(groups, groups, taken)
    known = [plain(name.text) for name in names]
    assert len(set(known)) == len(known) and not set(known) & {plain(name) for name in taken}
    for name, terms in zip(names, groups, strict=True):
        allowed = {word for term in terms for word in plain(term).split()}
        extra = set(plain(name.text).split()) - allowed
        assert not extra or (name.source == "number" and all(word.isdigit() for word in extra))


def test_names_say_what_sets_a_group_apart() -> None:
    groups = [
        ["red fox", "arctic fox", "kit fox", "jackal"],
        ["grey wolf", "red wolf", "dingo"],
        ["oak", "maple", "horse chestnut", "chestnut oak", "sweet chestnut", "beech"],
    ]
    names = named(groups, groups, ["animals"])
    assert [(name.text, name.source) for name in names] == [
        ("fox", "word"),
        ("wolf", "word"),
        ("chestnut", "word"),
    ]
    assert named(groups, groups, ["Foxes"])[0].text == "red fox"  # "fox" is taken, whatever its case and number
