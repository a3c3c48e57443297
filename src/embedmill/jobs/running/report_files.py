"""``batch_report.json`` and ``batch_report.md``: what a batch tells of its jobs, and goes on from."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from embedmill.core.errors import EmbedmillError, UsageError
from embedmill.jobs.running.comparison import compared
from embedmill.jobs.running.results import REPORT_NAME, BatchReport, JobResult
from embedmill.runtime import locks
from embedmill.runtime.atomic import write_atomically
from embedmill.runtime.outputs import why_not
from embedmill.runtime.paths import quote_path

log = logging.getLogger(__name__)

MARKDOWN_NAME: Final = "batch_report.md"

_VERSION: Final = 1
_LARGEST: Final = 1 << 28  # bytes


def check_report_folder(folder: Path) -> None:
    """Make the folder, and raise `UsageError` where a report could not be written there."""
    try:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        folder.mkdir(parents=True, exist_ok=True)
        reason = why_not(folder / REPORT_NAME) or why_not(folder / MARKDOWN_NAME)
    except OSError as error:
        reason = error.strerror or str(error)
    if not reason and not os.access(folder, os.W_OK | os.X_OK):
        reason = os.strerror(errno.EACCES)
    if reason:
        raise UsageError(f"the report cannot be written to {quote_path(str(folder))}: {reason}: give another --report")


@contextmanager
def locked_report(folder: Path) -> Iterator[None]:
    """Keep others from writing a report into this folder. Raises `UsageError` where another batch does already."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            locks.acquire(descriptor)
        except BlockingIOError:
            where = quote_path(str(folder))
            raise UsageError(
                f"another batch is running that reports to {where}: wait for its end, or give another --report"
            ) from None
        except OSError:
            log.debug("%s: its file system has no locks", folder)
        yield
    finally:
        os.close(descriptor)


def write_report(report: BatchReport, folder: Path) -> None:
    """Put both files into the folder, each at once. Raises `EmbedmillError` where that cannot be done."""
    told = {"version": _VERSION, **report.to_dict()}
    files = {
        REPORT_NAME: json.dumps(told, indent=2, ensure_ascii=False, default=str) + "\n",
        MARKDOWN_NAME: "\n".join(_markdown(report)) + "\n",
    }
    failed: list[str] = []
    for name, text in files.items():
        try:
            write_atomically(folder / name, [text.encode("utf-8", "backslashreplace")])
        except OSError as error:
            remedy = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "let it be written"
            failed.append(f"{quote_path(str(folder / name))} cannot be written ({error.strerror or error}): {remedy}")
    if failed:
        raise EmbedmillError(f"{failed[0]}, then the same command with --resume runs what no report has as succeeded")


def read_results(folder: Path, manifest: Path) -> dict[str, JobResult]:
    """What the last report in this folder says of each job, by its name; empty where there is none.

    Raises `UsageError` where it cannot be read, and where it is the report of another manifest.
    """
    path = folder / REPORT_NAME
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is too large")
        told = json.loads(path.read_bytes())
        if told["version"] != _VERSION:
            raise ValueError(f"it is of version {told['version']!r:.40}")
        found = {job["name"]: JobResult.of_dict(job) for job in told["jobs"]}
        other = Path(told["manifest"]).name
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{quote_path(str(path))} cannot be read ({error.strerror}): let it be read") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{quote_path(str(path))} is no report of a batch ({str(error).splitlines()[0]:.200}): remove it, or leave "
            "--resume out"
        ) from None
    if other != manifest.name:
        raise UsageError(
            f"{quote_path(str(path))} is the report of another batch, {quote_path(other)}: leave --resume out, or give "
            "each a --report of its own"
        )
    return found


def _markdown(report: BatchReport) -> Iterator[str]:
    states = ", ".join(f"{number} {state}" for state, number in report.states().items())
    yield f"# Batch {_cell(report.manifest)}"
    yield ""
    number = f"{len(report.jobs):,} {'job' if len(report.jobs) == 1 else 'jobs'}"
    yield f"{number}: {states}; {report.seconds:.1f} s, at most {report.at_once} at once."
    yield ""
    counted = list(dict.fromkeys(name for job in report.jobs for name in job.counts()))
    head = ["job", "command", "result", *counted, "seconds", "memory, MB", "error"]
    rows = [
        [
            job.name,
            job.command,
            f"{job.state}{' before' if job.earlier else ''}",
            *(_number(job.counts().get(name, "")) for name in counted),
            f"{job.seconds:.1f}",
            f"{job.peak_mb:.0f}" if job.peak_mb else "",
            job.error,
        ]
        for job in report.jobs
    ]
    yield from _table(head, rows, right={*counted, "seconds", "memory, MB"})
    for matrix in compared(report.jobs):
        yield ""
        yield f"## Compared by {_cell(', '.join(matrix.axes))} ({matrix.command})"
        yield ""
        rows = [list(map(_number, row)) for row in matrix.rows]
        yield from _table([*matrix.axes, *matrix.columns], rows, right=set(matrix.columns[1:]))
        if matrix.alike:
            yield ""
            yield "All other numbers are the same in these jobs."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: set[str]) -> Iterator[str]:
    yield "| " + " | ".join(map(_cell, head)) + " |"
    yield "|" + "|".join(" ---: " if name in right else " --- " for name in head) + "|"
    for row in rows:
        yield "| " + " | ".join(map(_cell, row)) + " |"


def _cell(text: str) -> str:
    return re.sub(r"([\\|*_`\[\]])", r"\\\1", text.replace("\n", " ")).replace("<", "&lt;")


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
