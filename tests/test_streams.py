from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from embedmill.runtime.streams import ordered, prefetch


def test_results_come_in_the_items_order() -> None:
    """An earlier system returned results in completion order."""

    def work(number: int) -> int:
        time.sleep(0.002 * ((number * 7) % 5))
        return number * number

    assert list(ordered(work, range(40), threads=4)) == [(n, n * n) for n in range(40)]


def test_work_really_runs_at_once() -> None:
    """An earlier system's "parallel" path submitted one batch and waited for it."""
    together = threading.Barrier(3, timeout=30)
    assert len(list(ordered(lambda _: together.wait(), range(6), threads=3))) == 6


def test_it_takes_only_a_few_items_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = ordered(lambda number: number, items(), threads=2, ahead=4)
    next(results)
    assert len(taken) == 5
    results.close()


def test_an_error_comes_where_its_result_would() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise KeyError(number)
        return number

    found = []
    with pytest.raises(KeyError):
        for number, _ in ordered(work, range(10), threads=4):
            found.append(number)
    assert found == [0, 1, 2]


def test_an_error_in_the_items_comes_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(ordered(lambda number: number, items(), threads=2))


def test_prefetch_gives_all_items_in_order() -> None:
    with prefetch(range(1000), depth=3) as items:
        assert list(items) == list(range(1000))


def test_prefetch_is_bounded_and_ends_with_its_context() -> None:
    taken = []

    def endless() -> Iterator[int]:
        while True:
            taken.append(0)
            yield len(taken)

    before = threading.active_count()
    with prefetch(endless(), depth=3) as items:
        assert next(items) == 1
        time.sleep(0.2)
        assert len(taken) <= 6
    assert threading.active_count() == before


def test_prefetch_carries_the_error_over() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise PermissionError("closed")

    with prefetch(items(), depth=3) as fetched:
        assert next(fetched) == 1
        with pytest.raises(PermissionError, match="closed"):
            next(fetched)
