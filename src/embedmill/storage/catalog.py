"""What a database knows of the vectors that it holds: those of a store, and those of a table that was filled before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from embedmill.core.errors import SpaceMismatch
from embedmill.core.spaces import OF_QUERIES, Space, differ_in_files_alone, not_of, other_prompt

if TYPE_CHECKING:
    from embedmill.core.rows import Noted

log = logging.getLogger(__name__)

TRACKING_LOST: Final = (
    ": what was known of the table's rows is gone with it: `embedmill ingest TABLE` begins it anew, and leaves the "
    "vectors that are there as those of others; with --overwrite all rows are embedded again"
)
"""What to do where the table of tracking rows is gone, behind what the database says."""


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A table's entry."""

    id: int
    space: str | None
    model: str | None
    filled: bool  # a run has come to its end
    text: str  # the column that was read
    keys: list[str]  # the columns that told rows apart
    fields: Mapping[str, Any] | None = None  # what the space is made of
    overwriting: int | None = None  # the first run of an overwriting that has not come to its end
    fits: bool = True  # its marks are those of the rows by their keys; else they have to be carried over
    own: bool = True  # else it is that of another table, whose vectors this one has copies of
    prints: bool = True  # else it is an older version's, whose marks do not know the vectors that were written
    before: tuple[str, str] | None = None  # schema and name of the last run, where they are others now

    def noted(self) -> Noted:
        """What is known of its vectors."""
        from embedmill.core.rows import Noted  # of tables: each start of a store imports this file

        return Noted(self.model, self.space, *prompts_of(self.fields or {}))

    def without_vectors(self) -> CatalogEntry:
        """The entry where none of its vectors is in the table any more."""
        return replace(self, space=None, model=None, fields=None, filled=False)

    def mismatch(self, column: str, held: str, model: str, space: Space, option: str = "--vector") -> SpaceMismatch:
        """The error for another model than the one whose vectors, of the space `held`, the column holds.

        `option` is the one that names the column.
        """
        if told := other_prompt(self.noted().document_prompt, held, space):
            return SpaceMismatch(f"{column} holds {told}, --overwrite to embed all rows again, or another {option}")
        other = self.model if held == self.space else "another model"
        overwriting = (
            "--into COLUMN --swap to embed all rows beside it, --overwrite to do so in its place"
            if option == "--vector"
            else "--overwrite to embed all rows in its place"
        )
        whose = not_of(other, held, model, space.id)
        return SpaceMismatch(f"{column} holds {whose}: give that --model, {overwriting}, or another {option}")

    def check_rebinding(self, column: str, space: Space, model: str) -> None:
        """Raise `SpaceMismatch` where the space differs from the entry's in more than the digests of files."""
        if self.space is None or not differ_in_files_alone(self.fields or {}, space):
            raise self.mismatch(column, str(self.space), model, space)

    def warn_of_changes(self, table: str, vector: str, text: str) -> None:
        """Tell where a run is about to read another column than the last one did."""
        if text != self.text:
            log.warning("%s.%s was filled from %s before: now all rows are from %s", table, vector, self.text, text)


@dataclass(frozen=True, slots=True)
class ListedTable:
    """A table, and one of its columns of vectors."""

    table: str  # as a command takes it, with quotes where it needs them
    text: str  # the column that is read
    vector: str  # the column that is filled
    model: str | None
    space: str | None  # of the vectors
    filled: bool  # whether a run has come to its end


def store_mismatch(
    store: str, held: str, held_space: str, fields: Mapping[str, Any], space: Space, model: str
) -> SpaceMismatch:
    """The error of a store whose vectors are of the model `held`, in the space of these fields."""
    stored = {name: value for name, value in asdict(space).items() if name not in OF_QUERIES}
    differing = [name for name, value in stored.items() if fields.get(name) != value]
    if told := other_prompt(fields.get("prompt"), held_space, space):
        return SpaceMismatch(f"store {store} holds {told}, index with --re-embed, or give another --store")
    whose = not_of(held, held_space, model, space.id, f", with other {', '.join(differing)}")
    return SpaceMismatch(f"store {store} holds {whose}: index with --re-embed, or into another --store")


def prompts_of(fields: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The prompts for documents and queries among the fields of a space; None where they are not known."""
    document, query = fields.get("prompt"), fields.get("query_prompt")
    return document if isinstance(document, str) else None, query if isinstance(query, str) else None
