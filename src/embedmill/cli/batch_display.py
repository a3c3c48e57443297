"""How far a batch has come, shown to people while it runs: all jobs in one line, and each that runs in its own."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TextIO

from embedmill.cli.output import one_line
from embedmill.cli.progress import LINES_APART, REDRAWN, SHOWN_AFTER, Speed, clock, filler, takes_drawings

if TYPE_CHECKING:
    from embedmill.jobs.running.results import BatchProgress, JobProgress

_CLEAR_BELOW: Final = "\r\x1b[J"
_MOST_LINES: Final = 20  # of running jobs, on a terminal; it may have fewer
_NAME: Final = 24  # characters of a job's name
_DRAWN: Final = 16  # characters of a drawn share


class BatchDisplay:
    """Shows the progress of a batch; this one shows nothing."""

    def show(self, progress: BatchProgress) -> None:
        """Show this state, or leave it out where the last one is recent."""

    def close(self) -> None:
        """Show no more."""


class _BatchOnStream(BatchDisplay):
    """What is written to a stream; that nobody reads it does not stop the batch."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._speed = Speed()

    def _facts(self, progress: BatchProgress) -> str:
        """All jobs in one line: those completed, items, rate and time left."""
        words = [f"jobs {progress.completed:,} of {progress.jobs:,}"]
        words += [f"not succeeded {progress.unsuccessful:,}"] if progress.unsuccessful else []
        if progress.total is not None:
            about = "" if progress.completed == progress.jobs else "about "
            words.append(f"items {progress.done:,} of {about}{round(progress.total):,}")
        if (rate := self._speed.per_second()) is not None:
            words.append(f"{rate:,.0f}/s")
        if seconds := self._speed.seconds_for(1 - progress.share):
            words.append(f"{clock(seconds)} left")
        return ", ".join(words)

    def _write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)
            self._stream.flush()


class BatchLines(_BatchOnStream):
    """Some lines now and then, for logs."""

    _next = LINES_APART

    def show(self, progress: BatchProgress) -> None:
        """Write a line for the batch, and one for each job that runs, if it is time."""
        self._speed.add(progress)
        if progress.seconds >= self._next:
            self._next = progress.seconds + LINES_APART
            running = [f"  {line}" for line in map(_job_line, progress.running)]
            self._write("\n".join([self._facts(progress), *running]) + "\n")


class BatchScreen(_BatchOnStream):
    """Lines of a terminal, drawn again and again."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._draw = filler(stream)
        self._visible = False
        self._drawn = 0.0

    def show(self, progress: BatchProgress) -> None:
        """Draw this state, if the last drawing is old enough."""
        self._speed.add(progress)
        if progress.seconds < SHOWN_AFTER or progress.seconds < self._drawn + REDRAWN:
            return
        self._drawn = progress.seconds
        width, height = shutil.get_terminal_size()
        shown = progress.running[: max(0, min(_MOST_LINES, height - 3))]
        lines = [f"{self._facts(progress)}  {self._draw(progress.share, _DRAWN)} {progress.share:4.0%}"]
        lines += [f"  {_job_line(job, self._draw(job.share or 0.0, _DRAWN))}" for job in shown]
        if hidden := len(progress.running) - len(shown):
            lines.append(f"  and {hidden} more")
        up = f"\x1b[{len(lines) - 1}A" if len(lines) > 1 else ""
        self._visible = True
        # The cursor waits at the beginning: a message takes the place of the drawing, which is drawn anew below it.
        self._write(_CLEAR_BELOW + "\n".join(line[: width - 1] for line in lines) + "\r" + up)

    def close(self) -> None:
        """Leave the place empty."""
        if self._visible:
            self._visible = False
            self._write(_CLEAR_BELOW)


def _job_line(job: JobProgress, drawn: str = "") -> str:
    name = one_line(job.name)
    name = name if len(name) <= _NAME else name[: _NAME - 3] + "..."
    words = [f"{job.share:4.0%}"] if job.share is not None else []
    words.append(job.doing or job.counts or "starting")
    words += [f"failed {job.failed:,}"] if job.failed else []
    return f"{name:<{_NAME}}  {drawn + ' ' if drawn else ''}{', '.join(words)}"


def batch_display_on(stream: TextIO | None) -> BatchDisplay:
    """What shows a batch on `stream`: drawn where people look on, else lines, or nothing where there is none."""
    if stream is None:
        return BatchDisplay()
    return BatchScreen(stream) if takes_drawings(stream) else BatchLines(stream)
