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

    def mismatch(self, column: str, held: str, model: str, space: str) -> SpaceMismatch:
        """The error for another model than the one whose vectors, of the space `held`, the column holds."""
        other = self.model if held == self.space else "another model"
        return SpaceMismatch(
            f"{column} holds vectors of {other} (space {held}), not of {model} (space {space}): give that --model, "
            "--overwrite to embed all rows again, or another --vector"
        )
