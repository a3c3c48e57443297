"""The pool's own promises: limits, recycling, falling back, closing, orphans."""

from __future__ import annotations

import functools
import gc
import os
import random
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from embedmill import EmbedderPool, EmbeddingError, PersistentCache
from embedmill.core.errors import ModelError, UsageError
from embedmill.core.vectors import Batch
from embedmill.executors.processes.limits import Limits
from embedmill.executors.processes.memory import Memory
from embedmill.executors.processes.slots import Restart
from embedmill.executors.processes.supervisor import divided
from embedmill.executors.processes.tuned import candidates
from faulty import MARK, Factory, LightEmbedder
from test_faults import batches, check
from waiting import until

TESTS = Path(__file__).parent


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


# Limits


@pytest.mark.parametrize("workers", [0, -1, 1000])
def test_numbers_of_workers_that_make_no_sense(workers: int) -> None:
    with pytest.raises(UsageError, match=f"workers is {workers}"):
        EmbedderPool(Factory(), workers=workers)


@pytest.mark.parametrize("limits", [{"max_memory_mb": 0}, {"start_seconds": 0}, {"max_restarts": -1}])
def test_limits_that_make_no_sense(limits: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="give"):
        Limits(**limits)


def test_a_list_of_texts_is_embedded() -> None:
    texts = [f"text number {number} " + "word " * (number % 9) for number in range(100)]
    with EmbedderPool(Factory(), workers=2) as pool:
        vectors = pool.embed(texts)
        np.testing.assert_array_equal(vectors, LightEmbedder().embed(texts))
        with pytest.raises(TypeError, match="list of texts"):
            pool.embed("one text")
        with pytest.raises(UsageError, match="task"):
            pool.embed(texts, task="other")  # type: ignore[arg-type]


def test_workers_are_replaced_on_request() -> None:
    work = batches() * 5
    told: list[Restart] = []
    with EmbedderPool(Factory(), workers=2, on_restart=told.append) as pool:
        pool.restart()  # nothing is there as yet
        check(list(pool.run(work)), work, None)
        until(lambda: all(stats.state == "idle" for stats in pool.stats()))  # one that still starts is new enough
        before = [stats.pid for stats in pool.stats()]
        pool.restart(1)
        until(lambda: len(told) == 1)
        assert (told[0].worker, told[0].pid, told[0].cause) == (1, before[1], "on request")
        pool.restart()
        check(list(pool.run(work)), work, None)  # nothing is lost meanwhile
        until(lambda: len(told) == 3)
        assert {restart.worker for restart in told[1:]} == {0, 1}
        after = [stats.pid for stats in pool.stats()]
        assert None not in after and not set(before) & set(after)
        for wrong in (-1, 2, "1", True):
            with pytest.raises(UsageError, match="index is"):
                pool.restart(wrong)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="closed"):
        pool.restart()


def test_lists_of_texts_may_share_a_cache(tmp_path: Path) -> None:
    with PersistentCache(tmp_path / "vectors.db") as cache, EmbedderPool(Factory(), workers=1) as pool:
        assert set(pool.statistics().values()) == {0}
        first = pool.embed(["one", "two", "one"], cache=cache)
        np.testing.assert_array_equal(pool.embed(["two", "three"], cache=cache), [first[1], *pool.embed(["three"])])
        counts = pool.statistics()
        assert (counts["texts"], counts["cached"], counts["duplicates"], counts["misses"]) == (6, 1, 1, 3)
        assert counts["embedded"] == 4, "without a cache it is computed anew"
        with pytest.raises(UsageError, match=r"cache is True: give one, as embedmill.PersistentCache"):
            pool.embed(["one"], cache=True)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="this pool is closed"):
        pool.embed(["one"])


def test_what_is_no_function_is_not_called_at_a_restart() -> None:
    with pytest.raises(UsageError, match="on_restart is 3: give a function, or leave it out"):
        EmbedderPool(Factory(), workers=1, on_restart=3)  # type: ignore[arg-type]


def test_no_texts_are_an_error_and_blank_ones_fail_with_their_number() -> None:
    with EmbedderPool(Factory(), workers=1) as pool:
        with pytest.raises(ValueError, match="there are no texts"):
            pool.embed([])
        for texts, blank in (([""], [0]), (["a", " "], [1])):
            with pytest.raises(EmbeddingError, match=f"text {blank[0]}: EmptyText") as caught:
                pool.embed(texts)
            assert list(caught.value.causes) == blank
        assert pool.statistics()["failed"] == 2


def test_a_worker_is_replaced_after_its_calls() -> None:
    told: list[Restart] = []
    work = batches() * 5
    with EmbedderPool(Factory(), workers=1, limits=Limits(max_documents_per_worker=10), on_restart=told.append) as pool:
        check(list(pool.run(work)), work, None)
        assert 4 <= pool.restarts == len(told) <= 7  # 60 calls; a successor is begun a little earlier
        assert {restart.cause for restart in told} == {"documents"}
        assert pool.stats()[0].causes == {"documents": len(told)}
        assert pool.retries == 0


def test_what_a_worker_took_is_known_until_another_has_its_place() -> None:
    taken: list[float] = []

    def note(_: Restart) -> None:  # there is no worker in that place just now
        taken.append(pool.stats()[0].rss_mb)

    work = batches()
    with EmbedderPool(Factory(), workers=1, on_restart=note) as pool:
        check(list(pool.run(work)), work, None)
        (worker,) = pool.stats()
        assert worker.pid is not None and worker.rss_mb > 1
        os.kill(worker.pid, signal.SIGKILL)
        until(lambda: len(taken) == 1)
        assert taken[0] > 1


def test_a_worker_that_leaks_is_replaced_before_it_is_too_large() -> None:
    work = batches() * 12
    limits = Limits(max_memory_mb=150)
    with EmbedderPool(leaking, workers=2, limits=limits) as pool:
        check(list(pool.run(work)), work, None)
        assert sum(stats.causes.get("memory", 0) for stats in pool.stats()) >= 1


def test_a_memory_limit_below_what_a_batch_needs_is_raised_and_said(caplog: pytest.LogCaptureFixture) -> None:
    work = batches()
    with EmbedderPool(greedy, workers=1, limits=Limits(max_memory_mb=20)) as pool:
        check(list(pool.run(work)), work, None)
        assert pool.restarts <= 8
    assert re.search(
        r"max_memory_mb is \d+, and a worker needs \d+ MB for the model and one batch: taking", caplog.text
    )


def test_a_memory_limit_below_what_the_model_alone_takes_is_raised_once(caplog: pytest.LogCaptureFixture) -> None:
    work = batches() * 5
    with EmbedderPool(Factory(), workers=2, limits=Limits(max_memory_mb=5)) as pool:
        check(list(pool.run(work)), work, None)
        assert pool.restarts == 0
    assert caplog.text.count("max_memory_mb is 5, and a worker needs") == caplog.text.count("max_memory_mb") == 1
    assert "for the model alone" in caplog.text


def test_memory_limits_are_for_a_worker_in_all(caplog: pytest.LogCaptureFixture) -> None:
    """500 MB mean 500, the model included; what the model alone takes is above them, or not."""
    memory = Memory(500)
    memory.loaded(225)
    assert not memory.beyond_soft(470) and memory.beyond_soft(480)
    assert not memory.beyond_hard(700) and memory.beyond_hard(750)
    assert not caplog.text
    memory.loaded(600)
    assert not memory.beyond_soft(800) and memory.beyond_soft(900)
    assert "max_memory_mb is 500, and a worker needs 600 MB for the model alone: taking 900" in caplog.text
    assert not Memory(None).beyond_hard(1e9)


class Leaking(LightEmbedder):
    """Keeps 4 MB of each call."""

    def __init__(self) -> None:
        self.held: list[bytes] = []

    def infer(self, batch: Any) -> Any:
        self.held.append(os.urandom(1 << 20) * 4)
        time.sleep(0.05)
        return super().infer(batch)


class Greedy(LightEmbedder):
    """Takes 100 MB at its first call."""

    held = b""

    def infer(self, batch: Any) -> Any:
        self.held = self.held or os.urandom(1 << 20) * 100
        time.sleep(0.5)
        return super().infer(batch)


def leaking(threads: int) -> LightEmbedder:
    return Leaking()


def greedy(threads: int) -> LightEmbedder:
    return Greedy()


def test_what_workers_did_adds_up_over_those_that_were_replaced() -> None:
    work = batches() * 5
    with EmbedderPool(Factory(), workers=2, limits=Limits(max_documents_per_worker=10)) as pool:
        list(pool.run(work))
        stats = pool.stats()
    assert pool.restarts > 0
    assert sum(each.batches for each in stats) == len(work)
    assert sum(each.documents for each in stats) == sum(len(batch.texts) for batch in work)
    assert sum(each.tokens for each in stats) == sum(batch.tokens for batch in work)


def test_cores_are_divided_among_workers() -> None:
    assert divided(8, 3) == [3, 3, 2]
    assert divided(2, 4) == [1, 1, 1, 1]
    assert candidates(2) == [2, 1]
    assert candidates(16) == [16, 8, 4, 3, 2, 1]


# Deaths


def test_a_worker_that_is_killed_at_random_costs_nothing() -> None:
    """findings 16: a process pool breaks whole when one child dies."""
    work = batches() * 60
    stopping = threading.Event()

    def kill() -> None:
        while not stopping.wait(1.0):
            random.choice(children()).kill()

    killer = threading.Thread(target=kill)
    with EmbedderPool(slow, workers=2) as pool:
        killer.start()
        found = list(pool.run(work))
        stopping.set()
        killer.join()
        assert pool.restarts > 0
    check(found, work, None)


class Slow(LightEmbedder):
    """Takes 10 ms for a call."""

    def infer(self, batch: Any) -> Any:
        time.sleep(0.01)
        return super().infer(batch)


def slow(threads: int) -> LightEmbedder:
    return Slow()


def test_a_worker_that_keeps_dying_is_not_replaced_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    work = batches()
    limits = Limits(max_restarts=2, deadline_seconds=5)
    with EmbedderPool(dying, workers=2, limits=limits) as pool:
        found = list(pool.run(work))
        assert [embedded.batch for embedded in found] == work
        assert any(stats.state == "retired" for stats in pool.stats())
    assert "died 3 times in a row and is not replaced" in caplog.text


class Dying(LightEmbedder):
    """Dies at each first call."""

    def infer(self, batch: Any) -> Any:
        os._exit(3)


def dying(threads: int) -> LightEmbedder:
    return Dying()


class Mortal(LightEmbedder):
    """Dies of a marked text."""

    def infer(self, batch: Any) -> Any:
        if any(MARK in text for text in batch.texts):
            os._exit(7)
        time.sleep(0.05)
        return super().infer(batch)


def mortal(threads: int) -> LightEmbedder:
    return Mortal()


class LimitedStarts:
    """A factory that only so many workers can be made with."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most, self.parent = folder, most, os.getpid()

    def __call__(self, threads: int) -> LightEmbedder:
        if os.getpid() == self.parent:
            return LightEmbedder()
        for number in range(self.most):
            try:
                (self.folder / str(number)).touch(exist_ok=False)
            except FileExistsError:
                continue
            return Mortal()
        sys.exit("no more of these")


@pytest.mark.parametrize("most", [2, 3, 4, 5, 6])
def test_workers_that_run_out_in_the_midst_of_recovering(tmp_path: Path, most: int) -> None:
    """What killed workers is tried by those that are left, or fails; it never comes into this process."""
    work = batches(21)
    limits = Limits(failed_starts=2)
    with EmbedderPool(LimitedStarts(tmp_path, most), workers=2, limits=limits) as pool:
        found = list(pool.run(work))
    assert [embedded.batch for embedded in found] == work
    failed = {number for number, embedded in enumerate(found) if embedded.causes}
    assert 5 in failed
    assert all(cause.type == "WorkerDied" for embedded in found for cause in embedded.causes.values())
    if most > 4:  # one start for each of the four deaths, and one that is left
        assert failed == {5}
    else:  # what a dying worker held beside it, and no worker is left to tell apart
        assert len(failed) <= 2 * (LightEmbedder.concurrency + 1)
    assert found[5].causes[1].type == "WorkerDied"


def test_what_kills_is_tried_by_the_others_when_its_own_worker_is_retired() -> None:
    """Innocent texts that were beside a dying one are embedded even then."""
    fatal = [f"{MARK} {number}" for number in range(4)]
    work = [Batch(tuple(fatal), tuple(LightEmbedder().encode(fatal))), *batches()]
    with EmbedderPool(mortal, workers=2, limits=Limits(max_restarts=2)) as pool:
        found = list(pool.run(work))
        assert pool.stats()[2].state == "retired"
    for embedded in found:
        for row, text in enumerate(embedded.batch.texts):
            assert (row in embedded.causes) == (MARK in text)


def test_a_pool_does_not_outlive_a_fork() -> None:
    work = batches()
    with EmbedderPool(Factory(), workers=1) as pool:
        list(pool.run(work))
        read, write = os.pipe()
        if not (child := os.fork()):
            try:
                list(pool.run(work))
            except RuntimeError as error:
                os.write(write, str(error).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as said:
            assert "make a new one in this one" in said.read()
        os.waitpid(child, 0)
        check(list(pool.run(work)), work, None)


def test_a_pool_that_is_forgotten_ends_its_workers() -> None:
    pool = EmbedderPool(Factory(), workers=2)
    assert len(list(pool.run(batches()))) == 12
    assert len(children()) == 2
    del pool
    gc.collect()
    until(lambda: not children())


def test_closing_in_on_restart() -> None:
    pool: list[EmbedderPool] = []
    work = batches(5)
    pool.append(EmbedderPool(mortal, workers=2, on_restart=lambda _: pool[0].close()))
    with pytest.raises(RuntimeError, match="the pool was closed"):
        list(pool[0].run(work))
    until(lambda: not children())


@pytest.mark.parametrize("what", ["exit", "exception"])
def test_an_embedder_that_cannot_be_made_anywhere(what: str, caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(failed_starts=1)
    with (
        EmbedderPool(functools.partial(unmade, what), workers=1, limits=limits) as pool,
        pytest.raises(RuntimeError, match="no weights"),
    ):
        list(pool.run(batches()))
    assert "no weights" in caplog.text


def unmade(what: str, threads: int) -> LightEmbedder:
    if what == "exit":
        sys.exit("no weights")
    raise RuntimeError("no weights")


def test_a_factory_that_cannot_be_pickled() -> None:
    with pytest.raises(UsageError, match=r"cannot be sent to a worker .*define it at the top of a module"):
        EmbedderPool(lambda threads: LightEmbedder(), workers=1)


def test_a_damaged_model_is_told_as_in_one_process(tmp_path: Path) -> None:
    with (
        EmbedderPool(functools.partial(broken, str(tmp_path)), workers=2) as pool,
        pytest.raises(ModelError, match="fetch it again"),
    ):
        list(pool.run(batches()))


def broken(folder: str, threads: int) -> LightEmbedder:
    raise ModelError(f"{folder}: truncated: fetch it again")


def test_no_proc(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "none"))
    work = batches()
    with EmbedderPool(Factory(), workers=1) as pool:
        check(list(pool.run(work)), work, None)
    assert "without a memory limit" in caplog.text


def test_two_pools_in_one_process() -> None:
    work = batches()
    with EmbedderPool(Factory(), workers=1) as first, EmbedderPool(Factory(), workers=1) as second:
        runs = [first.run(work), second.run(work)]
        for left, right in zip(*runs, strict=True):
            np.testing.assert_array_equal(left.vectors, right.vectors)


def test_finish_within_ends_a_run_that_hangs() -> None:
    work = batches(21)
    with EmbedderPool(Factory("model call", "SIGSTOP"), workers=2) as pool:
        found = []
        for embedded in pool.run(work):
            found.append(embedded)
            if len(found) == 1:
                pool.finish_within(1.0)
    assert 0 < len(found) < len(work)


def test_closing_ends_a_run_in_another_thread() -> None:
    pool = EmbedderPool(Factory("model call", "SIGSTOP"), workers=1)
    seen: list[BaseException] = []

    def call() -> None:
        try:
            list(pool.run(batches(0)))
        except RuntimeError as error:
            seen.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    until(lambda: any(stats.state == "busy" for stats in pool.stats()))
    pool.close()
    thread.join()
    assert "closed" in str(seen[0])
    assert not children()
