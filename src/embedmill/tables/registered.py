"""What a database knows of a table that has been filled before."""

from __future__ import annotations

from dataclasses import dataclass

from embedmill.errors import SpaceMismatch


@dataclass(frozen=True, slots=True)
class Registered:
    """A table's entry."""

    id: int
    space: str | None
    model: str | None
    filled: bool  # a run has come to its end

    def mismatch(self, column: str, model: str, space: str) -> SpaceMismatch:
        """The error for another model than the one whose vectors the column holds."""
        return SpaceMismatch(
            f"{column} holds vectors of {self.model} (space {self.space}), not of {model} (space {space}): give that "
            "--model, --overwrite to embed all rows again, or another --vector"
        )
