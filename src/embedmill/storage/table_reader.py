"""What the tables of all databases tell in the same way."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from embedmill.core.rows import Counts, Noted
from embedmill.core.table_reports import TableStatus
from embedmill.runtime.closing import Closing
from embedmill.storage.catalog import CatalogEntry

log = logging.getLogger(__name__)


class Spec(Protocol):
    """What is read and filled."""

    @property
    def title(self) -> str:
        """The table, for people, who may give it back."""

    @property
    def text(self) -> str:
        """The column that is read."""

    @property
    def vector(self) -> str:
        """The column that is filled."""


class TableReader(Closing):
    """A `Table` as far as it is only read; each database has one of its own."""

    spec: Spec
    _entry: CatalogEntry | None = None  # what earlier runs have noted, once that is known

    @property
    @abstractmethod
    def url(self) -> str:
        """The database, for people: without a password."""

    @abstractmethod
    def counts(self) -> Counts:
        """How the table stood when the run began, or stands where none has; reads all of it."""

    @abstractmethod
    def _known(self) -> CatalogEntry | None:
        """What earlier runs have noted of the table; None where there were none, or none that is of interest."""

    @abstractmethod
    def _stored_dimension(self) -> int | None:
        """Of the vectors in the column, as far as the column, or what is in it, tells."""

    @abstractmethod
    def _index_names(self) -> str:
        """The indexes of vectors, for people."""

    @property
    def name(self) -> str:
        """The table, as the database spells it, in quotes where it needs them."""
        return self.spec.title

    @property
    def columns(self) -> tuple[str, str]:
        """The columns that are read and filled."""
        return self.spec.text, self.spec.vector

    @property
    def first_fill(self) -> bool:
        """Whether no run had come to its end before this one."""
        return self._entry is None or not self._entry.filled

    def noted(self) -> Noted:
        """What earlier runs have noted of its vectors."""
        known = self._known()
        return known.noted() if known else Noted()

    def status(self) -> TableStatus:
        """What is known of the table; reads all of it."""
        noted = self.noted()
        return TableStatus(
            store=self.url,
            table=self.name,
            text=self.spec.text,
            vector=self.spec.vector,
            counts=self.counts(),
            model=noted.model,
            space=noted.space,
            dimension=self._stored_dimension(),
            index=self._index_names(),
            document_prompt=noted.document_prompt,
            query_prompt=noted.query_prompt,
        )


def warn_of_kept(table: str, refusals: Sequence[Exception]) -> None:
    """Tell of the rows whose vectors stay, by why the database refused to take them; nothing where there are none."""
    if refusals:
        log.warning("%s: vectors of older texts stay, since they may not be taken: %s", table, refusals[-1])
