"""How many jobs may run at once, and what each may take: of the cores a part, and as much memory as it needs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from embedmill.api.read_settings import read_settings
from embedmill.api.settings import Settings
from embedmill.core.errors import EmbedmillError
from embedmill.embedders.testing import is_test_model
from embedmill.jobs.job import BatchJob
from embedmill.jobs.job_kinds import JOB_KINDS
from embedmill.models import locate
from embedmill.runtime import machine

_MB: Final = 1 << 20
_PROCESS_MB: Final = 300.0  # of a job's process without a model: measured 90 to 250, by what it imports
_PER_WEIGHTS: Final = 4.0  # of the weights' size is what a process takes to load and use them: measured 2 to 3.5
_MARGIN: Final = 1.1  # of what was measured
_PARTS: Final = 2  # of the cores a job may take twice its part: others read or write meanwhile, or have ended
_OF_NEED: Final = ("model", "precision", "executor", "workers")  # settings
_LEFT_FREE: Final = 0.05  # of all memory


class JobNeed(NamedTuple):
    """What the need of a job for memory depends on: jobs of which this is equal take about the same."""

    command: str
    model: str
    precision: str
    executor: str
    workers: int


class RunningJob(NamedTuple):
    """What is taken by a job that runs."""

    need: JobNeed
    memory_mb: float  # now


class Capacity:
    """What the machine has for jobs, and what those that have run have taken."""

    def __init__(self, at_once: int | None, measured: Mapping[JobNeed, float]) -> None:
        """At most so many jobs `at_once`, by default as many as there are cores.

        `measured` are the megabytes that jobs of these needs have taken in a run before.
        """
        self.at_once = at_once or machine.cores()
        self._peaks = dict(measured)
        self._estimates: dict[JobNeed, float] = {}

    def cores_for_next(self, running: int, waiting: int) -> int:
        """How many cores the next job may keep busy beside those that run. 0: it has to wait."""
        beside = min(self.at_once, running + waiting)
        if running >= beside:
            return 0
        return min(machine.cores(), math.ceil(_PARTS * machine.cores() / beside))

    def room_beside(self, running: Collection[RunningJob], idle_mb: float) -> float:
        """Megabytes left for one job more when those that run have grown to what they need; endless where none runs.

        `idle_mb` are those of processes that wait for the next job.
        """
        if not running:
            return math.inf
        promised = sum(max(0.0, self.memory_of(job.need) - job.memory_mb) for job in running)
        return (machine.available_memory() - _LEFT_FREE * machine.memory()) / _MB + idle_mb - promised

    def memory_of(self, need: JobNeed) -> float:
        """Megabytes that a job needs: as measured, else by the size of its model."""
        if need in self._peaks:
            return self._peaks[need] * _MARGIN
        if need not in self._estimates:
            weights = weights_mb(need.model) * max(1, need.workers)
            self._estimates[need] = _PROCESS_MB + _PER_WEIGHTS * weights
        return self._estimates[need]

    def note(self, need: JobNeed, peak_mb: float) -> None:
        """Take note of what a job has taken at most, one that came to its end."""
        self._peaks[need] = max(peak_mb, self._peaks.get(need, 0.0))


def need_of(job: BatchJob) -> JobNeed:
    """What a job's need for memory depends on."""
    kind = JOB_KINDS[job.command].variant(job.arguments)
    names = [name for name in _OF_NEED if name in kind.settings.__annotations__]
    chosen = read_settings({name: job.arguments[name] for name in names if name in job.arguments}, names)
    model = chosen.model if "model" in names else ""
    return JobNeed(job.command, model, chosen.precision, chosen.executor, _models_in_memory(chosen))


def _models_in_memory(chosen: Settings) -> int:
    """Worker processes have a model each; threads share one."""
    return (chosen.workers or machine.cores()) if chosen.executor == "processes" else 1


def weights_mb(model: str) -> float:
    """Megabytes of a model's files; 0 of one that has none, or is not on this machine yet."""
    if not model or is_test_model(model):
        return 0.0
    try:
        folder = locate(model, fetch=False).folder
        return sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / _MB
    except (EmbedmillError, OSError):
        return 0.0
