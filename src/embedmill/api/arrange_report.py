"""What became of one file that was arranged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from embedmill.engine.cached_lists import COUNTED
from embedmill.taxonomy.analyzing import Shape
from embedmill.taxonomy.grouping.lists import Grouped
from embedmill.taxonomy.tree import Branch, Path, Taken


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A new group: see `embedmill.taxonomy.grouping.lists.Grouped`."""

    path: Path
    terms: int
    cohesion: float
    medoid: str
    name_from: str

    @classmethod
    def of(cls, group: Grouped) -> GroupReport:
        """Of a group in its place."""
        return cls(group.path, group.terms, group.cohesion, group.medoid, group.name_from)

    def to_dict(self) -> dict[str, Any]:
        """As it appears under ``--json``."""
        return {
            "path": list(self.path),
            "terms": self.terms,
            "cohesion": round(self.cohesion, 4),
            "medoid": self.medoid,
            "name_from": self.name_from,
        }


@dataclass(frozen=True, slots=True)
class ArrangeReport:
    """What one arrangement did. Terms that were embedded are those of long lists, each text once."""

    before: Shape
    counts: Mapping[str, int]
    """As `embedmill.engine.cached_lists.EmbeddedList.counts`; empty where no list is long."""
    executor: str
    workers: int
    """Lists that may be grouped at once."""
    seconds: float
    after: Shape | None = None
    """None where it was stopped before the end: then nothing was written."""
    output: str | None = None
    """What was written."""
    groups: Sequence[GroupReport] = ()
    left_out: Sequence[Taken] = ()
    """Terms that options have left out; all others are in the tree that came out."""
    tree: Branch | None = field(default=None, repr=False, compare=False)
    """What came out; of a dry run only."""

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before the end."""
        return self.after is None

    @property
    def dry_run(self) -> bool:
        """Whether nothing was to be written."""
        return self.tree is not None

    def to_dict(self) -> dict[str, Any]:
        """The report as it appears under ``--json``."""
        return {
            "output": self.output,
            "before": self.before.to_dict(),
            "after": None if self.after is None else self.after.to_dict(),
            "groups": [group.to_dict() for group in self.groups],
            "left_out": [{"path": list(path), "term": term} for path, term in self.left_out],
            **{name: self.counts.get(name, 0) for name in COUNTED},
            "executor": self.executor,
            "workers": self.workers,
            "seconds": self.seconds,
            "interrupted": self.interrupted,
        }
