"""Troubles of a pool that come together, or from its own user."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from embedmill import EmbedderPool, Limits
from embedmill.core.errors import ModelError, UsageError
from embedmill.core.vectors import Batch, Embedded
from embedmill.executors.processes.slots import Restart
from embedmill.executors.processes.tuned import TunedPool
from faulty import Factory, LightEmbedder, Obedient, batch, obedient
from waiting import until


def sound(found: Sequence[Embedded], work: Sequence[Batch]) -> None:
    """Every batch has come, in order, with its own vectors."""
    assert [id(embedded.batch) for embedded in found] == [id(each) for each in work]
    for embedded in found:
        assert not embedded.causes
        np.testing.assert_array_equal(embedded.vectors, LightEmbedder().infer(embedded.batch))


def many(count: int) -> list[Batch]:
    return [batch(f"text {number}") for number in range(count)]


def test_a_successor_that_is_used_up_before_the_worker_it_replaces_has_left() -> None:
    work = [*many(4), batch("SLEEP 2"), *many(40)]
    before = psutil.Process().num_fds()
    with EmbedderPool(obedient, workers=1, limits=Limits(max_documents_per_worker=5)) as pool:
        sound(list(pool.run(work)), work)
        sound(list(pool.run(work[:4])), work[:4])
    assert psutil.Process().num_fds() == before
    assert not psutil.Process().children()


@pytest.mark.parametrize("concurrency", [1, 2])
def test_an_idle_worker_comes_before_one_that_is_at_work(tmp_path: Path, concurrency: int) -> None:
    """Two batches for two idle workers: were both given to the first one, each would wait for the other for ever."""
    with EmbedderPool(functools.partial(obedient_at_once, concurrency), workers=2) as pool:
        list(pool.run(many(8)))
        until(lambda: [stats.state for stats in pool.stats()] == ["idle", "idle"])
        before = [stats.batches for stats in pool.stats()]
        found = list(pool.run([batch(f"MEET {tmp_path} {number}") for number in range(2)]))
        assert [stats.batches for stats in pool.stats()] == [number + 1 for number in before]
    assert not any(embedded.causes for embedded in found)


def obedient_at_once(concurrency: int, threads: int) -> LightEmbedder:
    embedder = Obedient()
    embedder.concurrency = concurrency
    return embedder


def test_a_run_that_is_collected_while_its_thread_uses_the_pool() -> None:
    """The garbage collector may end an abandoned run at any moment of the same thread."""
    with EmbedderPool(obedient, workers=1) as pool:

        def abandon() -> None:
            run = pool.run(many(9))
            next(run)
            with pool._lock:
                run.close()  # type: ignore[attr-defined]

        thread = threading.Thread(target=abandon, daemon=True)
        thread.start()
        thread.join()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ValueError])
def test_on_restart_may_raise_what_it_likes(error: type[BaseException]) -> None:
    def called(restart: Restart) -> None:
        raise error("a worker died")

    with EmbedderPool(obedient, workers=1, on_restart=called) as pool:
        found = list(pool.run([batch("a"), batch("DIE"), batch("b")]))
    assert [len(embedded.causes) for embedded in found] == [0, 1, 0]


def test_a_text_that_takes_all_memory_does_not_raise_the_limit_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(max_memory_mb=60, deadline_seconds=60)
    with EmbedderPool(obedient, workers=1, limits=limits) as pool:
        (embedded,) = pool.run([batch("GROW")])
    assert embedded.causes[0].type == "WorkerTooLarge"
    assert caplog.text.count("max_memory_mb is") <= 2  # the process alone may be above it


class Vanishing:
    """A model that can be loaded so many times."""

    def __init__(self, folder: Path, times: int) -> None:
        self.folder, self.times = folder, times

    def __call__(self, threads: int) -> LightEmbedder:
        (self.folder / str(os.getpid())).touch()
        if len(list(self.folder.iterdir())) > self.times:
            raise ModelError("the file is gone")
        return Obedient()


def test_a_model_that_vanishes_while_it_is_used(tmp_path: Path) -> None:
    """No text is blamed for it."""
    work = [batch(f"SLEEP 0.1 {number}") for number in range(40)]
    found = []
    with (
        EmbedderPool(Vanishing(tmp_path, 2), workers=2, limits=Limits(max_documents_per_worker=6)) as pool,
        pytest.raises(ModelError, match="the file is gone"),
    ):
        found.extend(pool.run(work))
        assert pool.check_health()
    assert not any(embedded.causes for embedded in found)


def test_many_texts_in_a_row_that_kill_lose_none_of_the_others() -> None:
    fatal = [batch(f"DIE {number}") for number in range(12)]
    work = many(20)
    with EmbedderPool(obedient, workers=2, limits=Limits(max_restarts=4)) as pool:
        found = list(pool.run([*fatal, *work]))
        assert pool.check_health() == []
    assert all(embedded.causes for embedded in found[: len(fatal)])
    sound(found[len(fatal) :], work)


def test_a_model_that_dies_of_every_text_ends_all_the_same() -> None:
    work = [batch(f"DIE {number}") for number in range(40)]
    with EmbedderPool(obedient, workers=2, limits=Limits(max_deadly_texts=3)) as pool:
        found = list(pool.run(work))
        assert pool.restarts < 40
    assert all(embedded.causes[0].type == "WorkerDied" for embedded in found)
    assert "again and again" in found[-1].causes[0].message


class Unusable(LightEmbedder):
    concurrency = 0


def unusable(threads: int) -> LightEmbedder:
    return Unusable()


def test_an_embedder_that_takes_no_work() -> None:
    with (
        EmbedderPool(unusable, workers=1, limits=Limits(failed_starts=1)) as pool,
        pytest.raises(ValueError, match="the embedder's concurrency is 0: expected a whole number from 1 up"),
    ):
        list(pool.run(many(3)))


def test_finish_within_ends_a_run_whose_batches_go_on() -> None:
    found = []
    with EmbedderPool(obedient, workers=1) as pool:
        for embedded in pool.run(batch(f"SLEEP 0.05 {number}") for number in range(400)):
            found.append(embedded)
            if len(found) == 5:
                pool.finish_within(0.5)
        assert 5 <= len(found) < 100
        sound(list(pool.run(work := many(3))), work)  # others may come


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "embedmill-pool":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    before = psutil.Process().num_fds()
    with EmbedderPool(Factory(), workers=1) as pool:
        for _ in range(2):
            sound(list(pool.run(work := many(3))), work)
    assert psutil.Process().num_fds() == before


def test_a_pool_without_workers_that_is_forgotten_ends_its_threads() -> None:
    pool = EmbedderPool(functools.partial(only_in, os.getpid()), workers=1, limits=Limits(failed_starts=1))
    sound(list(pool.run(work := many(3))), work)
    assert any(thread.name == "embedmill-here" for thread in threading.enumerate())
    del pool
    until(lambda: not any(thread.name == "embedmill-here" for thread in threading.enumerate()))


def only_in(process: int, threads: int) -> LightEmbedder:
    if os.getpid() != process:
        sys.exit("not here")
    return LightEmbedder()


@pytest.mark.parametrize("threads", [0, -1, 1000, 1.5, float("nan"), "2", True])
def test_threads_that_make_no_sense(threads: int) -> None:
    with pytest.raises(UsageError, match=r"threads is .*: give a whole number from 1"):
        EmbedderPool(Factory(), threads=threads)


@pytest.mark.parametrize("name", list(Limits.__dataclass_fields__))
@pytest.mark.parametrize("value", [-1, float("nan"), "2", True])
def test_a_limit_that_makes_no_sense(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{name} is {value!r}: give"):
        Limits(**{name: value})


# The size that is measured


def slow_pool(workers: int) -> EmbedderPool:
    return EmbedderPool(obedient, workers=workers)


def test_a_tuned_pool_goes_on_with_its_choice() -> None:
    work = [batch(f"SLEEP 0.01 {number}") for number in range(450)]
    for sizes in ([1, 2], [2, 1]):
        tuned = TunedPool(slow_pool, sizes, seconds=1.0)  # long beside the time between two workers' starts
        try:
            sound(list(tuned.run(work)), work)
            assert tuned.workers == 2 and set(tuned.measured) == {1, 2}
            sound(list(tuned.run(work[:9])), work[:9])
            assert len(psutil.Process().children()) == 2
        finally:
            tuned.close()


def test_a_run_that_ends_early_leaves_the_choice_to_the_next() -> None:
    tuned = TunedPool(slow_pool, [2, 1], seconds=0.2)
    try:
        assert len(list(tuned.run(many(2)))) == 2
        assert not tuned.measured
        work = [batch(f"SLEEP 0.01 {number}") for number in range(150)]
        sound(list(tuned.run(work)), work)
        assert set(tuned.measured) == {1, 2}
    finally:
        tuned.close()


def test_few_pools_live_at_once_while_their_sizes_are_tried() -> None:
    tuned = TunedPool(slow_pool, [4, 3, 2, 1], seconds=0.2)
    work = [batch(f"SLEEP 0.01 {number}") for number in range(300)]
    most = 0
    try:
        for _ in tuned.run(work):
            most = max(most, len(psutil.Process().children()))
        assert set(tuned.measured) == {1, 2, 3, 4}
        assert most <= 4 + 3 + 2  # of 10 in all: the first, the best and the one that is tried
    finally:
        tuned.close()
