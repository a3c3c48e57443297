"""What a database knows of a table that has been filled before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedmill.errors import SpaceMismatch
from embedmill.fingerprint import not_of
from embedmill.rows import Noted

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Registered:
    """A table's entry."""

    id: int
    space: str | None
    model: str | None
    filled: bool  # a run has come to its end
    text: str  # the column that was read
    keys: list[str]  # the columns that told rows apart
    fields: Mapping[str, Any] | None = None  # what the space is made of

    def noted(self) -> Noted:
        """What is known of its vectors."""
        prompts = [(self.fields or {}).get(name) for name in ("prompt", "query_prompt")]
        document, query = (prompt if isinstance(prompt, str) else None for prompt in prompts)
        return Noted(self.model, self.space, document, query)

    def mismatch(self, column: str, held: str, model: str, space: str) -> SpaceMismatch:
        """The error for another model than the one whose vectors, of the space `held`, the column holds."""
        other = self.model if held == self.space else "another model"
        return SpaceMismatch(
            f"{column} holds {not_of(other, held, model, space)}: give that --model, "
            "--overwrite to embed all rows again, or another --vector"
        )

    def warn_of_changes(self, table: str, vector: str, text: str, *, other_key: bool) -> None:
        """Tell where a run is about to read other columns than the last one did."""
        if other_key:
            log.warning("%s has another key than before: its rows are looked at anew", table)
        if text != self.text:
            log.warning("%s.%s was filled from %s before: now all rows are from %s", table, vector, self.text, text)
