"""Whatever a worker does, and wherever: the run ends, all other texts have their vectors, nothing is left behind."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from embedmill.core.vectors import Batch, Embedded
from embedmill.executors.processes.limits import Limits
from embedmill.executors.processes.pool import EmbedderPool
from faulty import HARM, IDLE_FOR, MARK, WHERE, Factory, LightEmbedder

LIMITS = Limits(
    max_memory_mb=200, start_seconds=2, deadline_seconds=1, deadline_factor=5, retry_seconds=0.5, failed_starts=3
)
HARMLESS = {"garbage on stdout"}
ERRORS = {"exception", "unpicklable exception"}
DEADLY = set(HARM) - HARMLESS - ERRORS


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = psutil.Process().num_fds()
    yield
    assert not psutil.Process().children(recursive=True)
    assert psutil.Process().num_fds() <= before


def batches(marked: int | None = None) -> list[Batch]:
    """Twelve batches of four texts; the text with this number is marked."""
    texts = [f"text {number} {'word ' * (number % 5)}" + (MARK if number == marked else "") for number in range(48)]
    light = LightEmbedder()
    return [
        Batch(tuple(texts[first : first + 4]), tuple(light.encode(texts[first : first + 4])))
        for first in range(0, 48, 4)
    ]


def check(found: list[Embedded], work: list[Batch], failed: int | None) -> None:
    light = LightEmbedder()
    assert [id(embedded.batch) for embedded in found] == [id(batch) for batch in work]
    for number, embedded in enumerate(found):
        wrong = {failed % 4} if failed is not None and failed // 4 == number else set()
        assert set(embedded.causes) == wrong
        good = [row for row in range(4) if row not in wrong]
        np.testing.assert_array_equal(embedded.vectors[good], light.infer(embedded.batch)[good])
        assert np.isnan(embedded.vectors[list(wrong)]).all()


@pytest.mark.parametrize("what", HARM)
@pytest.mark.parametrize("where", WHERE)
def test_fault(where: str, what: str, tmp_path: Path) -> None:
    marked = 21 if where in ("receiving", "model call", "sending") else None
    work = batches(marked)
    with EmbedderPool(Factory(where, what, tmp_path), workers=2, limits=LIMITS) as pool:
        if where == "idle":  # let the harm come while there is nothing to do
            list(pool.run(work[:2]))
            time.sleep(IDLE_FOR + 0.3)
        found = list(pool.run(work))
        deaths = pool.restarts
    failed = None if what in HARMLESS else marked
    check(found, work, failed)
    if failed is not None:
        cause = found[failed // 4].causes[failed % 4]
        if where == "model call" and what in ERRORS:
            assert cause.type == ("ValueError" if what == "exception" else "Unpicklable")
            assert deaths == 0
        else:
            assert cause.type in ("WorkerDied", "WorkerHung", "WorkerTooLarge")
            assert "SHA-256" in cause.message
            assert deaths <= 5  # log2(4) + 3


@pytest.mark.parametrize("what", sorted(DEADLY | ERRORS))
@pytest.mark.parametrize("where", ["starting", "loading"])
def test_no_worker_can_be_started(where: str, what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The pool gives up after a few starts, says so once, and embeds in this process."""
    if what in ("SIGSTOP", "endless loop", "memory without end") and where == "starting":
        pytest.skip("as while loading, and each of its starts takes two seconds")
    work = batches()
    with EmbedderPool(Factory(where, what, tmp_path, times=100), workers=2, limits=LIMITS) as pool:
        check(list(pool.run(work)), work, None)
        (said,) = pool.check_health()
        assert re.fullmatch(r"no worker process can be started \(.+\): texts are embedded in this process", said)
    assert caplog.text.count("embedding in this process") == 1
