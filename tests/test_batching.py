from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from embedmill.batching import batches, padded

LENGTHS = st.lists(st.integers(1, 400), max_size=300)


@given(LENGTHS, st.integers(1, 2000), st.integers(1, 50))
def test_every_item_comes_out_once_among_others_of_its_padded_length(
    lengths: list[int], budget: int, patience: int
) -> None:
    items = list(enumerate(lengths))
    found = list(batches(items, lambda item: item[1], budget=budget, patience=patience))
    assert sorted(item for batch in found for item in batch) == items
    for batch in found:
        (size,) = {padded(length) for _, length in batch}
        assert len(batch) <= max(1, budget // size)


@given(LENGTHS, st.integers(1, 2000), st.integers(1, 50))
def test_the_same_stream_gives_the_same_batches(lengths: list[int], budget: int, patience: int) -> None:
    once, again = (list(batches(lengths, lambda n: n, budget=budget, patience=patience)) for _ in range(2))
    assert once == again


@given(LENGTHS, st.integers(1, 50))
def test_no_item_waits_for_more_than_patience_others(lengths: list[int], patience: int) -> None:
    """So memory is bounded, and a rare length does not hold up its document."""
    taken = 0

    def counted() -> Iterator[tuple[int, int]]:
        nonlocal taken
        for position, length in enumerate(lengths):
            taken = position
            yield position, length
        taken = -1  # the end: what is left comes out at once

    for batch in batches(counted(), lambda item: item[1], budget=100_000, patience=patience):
        if taken >= 0:
            # One bucket is given out for each item taken, so that the wait may run over by the number of lengths.
            assert taken - batch[0][0] <= patience + 40


def test_it_pulls_no_further_than_it_must() -> None:
    pulled = []

    def items() -> Iterator[int]:
        for number in range(100):
            pulled.append(number)
            yield 10

    found = batches(items(), lambda length: length, budget=5 * padded(10))
    assert next(found) == [10] * 5
    assert len(pulled) == 5


def test_a_text_larger_than_the_budget_goes_alone() -> None:
    assert list(batches([500, 500], lambda n: n, budget=100)) == [[500], [500]]


def test_the_largest_batches_come_first_at_the_end() -> None:
    """So that the streams end together."""
    found = batches([1, 60, 60, 30, 30, 30, 30, 30], lambda length: length, budget=1000)
    assert [len(batch) * padded(batch[0]) for batch in found] == [160, 128, 16]
