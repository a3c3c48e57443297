"""Where the time of a run goes: seconds of work in each stage, and where that is asked for how long each call took."""

from __future__ import annotations

import random
import time
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from embedmill.runtime.sampling import Reservoir

T = TypeVar("T")
R = TypeVar("R")

_KEPT: Final = 10_000
"""Calls of a stage that the percentile is computed from, chosen at random: it is then right to within a half percent of
the calls, 19 times of 20."""


class Stages(dict[str, float]):
    """Seconds of work by stage. Stages overlap; each is added to by one thread at a time."""

    def add(self, stage: str, seconds: float) -> None:
        """Count a call of a stage."""
        self[stage] = self.get(stage, 0.0) + seconds

    def timed(self, stage: str, run: Callable[[Iterable[T]], Iterable[R]]) -> Callable[[Iterable[T]], Iterable[R]]:
        """The function as it is: its calls are not looked at, one by one."""
        return run


@dataclass(frozen=True, slots=True)
class StageCalls:
    """How long the calls of a stage took; all in seconds."""

    calls: int
    seconds: float  # of all
    mean: float
    p95: float  # 95 of 100 took at most so long


class Profile:
    """How long each call of each stage took, over one run or several."""

    def __init__(self) -> None:
        self._stages: dict[str, _Durations] = {}

    def stages(self) -> Stages:
        """What a run counts in."""
        return _Profiled(self)

    def note(self, stage: str, seconds: float) -> None:
        """Take down a call."""
        if stage not in self._stages:
            self._stages[stage] = _Durations()
        self._stages[stage].add(seconds)

    def result(self) -> dict[str, StageCalls]:
        """By stage, the one with most work first."""
        found = {stage: durations.calls() for stage, durations in self._stages.items()}
        return dict(sorted(found.items(), key=lambda item: -item[1].seconds))


class _Profiled(Stages):
    """Tells each call."""

    def __init__(self, profile: Profile) -> None:
        super().__init__()
        self._profile = profile

    def add(self, stage: str, seconds: float) -> None:
        super().add(stage, seconds)
        self._profile.note(stage, seconds)

    def timed(self, stage: str, run: Callable[[Iterable[T]], Iterable[R]]) -> Callable[[Iterable[T]], Iterable[R]]:
        """Tells for each item how long it was from its being taken to its result; `run` keeps their order."""

        def timed_run(items: Iterable[T]) -> Iterator[R]:
            begun: deque[float] = deque()

            def given() -> Iterator[T]:
                for item in items:
                    begun.append(time.perf_counter())
                    yield item

            results = run(given())
            try:
                for result in results:
                    self._profile.note(stage, time.perf_counter() - begun.popleft())
                    yield result
            finally:
                if isinstance(results, Generator):
                    results.close()

        return timed_run


class _Durations:
    """Lengths of time, a sample of which is kept."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._kept = array("d")
        self._sample = Reservoir(_KEPT, random.Random(0))  # noqa: S311 - no secret

    def add(self, seconds: float) -> None:
        self._sum += seconds
        place = self._sample.place()
        if place == len(self._kept):
            self._kept.append(seconds)
        elif place is not None:
            self._kept[place] = seconds

    def calls(self) -> StageCalls:
        ordered, count = sorted(self._kept), self._sample.offered
        return StageCalls(count, self._sum, self._sum / count, ordered[-(-95 * len(ordered) // 100) - 1])
