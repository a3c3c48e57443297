"""Of a batch that workers die of, exactly the culprits fail, at a bounded number of deaths."""

from __future__ import annotations

from collections import deque

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedmill.core.vectors import Batch, Cause, Embedded
from embedmill.executors.processes.recovery import Attempt, Job

DIED = Cause("WorkerDied", "killed")


def embedded(batch: Batch) -> Embedded:
    return Embedded(batch, np.array([[float(text), 1] for text in batch.texts], np.float32))


@given(st.integers(1, 64), st.data())
def test_only_culprits_fail(size: int, data: st.DataObject) -> None:
    culprits = data.draw(st.sets(st.integers(0, size - 1), max_size=3))
    batch = Batch(tuple(str(number) for number in range(size)), (np.zeros(1, np.int32),) * size)
    outcomes: list[Job] = []
    job = Job(batch, outcomes.append)
    attempts, deaths = deque([Attempt.of(job)]), 0
    while attempts:
        attempt = attempts.popleft()
        assert not outcomes
        if culprits & {int(text) for text in attempt.batch.texts}:
            deaths += 1
            attempts.extend(attempt.after_death(DIED, 2))
        else:
            attempt.settle(embedded(attempt.batch))
    assert len(outcomes) == 1
    result = job.outcome
    assert isinstance(result, Embedded) and result.batch is batch
    assert set(result.causes) == culprits
    good = [row for row in range(size) if row not in culprits]
    np.testing.assert_array_equal(result.vectors[good, 0], good)
    assert np.isnan(result.vectors[sorted(culprits)]).all()
    if culprits:
        assert deaths <= np.log2(size) + 3 if len(culprits) == 1 else deaths <= 2 + 2 * len(culprits)


@given(st.integers(1, 9))
def test_a_death_beside_another_text_costs_nothing(size: int) -> None:
    batch = Batch(tuple(str(number) for number in range(size)), (np.zeros(1, np.int32),) * size)
    job = Job(batch, lambda _: None)
    (again,) = Attempt.of(job).after_death(DIED, 2)
    assert again.batch is batch
    again.settle(embedded(batch))
    assert isinstance(job.outcome, Embedded) and not job.outcome.causes


def test_the_first_outcome_counts() -> None:
    told: list[Job] = []
    job = Job(Batch(("1",), (np.zeros(1, np.int32),)), told.append)
    job.finish(RuntimeError("closed"))
    Attempt.of(job).settle(embedded(job.batch))
    assert len(told) == 1 and isinstance(job.outcome, RuntimeError)
