"""A job of a batch, and all of a manifest: frozen values, which may go to another process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedmill.jobs.job_kinds import bound
from embedmill.jobs.manifest.nodes import Place


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A job that has been validated: a command with all its arguments."""

    name: str
    """Unlike that of every other job of the batch; without a password."""
    command: str
    """As on the command line; a key of `embedmill.jobs.job_kinds.JOB_KINDS`."""
    arguments: Mapping[str, Any] = field(repr=False)  # a store's URL may have a password
    """Those that were given, as the command's function in `embedmill.api` takes them; paths are absolute."""
    place: Place
    """Where it stands."""
    timeout: float | None = None
    """Seconds after which it is to be ended; None for never."""
    axes: Mapping[str, str] = field(default_factory=dict)
    """What it has of the axes of its matrix: option, as manifests spell it -> value in words; none without a matrix."""

    @property
    def label(self) -> str:
        """Its axes in one line: see `label_of`."""
        return label_of(self.axes)

    def bound(self) -> Callable[..., Any]:
        """The call that does it; takes `on_progress` and `on_start` as the command's function does.

        It gives that function's report, and raises what that raises.
        """
        return bound(self.command, self.arguments)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The jobs of a manifest, or of all manifests of a folder, in their order."""

    path: Path
    jobs: tuple[BatchJob, ...]


def label_of(axes: Mapping[str, str]) -> str:
    """What tells a job of a matrix from the others, as in ``max-leaf=20,threshold=0.1``; "" for one of no matrix."""
    return ",".join(f"{name}={value}" for name, value in axes.items())
