"""What is remembered of runs: how each went on while it ran, and what it did.

A run has a file of its own, of JSON lines: first what it is, then a line now and then, last what came of it. So several
runs do not get in each other's way, a kill costs the last line at most, and of what grows old whole files go. A file
that cannot be written is done without: no run is slowed or ended by what is remembered of it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeVar

from embedmill.core.reports import Report, WorkerStats
from embedmill.runtime import locks, machine

KEPT: Final = 20
"""Runs that are remembered of one place."""

_PLACES: Final = 200  # that are remembered, those that were used last

_FIRST: Final = 1.0  # seconds from one line to the next
_APART: Final = 0.01  # of the run's time so far, where that is more: so a day has some 780 lines

_REPORTED: Final = (
    *("seconds", "documents", "unchanged", "chunks", "embedded", "cached", "duplicates", "failed", "tokens"),
    *("model", "precision", "executor", "workers", "restarts", "retries", "stages", "interrupted"),
)

_OF_WORKERS: Final = ("worker", "documents", "batches", "rss_mb", "restarts")

_LARGEST: Final = 4 << 20  # bytes of a file that are read: some forty times what a run writes


class RunState(Protocol):
    """How far a run has come."""

    @property
    def done(self) -> int:
        """The chunks, or rows, that have become something."""

    @property
    def failed(self) -> int:
        """Those that have not got a vector."""


S = TypeVar("S", bound=RunState)
R = TypeVar("R", bound=Report)


@dataclass(frozen=True, slots=True)
class WorkerMemory:
    """What a process of a run took."""

    worker: int  # its place in the pool; -1 for the process of the run itself
    megabytes: float
    restarts: int  # of this place so far


@dataclass(frozen=True, slots=True)
class Moment:
    """How a run stood."""

    seconds: float
    done: int  # chunks or rows
    failed: int
    cached: int | None  # of those done, by what was known from before; None where that is told at the end alone
    memory: Sequence[WorkerMemory]


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What is remembered of a run."""

    command: str
    table: str  # "" of a run over files
    began: float  # seconds since the epoch
    outcome: str  # "finished", "interrupted", "failed: NAME", "running" or "killed"
    moments: Sequence[Moment]
    report: Mapping[str, Any] = field(default_factory=dict)  # fields of `Report`; empty unless it came to its end


class RunLog:
    """Takes down one run, for the time of a `with` block.

    Nothing is written of a run that had nothing to do, or within its first second.
    """

    def __init__(self, folder: Callable[[], Path | None], command: str, table: str = "") -> None:
        """`folder` gives where runs of this kind are taken down, or None for nowhere; asked for when that begins."""
        self._folder = folder
        self._off = False
        self._head = {"command": command, "table": table, "began": time.time()}
        self._file: int | None = None
        self._begun = time.perf_counter()
        self._next = _FIRST
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None and self._file is not None and not self._ended:
            self._write({"error": kind.__name__})
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None

    def watch(self, show: Callable[[S], None], stats: Callable[[], Sequence[WorkerStats]]) -> Callable[[S], None]:
        """What is to be called in the place of `show`; `stats` tells of the worker processes."""

        def shown(state: S) -> None:
            seconds = time.perf_counter() - self._begun
            if seconds >= self._next and not self._off:
                self._next = seconds + max(_FIRST, _APART * seconds)
                self._note(seconds, state, stats())
            show(state)

        return shown

    def finish(self, report: R) -> R:
        """Note what the run did, and give that back."""
        if report.chunks or self._file is not None:
            facts = report.to_dict()
            kept: dict[str, Any] = {name: facts[name] for name in _REPORTED}
            kept["worker_stats"] = [
                {name: getattr(each, name) for name in _OF_WORKERS} | {"causes": dict(each.causes)}
                for each in report.worker_stats
            ]
            self._write({"report": kept})
            self._ended = True
        return report

    def _note(self, seconds: float, state: RunState, workers: Sequence[WorkerStats]) -> None:
        memory = [[-1, round(machine.resident_memory() / (1 << 20), 1), 0]]
        memory += [[each.worker, round(each.rss_mb, 1), each.restarts] for each in workers]
        moment = {"at": round(seconds, 2), "done": state.done, "failed": state.failed, "memory": memory}
        cached = getattr(state, "cached", None)
        self._write(moment if cached is None else moment | {"cached": cached})

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._off:
            return
        try:
            if self._file is None and (folder := self._folder()) is not None:
                self._file = self._begin(folder)
            if self._file is not None:
                os.write(self._file, json.dumps(line).encode() + b"\n")
        except OSError:  # a full disk, a folder that may not be written
            self._off = True

    def _begin(self, folder: Path) -> int:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True)
            _forget_places(folder.parent)
            (folder.parent / ".gitignore").write_text("*\n")  # should somebody index the folder that all lies in
        for old in _files(folder)[KEPT - 1 :]:
            old.unlink(missing_ok=True)
        path = folder / f"{time.time_ns():020}-{os.getpid()}.jsonl"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # of a file system without locks
            locks.acquire(file)  # until this process ends, however it does
        os.write(file, json.dumps(self._head).encode() + b"\n")
        return file


def read_runs(folder: Path | None) -> list[RecordedRun]:
    """The runs that are remembered in a folder, the newest first. What cannot be read is left out."""
    found = (_read(path) for path in (_files(folder) if folder else []))
    return [run for run in found if run is not None]


def _files(folder: Path) -> list[Path]:
    """The newest first."""
    with suppress(OSError):
        return sorted(folder.glob("*.jsonl"), reverse=True)
    return []


def _forget_places(folder: Path) -> None:
    """Remove what is remembered of the places that have not been used for longest."""
    places = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for place in places[:-_PLACES]:
        for path in place.iterdir():
            path.unlink(missing_ok=True)
        place.rmdir()


def _read(path: Path) -> RecordedRun | None:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST)
            running = not _can_be_locked(file.fileno())
    except OSError:
        return None
    head, *rest = _lines(content) or [{}]
    try:
        moments = [_moment(line) for line in rest if "at" in line]
        report = next((_report(line["report"]) for line in rest if "report" in line), {})
        error = next((str(line["error"]) for line in rest if "error" in line), "")
        outcome = "interrupted" if report.get("interrupted") else "finished" if report else f"failed: {error}"
        if not report and not error:
            outcome = "running" if running else "killed"
        return RecordedRun(str(head["command"]), str(head["table"]), float(head["began"]), outcome, moments, report)
    except (
        LookupError,
        TypeError,
        ValueError,
        OverflowError,
        AttributeError,
    ):  # written by another version, or damaged
        return None


def _lines(content: bytes) -> list[dict[str, Any]]:
    """The whole lines; the last one may be torn."""
    found = []
    for line in content.split(b"\n"):
        with suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append(value)
    return found


def _report(noted: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a report, as many and of the kinds that are written here."""
    found = {name: noted[name] for name in (*_REPORTED, "worker_stats")}
    found["stages"] = {str(name): float(seconds) for name, seconds in found["stages"].items()}
    found["worker_stats"] = [
        {name: float(each[name]) if name == "rss_mb" else int(each[name]) for name in _OF_WORKERS}
        | {"causes": {str(cause): int(number) for cause, number in each["causes"].items()}}
        for each in found["worker_stats"]
    ]
    numbers = set(_REPORTED) - {"stages", "model", "precision", "executor"}
    return found | {name: (float if name == "seconds" else int)(found[name]) for name in numbers}


def _moment(line: Mapping[str, Any]) -> Moment:
    memory = [WorkerMemory(int(worker), float(size), int(restarts)) for worker, size, restarts in line["memory"]]
    cached = line.get("cached")
    known = None if cached is None else int(cached)
    return Moment(float(line["at"]), int(line["done"]), int(line["failed"]), known, memory)


def _can_be_locked(file: int) -> bool:
    try:
        locks.acquire(file)
    except OSError:
        return False
    locks.release(file)
    return True
