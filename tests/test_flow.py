"""Queues between stages, and how wide a run becomes by what it measures."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmill.pipelines.ingest.width import NARROWEST, WIDEST, Waits, Width, next_width
from embedmill.runtime.channel import Closed, Queue

# Queues


def in_thread(work: object, *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_what_is_put_comes_out_in_order_and_the_end_is_told() -> None:
    queue: Queue[int] = Queue(2)
    found: list[int] = []

    def take() -> None:
        try:
            while True:
                found.append(queue.get())
                queue.done()
        except Closed:
            found.append(-1)

    taking = in_thread(take)
    for number in range(100):
        queue.put(number)
    queue.drain()
    assert found == list(range(100))
    queue.end()
    taking.join(5)
    assert found == [*range(100), -1]
    with pytest.raises(Closed):
        queue.put(1)


def test_a_full_queue_holds_its_producer_until_it_may_hold_more() -> None:
    queue: Queue[int] = Queue(1)
    queue.put(1)
    done = threading.Event()
    putting = in_thread(lambda: (queue.put(2), done.set()))
    assert not done.wait(0.1)
    queue.allow(2)
    assert done.wait(5)
    putting.join(5)
    assert queue.waited_to_put >= 0.1
    assert (queue.get(), queue.get()) == (1, 2)
    assert queue.waited_to_get < 0.1


def test_an_error_reaches_both_sides() -> None:
    queue: Queue[int] = Queue(1)
    queue.put(1)
    caught: list[BaseException] = []

    def put() -> None:
        try:
            queue.put(2)
        except ValueError as error:
            caught.append(error)

    putting = in_thread(put)
    time.sleep(0.05)
    queue.fail(ValueError("broken"))
    putting.join(5)
    assert len(caught) == 1
    for use in (queue.get, queue.drain, lambda: queue.put(3)):
        with pytest.raises(ValueError, match="broken"):
            use()


def test_draining_waits_for_what_is_being_worked_on() -> None:
    queue: Queue[int] = Queue(1)
    queue.put(1)
    assert queue.get() == 1
    drained = threading.Event()
    draining = in_thread(lambda: (queue.drain(), drained.set()))
    assert not drained.wait(0.1)
    queue.done()
    assert drained.wait(5)
    draining.join(5)


# Width

shares = st.floats(0, 1)
widths = st.builds(Width, st.integers(NARROWEST.ahead, WIDEST.ahead), st.integers(NARROWEST.writers, WIDEST.writers))


@given(widths, st.builds(Waits, shares, shares, shares, st.floats(0, 8)))
def test_the_width_stays_within_its_bounds_and_moves_in_small_steps(width: Width, waits: Waits) -> None:
    new = next_width(width, waits)
    assert NARROWEST.ahead <= new.ahead <= WIDEST.ahead
    assert NARROWEST.writers <= new.writers <= WIDEST.writers
    assert new.ahead <= 2 * width.ahead
    assert abs(new.writers - width.writers) <= 1


def after(rounds: int, writing: float, reading: float) -> Width:
    """Where a run ends up whose writers need `writing` seconds for what the model makes in one, and whose reader needs
    `reading` seconds for as much, half of that overlapping with more pages ahead."""
    width = NARROWEST
    for _ in range(rounds):
        late = max(writing / width.writers - 1, 0)
        starving = max(reading / width.ahead - 0.5, 0)
        busy = min(writing, width.writers)
        width = next_width(width, Waits(min(starving, 1), 0 if starving else 0.95, min(late, 1), busy))
    return width


def test_writers_come_until_the_model_does_not_wait_and_go_when_they_are_idle() -> None:
    assert after(20, writing=0.3, reading=0.1) == NARROWEST
    assert 4 <= after(20, writing=3.5, reading=0.1).writers <= 5
    assert after(20, writing=100, reading=0.1).writers == WIDEST.writers
    assert next_width(Width(2, 6), Waits(0, 0, 0, 0.5)).writers == 5


def test_pages_double_while_the_model_starves() -> None:
    assert next_width(Width(2, 1), Waits(0.5, 0, 0, 0.1)).ahead == 4
    assert next_width(Width(16, 1), Waits(0.5, 0, 0, 0.1)).ahead == 16
    assert next_width(Width(4, 1), Waits(0, 0.95, 0, 0.1)).ahead == 3
    assert next_width(Width(4, 1), Waits(0, 0.5, 0, 0.1)).ahead == 4
