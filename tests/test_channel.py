"""Queues between the stages of a run."""

from __future__ import annotations

import threading
import time

import pytest

from embedmill.runtime.channel import Channel, Closed


def in_thread(work: object, *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_what_is_put_comes_out_in_order_and_the_end_is_told() -> None:
    queue: Channel[int] = Channel(2)
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
    taking.join()
    assert found == [*range(100), -1]
    with pytest.raises(Closed):
        queue.put(1)


def test_a_full_queue_holds_its_producer_until_it_may_hold_more() -> None:
    queue: Channel[int] = Channel(1)
    queue.put(1)
    done = threading.Event()
    putting = in_thread(lambda: (queue.put(2), done.set()))
    while not queue._changed._waiters:  # type: ignore[attr-defined]
        time.sleep(0.001)
    assert not done.wait(0.1)
    queue.allow(2)
    done.wait()
    putting.join()
    assert queue.waited_to_put >= 0.1
    begun = time.perf_counter()
    assert (queue.get(), queue.get()) == (1, 2)
    assert queue.waited_to_get <= time.perf_counter() - begun


def test_an_error_reaches_both_sides() -> None:
    queue: Channel[int] = Channel(1)
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
    putting.join()
    assert len(caught) == 1
    for use in (queue.get, queue.drain, lambda: queue.put(3)):
        with pytest.raises(ValueError, match="broken"):
            use()


def test_draining_waits_for_what_is_being_worked_on() -> None:
    queue: Channel[int] = Channel(1)
    queue.put(1)
    assert queue.get() == 1
    drained = threading.Event()
    draining = in_thread(lambda: (queue.drain(), drained.set()))
    assert not drained.wait(0.1)
    queue.done()
    drained.wait()
    draining.join()


def test_what_goes_together_is_taken_together() -> None:
    queue: Channel[int] = Channel(10)
    for number in (2, 4, 6, 1, 8):
        queue.put(number)
    even = lambda first, second: first % 2 == second % 2 == 0  # noqa: E731
    assert [queue.get_together(2, even) for _ in range(4)] == [[2, 4], [6], [1], [8]]
    queue.done(5)
    queue.drain()


def test_an_error_at_the_end_comes_after_what_waits() -> None:
    queue: Channel[int] = Channel(2)
    queue.put(1)
    queue.end(ValueError("broken"))
    assert queue.get() == 1
    with pytest.raises(ValueError, match="broken"):
        queue.get()
