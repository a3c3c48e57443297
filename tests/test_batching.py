from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmill.core.errors import UsageError
from embedmill.core.vectors import Batch, Embedded
from embedmill.engine.batching import LEAST, TOKEN_BUDGET, Outstanding, batches, divided, padded
from embedmill.engine.lists import embed_list
from troubled import small_embedder

LENGTHS = st.lists(st.integers(1, 400), max_size=300)


@given(LENGTHS, st.integers(1, 2000), st.integers(1, 50), st.integers(1, 70))
def test_every_item_comes_out_once_among_others_of_its_padded_length(
    lengths: list[int], budget: int, patience: int, streams: int
) -> None:
    items = list(enumerate(lengths))
    found = list(batches(items, lambda item: item[1], budget=budget, patience=patience, streams=streams))
    assert sorted(item for batch in found for item in batch) == items
    for batch in found:
        (size,) = {padded(length) for _, length in batch}
        assert len(batch) <= max(1, budget // size)


@given(LENGTHS, st.integers(1, 2000), st.integers(1, 50), st.integers(1, 70))
def test_the_same_stream_gives_the_same_batches(lengths: list[int], budget: int, patience: int, streams: int) -> None:
    once, again = (
        list(batches(lengths, lambda n: n, budget=budget, patience=patience, streams=streams)) for _ in range(2)
    )
    assert once == again


@pytest.mark.parametrize(
    ("texts", "streams", "sizes"),
    [
        (50, 1, [50]),
        (50, 2, [25, 25]),
        (64, 2, [32, 32]),  # one full batch
        (128, 2, [64, 64]),
        (192, 2, [64, 64, 64]),  # those that came when all streams had something to do are whole
        (150, 2, [64, 64, 11, 11]),
        (300, 2, [64, 64, 64, 64, 22, 22]),
        (10, 2, [5, 5]),
        (9, 2, [9]),  # less than two batches of the least size
        (10, 64, [5, 5]),
        (300, 64, [8] * 32 + [5, 6] * 4),
    ],
)
def test_a_short_list_of_short_texts_is_divided_among_the_streams(texts: int, streams: int, sizes: list[int]) -> None:
    found = list(batches([16] * texts, lambda length: length, streams=streams))
    assert sorted(map(len, found)) == sorted(sizes)


@given(LENGTHS, st.integers(2, 70))
def test_streams_come_to_their_end_at_about_one_time(lengths: list[int], streams: int) -> None:
    """As far as that is worth it: no stream works on to the end while another could have had half of its last batch."""

    def tokens(batch: list[int]) -> int:
        return len(batch) * padded(batch[0])

    found = divided([[length] * number for number, length in enumerate(lengths[:40], 1)], tokens, streams)
    assert sorted(map(tokens, found), reverse=True) == list(map(tokens, found))
    ends = [0] * streams
    for batch in found:
        ends[ends.index(min(ends))] += tokens(batch)
    balanced = max(ends) * streams <= 1.1 * sum(ends)
    assert balanced or all(len(batch) == 1 or tokens(batch) < 2 * LEAST for batch in found)


def test_it_waits_for_no_more_than_a_batch_for_each_stream() -> None:
    pulled = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            pulled.append(number)
            yield 16

    found = batches(items(), lambda length: length, streams=4)
    assert len(next(found)) == TOKEN_BUDGET // 16
    assert len(pulled) == 4 * TOKEN_BUDGET // 16
    for _ in range(4):
        next(found)
    assert len(pulled) == 5 * TOKEN_BUDGET // 16


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


COPIES: dict[str, Callable[[Batch], Batch]] = {
    "made anew": lambda batch: Batch(tuple(batch.texts), tuple(ids.copy() for ids in batch.ids)),
    "copied": copy.copy,
    "copied with its arrays": copy.deepcopy,
    "pickled": lambda batch: pickle.loads(pickle.dumps(batch)),
    "replaced": dataclasses.replace,
    "with texts of its own": lambda batch: Batch(
        tuple(text.encode().decode() for text in batch.texts),
        tuple(np.array(ids.tolist(), np.int32) for ids in batch.ids),
    ),
}


@pytest.mark.parametrize("how", COPIES)
def test_an_executor_may_answer_with_an_equal_batch(how: str) -> None:
    """Object identity is kept by no process and no network; texts that stand twice have their own rows."""
    embedder = small_embedder()
    texts = [f"text {number % 7} " + "word " * (number % 3 * 9) for number in range(300)]

    def run(calls: Iterable[Batch]) -> Iterator[Embedded]:
        for batch in list(calls):  # all of them, so that equal ones are under way at once
            yield Embedded(COPIES[how](batch), embedder.infer(batch))

    vectors, causes = embed_list(texts, embedder.fingerprint.space, embedder.encode, run)
    np.testing.assert_allclose(vectors, embedder.embed(texts), rtol=0, atol=2e-6)
    assert not causes


def test_an_answer_to_nothing_and_no_answer() -> None:
    first = Batch(("a", "b"), (np.zeros(1, np.int32),) * 2)
    outstanding: Outstanding[str] = Outstanding()
    outstanding.add(first, "its own")
    with pytest.raises(UsageError, match="answered with a batch that it was not given"):
        outstanding.take(Embedded(first.part(0, 1), np.zeros((1, 4), np.float32)))
    with pytest.raises(UsageError, match="1 vectors for a batch of 2 texts"):
        outstanding.take(Embedded(first, np.zeros((1, 4), np.float32)))
    with pytest.raises(UsageError, match="without an answer to 1 of the batches"):
        outstanding.check()
    assert outstanding.take(Embedded(first, np.zeros((2, 4), np.float32))) == "its own"
    outstanding.check()
