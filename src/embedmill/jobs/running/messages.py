"""What a batch and the process of a job tell each other, over a private socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedmill.jobs.job import BatchJob


@dataclass(frozen=True, slots=True)
class JobOrder:
    """To the process: a job to do."""

    job: BatchJob
    cores: int  # that it may keep busy
    level: int  # from which on the package's messages are passed on


@dataclass(frozen=True, slots=True)
class StopOrder:
    """To the process: end the job early."""


@dataclass(frozen=True, slots=True)
class LoggedLine:
    """From the process: one of the package's messages."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class JobEnded:
    """From the process: the job's function has come back, with a report or an error."""

    report: Mapping[str, Any] | None = None
    left: str = ""  # what is left without a vector
    interrupted: bool = False
    error: str = ""  # one line
    trace: str = ""
