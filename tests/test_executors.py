"""What every executor must do. One suite: an executor joins it by an entry in EXECUTORS."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.interfaces.executor import Executor
from embedmill.core.vectors import Batch, Cause
from embedmill.executors.processes.inflight import _WAITING
from embedmill.executors.processes.limits import Limits
from embedmill.executors.processes.pool import EmbedderPool
from embedmill.executors.processes.tuned import TunedPool
from embedmill.executors.threads import ThreadExecutor
from troubled import EXITS, NAN, RAISES, SHORT, TALKS, TroubledEmbedder, in_a_worker

EXECUTORS: dict[str, Callable[[TokenEmbedder], Executor]] = {
    "threads": ThreadExecutor,
    "processes": lambda _: EmbedderPool(in_a_worker, workers=2, limits=Limits(deadline_seconds=20)),
    "tuned": lambda _: TunedPool(lambda workers: EmbedderPool(in_a_worker, workers=workers), [2, 1], seconds=0.05),
}


@pytest.fixture
def embedder() -> Iterator[TroubledEmbedder]:
    embedder = TroubledEmbedder()
    yield embedder
    embedder.close()


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest, embedder: TroubledEmbedder) -> Iterator[Executor]:
    executor = EXECUTORS[request.param](embedder)
    yield executor
    executor.close()


def batch(embedder: TokenEmbedder, *texts: str) -> Batch:
    return Batch(texts, tuple(embedder.encode(texts)))


def many(embedder: TokenEmbedder, count: int, mark: str = "") -> list[Batch]:
    return [
        batch(embedder, *(f"text {number} row {row} {mark} " + "word " * (number % 9) for row in range(3)))
        for number in range(count)
    ]


def test_order_and_completeness(executor: Executor, embedder: TroubledEmbedder) -> None:
    batches = many(embedder, 60)
    found = list(executor.run(batches))
    assert [embedded.batch for embedded in found] == batches
    for embedded in found:
        np.testing.assert_allclose(embedded.vectors, embedder.embed(embedded.batch.texts), rtol=0, atol=2e-6)
        assert not embedded.causes


def test_backpressure(executor: Executor, embedder: TroubledEmbedder) -> None:
    """findings 2: everything must fit in memory."""
    taken = []

    def endless() -> Iterator[Batch]:
        while True:
            taken.append(1)
            yield batch(embedder, "the same text")

    results = executor.run(endless())
    for _ in range(5):
        next(results)
    late = _WAITING if executor.name == "processes" else 0  # behind a batch whose worker the machine gives no time
    assert len(taken) <= 5 + 4 * embedder.concurrency + late
    results.close()  # type: ignore[attr-defined]


def test_a_failing_text_does_not_take_its_batch_with_it(executor: Executor, embedder: TroubledEmbedder) -> None:
    """findings 9: one failure loses everything already paid for; and one empty text failing its whole batch."""
    texts = [f"text {number}" for number in range(9)]
    texts[4] += f" {RAISES}"
    (embedded,) = executor.run([batch(embedder, *texts)])
    assert set(embedded.causes) == {4}
    assert embedded.causes[4].type == "Refused"
    assert embedded.causes[4].message == "this text was marked"  # on one line
    assert np.isnan(embedded.vectors[4]).all()
    good = [row for row in range(9) if row != 4]
    np.testing.assert_allclose(embedded.vectors[good], embedder.embed([texts[row] for row in good]), rtol=0, atol=2e-6)
    assert executor.retries > 0


@pytest.mark.parametrize(
    ("mark", "cause"),
    [
        (EXITS, Cause("SystemExit", "goodbye")),
        (SHORT, Cause("ValueError", "the embedder gave an array of shape (0, 32), expected an array of (1, 32)")),
    ],
)
def test_an_embedder_that_ends_its_thread_or_forgets_a_row(
    executor: Executor, embedder: TroubledEmbedder, mark: str, cause: Cause
) -> None:
    """findings 1: one row too few, and every text after it has its neighbour's vector."""
    texts = [f"text {number}" for number in range(5)]
    texts[3] += f" {mark}"
    before, embedded, after = executor.run([batch(embedder, "good"), batch(embedder, *texts), batch(embedder, "good")])
    assert not before.causes and not after.causes
    assert embedded.causes == {3: cause}
    good = [0, 1, 2, 4]
    np.testing.assert_allclose(embedded.vectors[good], embedder.embed([texts[row] for row in good]), rtol=0, atol=2e-6)


def test_an_error_that_repeats_a_whole_text_is_cut_short(executor: Executor, embedder: TroubledEmbedder) -> None:
    """Each failure's message is kept in the store."""
    (embedded,) = executor.run([batch(embedder, TALKS)])
    assert embedded.causes[0].message.startswith("word word")
    assert len(embedded.causes[0].message) < 2000


def test_an_executor_that_is_well(executor: Executor, embedder: TroubledEmbedder) -> None:
    list(executor.run(many(embedder, 3)))
    assert not executor.check_health()


def test_all_texts_failing(executor: Executor, embedder: TroubledEmbedder) -> None:
    found = list(executor.run(many(embedder, 3, RAISES)))
    assert [set(embedded.causes) for embedded in found] == [{0, 1, 2}] * 3


def test_a_batch_after_a_failing_one(executor: Executor, embedder: TroubledEmbedder) -> None:
    found = list(executor.run([batch(embedder, RAISES), batch(embedder, "good"), batch(embedder, NAN)]))
    assert [len(embedded.causes) for embedded in found] == [1, 0, 0]
    assert np.isnan(found[2].vectors).all()  # to be refused by the validator, not here


def test_two_callers_at_once_get_their_own_results(executor: Executor, embedder: TroubledEmbedder) -> None:
    """findings 1: one pool's callers get each other's rows."""
    work = {mark: many(embedder, 30, mark) for mark in ("left", "right")}
    found: dict[str, list[Batch]] = {}

    def call(mark: str) -> None:
        found[mark] = [embedded.batch for embedded in executor.run(work[mark])]

    threads = [threading.Thread(target=call, args=(mark,)) for mark in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == work


def test_an_error_in_the_callers_batches_comes_out(executor: Executor, embedder: TroubledEmbedder) -> None:
    def broken() -> Iterator[Batch]:
        yield batch(embedder, "good")
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        list(executor.run(broken()))


def test_closing_twice_and_use_after_close(executor: Executor, embedder: TroubledEmbedder) -> None:
    executor.start()
    assert len(list(executor.run(many(embedder, 2)))) == 2
    executor.close()
    executor.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(iter(executor.run(many(embedder, 2))))


def test_a_batch_without_texts(executor: Executor, embedder: TroubledEmbedder) -> None:
    (before, empty, after) = executor.run([batch(embedder, "a"), Batch((), ()), batch(embedder, "b")])
    assert empty.vectors.shape == (0, embedder.dimension)
    assert not (before.causes or empty.causes or after.causes)


def test_nothing_to_do(executor: Executor) -> None:
    assert list(executor.run([])) == []
