"""A batch: its jobs started as cores and memory allow, watched, ended where they have to be, and reported on."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final

from embedmill.core.checks import callables, switches, whole_number
from embedmill.core.errors import EmbedmillError, UsageError
from embedmill.core.interfaces.executor import Stoppable
from embedmill.engine.stopping import TO_FINISH
from embedmill.jobs.job import BatchJob, Manifest
from embedmill.jobs.job_kinds import outputs_are_there
from embedmill.jobs.manifest.read import read_manifest
from embedmill.jobs.running.capacity import Capacity, JobNeed, RunningJob, need_of
from embedmill.jobs.running.job_process import JobProcess
from embedmill.jobs.running.messages import JobEnded, JobOrder, LoggedLine, StopOrder
from embedmill.jobs.running.progress import progress_of
from embedmill.jobs.running.report_files import check_report_folder, locked_report, read_results, write_report
from embedmill.jobs.running.results import BatchProgress, BatchReport, JobProgress, JobResult, JobState, digest_of
from embedmill.runtime import machine
from embedmill.runtime.passwords import masked
from embedmill.runtime.paths import FilePath

log = logging.getLogger("embedmill")

_TICK: Final = 0.2  # seconds from one look at all jobs to the next
_TO_END: Final = 2 * TO_FINISH  # seconds that a job has that is asked to stop: for what is in flight, and to wind up
_MEASURED_APART: Final = 1.0  # seconds from one look at the jobs' memory to the next: each lists all processes
_WRITTEN_APART: Final = 1.0  # seconds from one report on the disk to the next
_WRITING_SHARE: Final = 20  # times what writing takes, at least
_MOST_AT_ONCE: Final = 1_000

OnBatchProgress = Callable[[BatchProgress], object]


def run_batch(
    manifest: FilePath | Manifest,
    *,
    resume: bool = False,
    jobs: int | None = None,
    report: FilePath | None = None,
    on_progress: OnBatchProgress | None = None,
    on_start: Callable[[Stoppable], None] = lambda _: None,
) -> BatchReport:
    """Run the jobs of a manifest side by side, each in a process of its own: the command ``embedmill batch``.

    `manifest` is what `read_manifest` takes, or has given. At most so many `jobs` run at once, by default as many as
    there are cores, and fewer where memory is short. `report` is the folder that ``batch_report.json`` and
    ``batch_report.md`` are written to while the batch runs; without it none is written. With `resume` only those jobs
    run that have not succeeded by the report that is there, or that do something else now.

    `on_progress` is told several times a second how far the batch has come, `on_start` of what has `stop()`, which
    ends it early: running jobs finish what is in flight. A job that fails, whose process dies, or that takes longer
    than its timeout leaves the others alone; what became of it is in the report.

    Raises `ManifestError` for mistakes in the manifest, `UsageError` for arguments that make no sense and for a report
    that cannot be read or written, before any job begins.
    """
    switches(resume=resume)
    callables(on_progress=on_progress, on_start=on_start)
    if jobs is not None:
        whole_number("jobs", jobs, 1, _MOST_AT_ONCE)
    if not isinstance(manifest, str | os.PathLike | Manifest):
        raise TypeError(f"expected the path of a manifest or what read_manifest gives, got a {type(manifest).__name__}")
    folder = None if report is None else Path(report)
    if resume and folder is None:
        raise UsageError("resume goes on from a report: say in which folder it is")
    read = manifest if isinstance(manifest, Manifest) else read_manifest(manifest)
    if folder is not None:
        check_report_folder(folder)
    with nullcontext() if folder is None else locked_report(folder):
        before = read_results(folder, read.path) if folder is not None and resume else {}
        run = BatchRun(read, jobs, folder, before, on_progress or (lambda _: None))
        on_start(run)
        return run.run()


@dataclass(eq=False, slots=True)
class _Running:
    """A job that runs."""

    job: BatchJob
    need: JobNeed
    process: JobProcess
    began: float
    progress: JobProgress
    memory_mb: float = 0.0
    peak_mb: float = 0.0
    ends_as: JobState | None = None  # what it is asked to end as, where it is
    killed_at: float | None = None  # when it has to have ended then

    @property
    def taken(self) -> RunningJob:
        return RunningJob(self.need, self.memory_mb)


class BatchRun:
    """The run of one batch; `stop` may be called from a signal handler or another thread."""

    def __init__(
        self,
        manifest: Manifest,
        at_once: int | None,
        folder: Path | None,
        before: Mapping[str, JobResult],
        on_progress: OnBatchProgress,
    ) -> None:
        self._manifest, self._folder, self._on_progress = manifest, folder, on_progress
        self._needs = needs = {job.name: need_of(job) for job in manifest.jobs}
        self._digests = {job.name: digest_of(job) for job in manifest.jobs}
        self._results: dict[str, JobResult] = {}
        peaks: dict[JobNeed, float] = {}
        for job in manifest.jobs:
            if (earlier := before.get(job.name)) and earlier.digest == self._digests[job.name]:
                peaks[needs[job.name]] = max(earlier.peak_mb, peaks.get(needs[job.name], 0.0))
                if earlier.state == JobState.SUCCEEDED and outputs_are_there(job.command, job.arguments):
                    self._results[job.name] = replace(earlier, earlier=True)
        self._waiting = [job for job in manifest.jobs if job.name not in self._results]
        self._capacity = Capacity(at_once, peaks)
        self._running: list[_Running] = []
        self._idle: list[JobProcess] = []
        self._most_at_once = 0
        self._stopping = False
        self._started = time.monotonic()
        self._measure_at = self._started
        self._write_at = self._started + _WRITTEN_APART
        self._kills = machine.killed_for_memory()

    def stop(self) -> None:
        """End the batch early: what runs finishes what is in flight, what waits does not begin."""
        self._stopping = True

    def run(self) -> BatchReport:
        """Run all jobs, and tell what became of them."""
        try:
            while self._running or (self._waiting and not self._stopping):
                self._begin_jobs()
                ready = wait([running.process.connection for running in self._running], _TICK)
                for running in [each for each in self._running if each.process.connection in ready]:
                    self._receive(running)
                self._look_after()
                self._on_progress(self._progress())
            report = self._report()
        finally:
            for running in self._running:
                running.process.end()
            for process in self._idle:
                process.dismiss()
        return self._with_files(report)

    def _begin_jobs(self) -> None:
        while self._waiting and not self._stopping:
            taken = [running.taken for running in self._running]
            cores = self._capacity.cores_for_next(len(taken), len(self._waiting))
            if not cores:
                return
            room = self._capacity.room_beside(taken, sum(process.memory_mb() for process in self._idle))
            fitting = (job for job in self._waiting if self._capacity.memory_of(self._needs[job.name]) <= room)
            if (job := next(fitting, None)) is None:
                return
            self._waiting.remove(job)
            self._begin(job, cores)

    def _begin(self, job: BatchJob, cores: int) -> None:
        try:
            process = self._idle.pop() if self._idle else JobProcess(cores)
        except OSError as error:
            self._results[job.name] = self._result(
                job, JobState.FAILED, error=f"its process cannot be started: {error}"
            )
            return
        process.order(JobOrder(job, cores, log.getEffectiveLevel()))
        started = JobProgress(job.name, pid=process.pid)
        self._running.append(_Running(job, self._needs[job.name], process, time.monotonic(), started))
        self._most_at_once = max(self._most_at_once, len(self._running))

    def _receive(self, running: _Running) -> None:
        """Take all that a job's process has to say."""
        while running.process.connection.poll():
            told = running.process.receive()
            if isinstance(told, JobProgress):
                running.progress = told
            elif isinstance(told, LoggedLine):
                log.log(told.level, "%s: %s", running.job.name, told.text)
            else:
                self._end(running, told if isinstance(told, JobEnded) else None)
                return

    def _end(self, running: _Running, ended: JobEnded | None) -> None:
        """A job has ended: with its process, where it says no more."""
        self._measure(running)
        self._running.remove(running)
        if ended is None:
            state, error = running.ends_as or JobState.CRASHED, self._last_words(running)
        else:
            state, error = _end_of(ended, running.ends_as), ended.error or ended.left
            if ended.trace:
                log.debug("%s: %s", running.job.name, ended.trace)
            sound = state in (JobState.SUCCEEDED, JobState.INCOMPLETE)
            if sound:
                self._capacity.note(running.need, running.peak_mb)
            if sound and self._waiting:
                self._idle.append(running.process)
            else:  # it is not needed, or what an error has left behind in it is not known
                running.process.dismiss()
        if state == JobState.TIMED_OUT:
            error = f"it took longer than its timeout of {running.job.timeout:,.6g} s"
        self._results[running.job.name] = self._result(
            running.job,
            state,
            seconds=round(time.monotonic() - running.began, 3),
            error=error,
            report=ended.report if ended else None,
            peak_mb=round(running.peak_mb, 1),
        )
        if state not in (JobState.SUCCEEDED, JobState.INTERRUPTED):
            log.info("%s: %s: %s", running.job.name, state, error)

    def _last_words(self, running: _Running) -> str:
        kills, before = machine.killed_for_memory(), self._kills
        self._kills = kills
        words = masked(running.process.end())
        if kills > before and "SIGKILL" in words:
            return f"memory was too short, and the kernel ended it ({words}): run fewer jobs at once"
        return words

    def _look_after(self) -> None:
        """Measure all jobs, and end those that are to be ended."""
        now = time.monotonic()
        if now > self._measure_at:
            self._measure_at = now + _MEASURED_APART
            for running in self._running:
                self._measure(running)
        for running in list(self._running):
            timeout = running.job.timeout
            if running.ends_as is None:
                if self._stopping:
                    running.ends_as = JobState.INTERRUPTED
                elif timeout is not None and now - running.began > timeout:
                    running.ends_as = JobState.TIMED_OUT
                if running.ends_as is not None:
                    running.killed_at = now + _TO_END
                    running.process.order(StopOrder())
            elif running.killed_at is not None and now > running.killed_at:
                self._end(running, None)
        if now > self._write_at:
            self._with_files(self._report())  # as it is if this process ends now
            taken = time.monotonic() - now
            self._write_at = now + max(_WRITTEN_APART, _WRITING_SHARE * taken)

    def _measure(self, running: _Running) -> None:
        running.memory_mb = running.process.memory_mb()
        running.peak_mb = max(running.peak_mb, running.memory_mb)

    def _result(self, job: BatchJob, state: JobState, **more: object) -> JobResult:
        digest = self._digests[job.name]
        return JobResult(job.name, job.command, state, job.axes, digest=digest, **more)  # type: ignore[arg-type]

    def _progress(self) -> BatchProgress:
        running = [each.progress for each in self._running]
        seconds = time.monotonic() - self._started
        return progress_of(len(self._manifest.jobs), list(self._results.values()), running, seconds)

    def _report(self) -> BatchReport:
        states = {running.job.name: JobState.INTERRUPTED for running in self._running}
        results = [
            self._results.get(job.name) or self._result(job, states.get(job.name, JobState.NOT_RUN))
            for job in self._manifest.jobs
        ]
        interrupted = any(result.state in (JobState.INTERRUPTED, JobState.NOT_RUN) for result in results)
        seconds = round(time.monotonic() - self._started, 3)
        return BatchReport(str(self._manifest.path), tuple(results), seconds, self._most_at_once, interrupted)

    def _with_files(self, report: BatchReport) -> BatchReport:
        """Write the report, where that is wanted; what keeps it from being written is said in what is given back."""
        if self._folder is None:
            return report
        try:
            write_report(report, self._folder)
        except EmbedmillError as error:
            return replace(report, not_written=str(error))
        return report


def _end_of(ended: JobEnded, asked: JobState | None) -> JobState:
    if ended.error:
        return asked or JobState.FAILED
    if ended.interrupted:
        return asked or JobState.INTERRUPTED
    return JobState.INCOMPLETE if ended.left else JobState.SUCCEEDED
