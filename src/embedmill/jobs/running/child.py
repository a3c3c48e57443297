"""The process of jobs: does one after another as they come over its socket, until the socket closes."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, Final, NoReturn

from embedmill.api.kept_embedder import keep_embedder
from embedmill.api.read_settings import unknown_variables
from embedmill.core.errors import EmbedmillError
from embedmill.core.interfaces.executor import Stoppable
from embedmill.jobs.job_kinds import total_of
from embedmill.jobs.running.messages import JobEnded, JobOrder, LoggedLine, StopOrder
from embedmill.jobs.running.results import JobProgress
from embedmill.runtime import machine
from embedmill.runtime.child_process import belong_to
from embedmill.runtime.passwords import masked

_TOLD_APART: Final = 0.2  # seconds from one state to the next that is passed on


def main(descriptor: int, parent: int) -> NoReturn:
    """Do jobs for the process `parent` until it closes the socket with this descriptor, or is no more."""
    belong_to(parent)
    for variable in unknown_variables(os.environ):  # the batch has named them
        del os.environ[variable]
    keep_embedder()
    link = _Link(Connection(descriptor))
    threading.Thread(target=link.listen, name="orders", daemon=True).start()
    log = logging.getLogger("embedmill")
    log.propagate = False
    while True:
        order = link.orders.get()
        log.handlers = [_PassedOn(link, order.level)]
        log.setLevel(order.level)
        link.send(_done(order, link))


class _Link:
    """The child's end of the socket."""

    def __init__(self, connection: Connection) -> None:
        self.orders: queue.SimpleQueue[JobOrder] = queue.SimpleQueue()
        self._connection = connection
        self._sending = threading.Lock()
        self._run: Stoppable | None = None
        self._asked = False

    def listen(self) -> NoReturn:
        """Take orders; ends the process with the socket."""
        try:
            while True:
                order = self._connection.recv()
                if isinstance(order, StopOrder):
                    self._asked = True
                    if self._run is not None:
                        self._run.stop()
                else:
                    self._asked = False
                    self.orders.put(order)
        except (EOFError, OSError):
            os._exit(0)

    def watch(self, run: Stoppable | None) -> None:
        """From now on this is what an order to stop ends."""
        self._run = run
        if self._asked and run is not None:
            run.stop()

    def send(self, told: Any) -> None:
        """Tell the batch; ends the process where that is no more."""
        try:
            with self._sending:
                self._connection.send(told)
        except OSError:
            os._exit(0)


def _done(order: JobOrder, link: _Link) -> JobEnded:
    job = order.job
    machine.limit_cores(order.cores)
    watched = _Watched(order, link)
    try:
        report = job.bound()(on_progress=watched.tell, on_start=link.watch)
    except EmbedmillError as error:
        return JobEnded(error=_line(str(error)), trace=traceback.format_exc())
    except MemoryError:
        return JobEnded(error="memory is too short: free some, or run fewer jobs at once", trace=traceback.format_exc())
    except Exception as error:
        return JobEnded(error=_line(f"{type(error).__name__}: {error}"), trace=traceback.format_exc())
    finally:
        link.watch(None)
    return JobEnded(report.to_dict(), _left(report), bool(getattr(report, "interrupted", False)))


def _left(report: Any) -> str:
    """What a run that came to its end has left undone, as its command tells it with exit code 3."""
    missing, locked = getattr(report, "missing", ()), getattr(report, "locked", 0)
    failures = 0 if getattr(report, "dry_run", False) else getattr(report, "failures", 0)
    parts = [f"{failures:,} without a vector"] if failures else []
    parts += [f"{locked:,} rows locked by another session"] if locked else []
    parts += [f"not there: {', '.join(map(str, missing))}"] if missing else []
    return _line("; ".join(parts))


def _line(text: str) -> str:
    return masked(" ".join(text.split()))


class _Watched:
    """Passes on how far the job has come, now and then; what is done, and its share, never go back."""

    def __init__(self, order: JobOrder, link: _Link) -> None:
        self._job, self._link = order.job, link
        self._next = 0.0
        self._total: int | None = None
        self._listed = False
        self._noun: str | None = None  # of the first list that is told of: what comes later is done with its items
        self._told = JobProgress(self._job.name, pid=os.getpid())

    def tell(self, progress: Any) -> None:
        """Pass this state on, or leave it out where the last one is recent."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _TOLD_APART
        if progress.total is None and not self._listed:
            self._listed = True
            threading.Thread(target=self._list, name="listing", daemon=True).start()
        self._told = self._after(progress)
        self._link.send(self._told)

    def _after(self, progress: Any) -> JobProgress:
        told, noun = self._told, getattr(progress, "noun", None)
        self._noun = self._noun or noun
        if noun != self._noun:
            return replace(told, doing=progress.counts, seconds=progress.seconds)
        total = self._total if progress.total is None else progress.total
        share = min(progress.amount / total, 1.0) if total else None
        return replace(
            told,
            counts=progress.counts,
            doing=progress.doing,
            done=max(told.done, progress.done),
            failed=progress.failed,
            share=share if told.share is None else max(told.share, share or 0.0),
            seconds=progress.seconds,
        )

    def _list(self) -> None:
        with suppress(EmbedmillError):  # the job itself meets it too, and says so
            self._total = total_of(self._job.command, self._job.arguments)


class _PassedOn(logging.Handler):
    """Sends the package's messages to the batch."""

    def __init__(self, link: _Link, level: int) -> None:
        super().__init__(level)
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._link.send(LoggedLine(record.levelno, _line(record.getMessage())))
        except Exception:
            self.handleError(record)
