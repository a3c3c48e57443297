"""A run that is polite: it takes fewer cores while others need them, and rests between calls."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli_runs import Shell
from embedmill import EmbedderPool
from embedmill.core.errors import UsageError
from embedmill.core.interfaces.executor import Executor
from embedmill.core.vectors import Batch
from embedmill.executors.pace import Pace, calls_at_once
from embedmill.executors.processes.limits import Limits
from embedmill.executors.threads import ThreadExecutor
from embedmill.runtime import machine
from faulty import LightEmbedder, Obedient, batch, obedient
from samples import prose
from troubled import SMALL_MODEL
from waiting import until

EXECUTORS: dict[str, Callable[[Pace], Executor]] = {
    "threads": lambda pace: ThreadExecutor(Obedient(), pace),
    "processes": lambda pace: EmbedderPool(obedient, workers=2, pace=pace),
    "none can be started": lambda pace: EmbedderPool(only_here(), workers=2, limits=Limits(failed_starts=1), pace=pace),
}


class only_here:
    """Makes an embedder in the process that has made it, and in no worker."""

    def __init__(self) -> None:
        self.process = multiprocessing.current_process().pid

    def __call__(self, threads: int) -> LightEmbedder:
        if multiprocessing.current_process().pid != self.process:
            sys.exit("not here")
        return Obedient()


@pytest.fixture(params=EXECUTORS)
def make(request: pytest.FixtureRequest) -> Callable[[Pace], Executor]:
    return EXECUTORS[request.param]


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Other programs that keep so many cores busy, as far as there are so many."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("max_load", "cores", "others", "most", "calls"),
    [
        (1.0, 8, 0.0, 8, 8),
        (1.0, 8, 0.15, 8, 8),  # the noise of an idle machine
        (1.0, 8, 3.0, 8, 5),
        (0.5, 8, 0.0, 8, 4),
        (0.5, 8, 4.0, 8, 2),
        (0.5, 8, 9.0, 8, 1),  # a run always goes on
        (0.8, 1, 0.0, 1, 1),
        (1.0, 8, 0.0, 4, 4),
    ],
)
def test_the_share_of_the_cores_that_others_leave(
    max_load: float, cores: int, others: float, most: int, calls: int
) -> None:
    assert calls_at_once(max_load, cores, others, most) == calls


@pytest.mark.parametrize("max_load", [0, -1, 1.5, float("nan")])
def test_shares_that_make_no_sense(max_load: float) -> None:
    with pytest.raises(UsageError, match=r"max_load is .*: give a share"):
        Pace(max_load)
    with pytest.raises(UsageError, match="sleep is -1: give seconds"):
        Pace(sleep=-1)


@pytest.mark.skipif(machine.cores() < 2, reason="one call is always allowed")
def test_a_busy_machine_lowers_the_calls_at_once_and_an_idle_one_raises_them() -> None:
    """With real processes that are busy. Each step waits for what it needs, as others may use the machine meanwhile."""
    pace, most = Pace(1.0), machine.cores()

    def until(condition: Callable[[int], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition(pace.places(most)):
                return True
            time.sleep(0.1)
        return False

    with busy(most):
        assert until(lambda places: places == 1, 60)
    if not until(lambda places: places > 1, 6):
        pytest.skip("others keep this machine busy all the time")


def test_calls_at_once_while_the_machine_is_busy(make: Callable[[Pace], Executor], tmp_path: Path) -> None:
    """One call at a time, all results, in order."""

    class Busy(Pace):
        def places(self, most: int) -> int:
            return 1

    pace = Busy(0.5)
    executor = make(pace)
    work = [batch(f"text {number}", f"another {number}") for number in range(20)]
    most = 0
    found = []
    for embedded in executor.run(work):
        most = max(most, pace._running)
        found.append(embedded)
    executor.close()
    assert [embedded.batch for embedded in found] == work
    assert not any(embedded.causes for embedded in found)
    assert most <= 1


def test_each_place_rests_after_a_call(make: Callable[[Pace], Executor]) -> None:
    executor = make(Pace(sleep=0.2))
    work = [batch(f"text {number}") for number in range(8)]
    begun = time.monotonic()
    assert [embedded.batch for embedded in executor.run(work)] == work
    places = 1 if executor.name == "threads" else machine.cores()
    rests = -(-len(work) // max(places, 1)) - 1
    assert time.monotonic() - begun >= 0.2 * rests  # it may always take longer
    executor.close()


def test_results_do_not_wait_for_a_rest_and_neither_does_a_stop(make: Callable[[Pace], Executor]) -> None:
    executor = make(Pace(sleep=3600.0))

    def endless() -> Iterator[Batch]:
        number = 0
        while True:
            number += 1
            yield batch(f"text {number}")

    found = []

    def run() -> None:
        found.extend(executor.run(endless()))

    results = executor.run(endless())
    next(results)  # though its place rests for an hour
    results.close()  # type: ignore[attr-defined]
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    executor.finish_within(0.1)
    while thread.is_alive():
        executor.finish_within(0.1)  # the run may have begun only now
        thread.join(0.2)
    assert len(found) < 20
    executor.close()


def test_a_command_that_rests_is_stopped_at_once(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(prose(number, 1 + number))
    shell = Shell(tmp_path, EMBEDMILL_MODEL=str(SMALL_MODEL), EMBEDMILL_CACHE="no", EMBED_SLEEP="3600")
    for executor in ("threads", "processes"):
        said = tmp_path / "said"
        with said.open("w") as file:
            process = shell.start(
                *("index", tmp_path, "--workers", "1", "--executor", executor, "--store", f"sqlite:{executor}.db"),
                "-v",
                stderr=file,
            )
            until(lambda name=executor: (tmp_path / f"{name}.db").exists(), process)  # type: ignore[misc]
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            process.communicate()
        assert process.returncode == 130, said.read_text()


@pytest.mark.parametrize("option", [["--sleep", "-1"], ["--sleep", "x"], ["--max-load", "0"], ["--max-load", "150%"]])
def test_what_does_not_fit(tmp_path: Path, option: list[str]) -> None:
    done = Shell(tmp_path).run("index", ".", *option)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and option[0] in done.stderr


def test_a_dry_run_does_not_rest(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(prose(number, 1 + number))
    shell = Shell(tmp_path, EMBEDMILL_MODEL=str(SMALL_MODEL), EMBEDMILL_CACHE="no", EMBED_SLEEP="3600")
    done = shell.run("index", ".", "--dry-run", "--workers", "1")
    assert done.returncode == 0 and "the estimate does not count the rests of --sleep" in done.stderr
