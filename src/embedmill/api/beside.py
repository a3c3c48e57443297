"""A second column of vectors beside one of another model, until the two change names: ``ingest --into --swap``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from embedmill.api.stores import open_chosen_table
from embedmill.core.checks import switches, text_or_none
from embedmill.core.errors import StoreError, UsageError
from embedmill.core.interfaces.reembedding import MOST_FAILED, ReembeddableTable
from embedmill.storage.columns import unquoted

if TYPE_CHECKING:
    from embedmill.api.settings import Settings
    from embedmill.core.interfaces.table import Table
    from embedmill.core.rows import IndexOptions
    from embedmill.core.spaces import Fingerprint
    from embedmill.core.table_reports import IngestReport

log = logging.getLogger("embedmill")


def check_swap(into: str | None, *, swap: bool, create: bool, halfvec: bool) -> None:
    """Raise `UsageError` where what is asked of a second column makes no sense."""
    switches(swap=swap)
    text_or_none(into=into)
    if (into is None) == swap:
        raise UsageError(
            "--into names the column that is filled beside the one of another model, and --swap changes their names "
            "when that is done: give both, or --vector COLUMN --create for a column that stays beside"
        )
    if into is not None and (create or halfvec):
        raise UsageError("--into adds its column by itself, of the same type: leave --create and --halfvec out")


class Beside:
    """The column that is filled, and the one that is searched meanwhile."""

    def __init__(self, live: ReembeddableTable, second: ReembeddableTable, *, indexed: bool) -> None:
        self.live, self.second = live, second
        self._indexed = indexed  # as searches need it

    def swap(self, report: IngestReport) -> IngestReport:
        """Change the names where the run has come to its end.

        Raises `StoreError` where too many rows have no vector, or there is no index as the other column has one: then
        all stays as it is, and the same command goes on.
        """
        if report.interrupted or report.locked:
            return report
        vector, into = self.live.columns[1], self.second.columns[1]
        if self._indexed and (not report.index or report.index.startswith("none")):
            raise StoreError(
                f"{report.table}.{vector} has an index and {into} has none ({report.index or 'not built'}): the names "
                "stay as they are; --index none changes them without"
            )
        failed = report.failures
        if failed > MOST_FAILED * report.documents:
            failed -= self.live.counts().failures
        if failed > MOST_FAILED * report.documents:
            raise StoreError(
                f"{report.table}: {failed:,} of {report.documents:,} rows have no vector of {report.model}: the names "
                f"stay as they are; `embedmill status {report.table} --vector {into} --failures` says why"
            )
        self.second.swap(vector)
        return replace(report, vector=vector, swapped=True, beside=into)


def open_beside(
    table: str,
    live: Table,
    into: str | None,
    fingerprint: Fingerprint,
    chosen: Settings,
    stack: ExitStack,
    how: Mapping[str, Any],
) -> tuple[Table, Beside | None]:
    """What is to be filled: the second column, which `stack` closes, or the live one where that is of this model.

    `how` are the further options of `open_chosen_table`; `index` is None where nothing is said of it: then it is one
    as the live column has, if that has one.
    """
    if into is None:
        return live, None
    if not isinstance(live, ReembeddableTable):
        raise UsageError(f"{live.name}: its database cannot change the names of columns: leave --into and --swap out")
    vector = live.columns[1]
    itself = f"--into {into}: that is the column itself: give the name of another, which need not be there"
    if unquoted(into) == vector:
        raise UsageError(itself)
    if live.noted().space == fingerprint.space.id:
        log.warning("--into: %s.%s has vectors of this model: that column is filled, as ever", live.name, vector)
        return live, None
    alike: dict[str, Any] = dict(live.like_it())
    wanted: IndexOptions | None = how["index"]
    indexed = "index" in alike and (wanted is None or wanted.method != "none")
    alike = alike | {name: value for name, value in how.items() if value is not None}
    if indexed and wanted is not None:  # searches need one, of whatever size the table is
        alike["index"] = replace(wanted, method="hnsw")
    opening = open_chosen_table(table, chosen, vector=into, option="--into", create=True, **alike)
    second = stack.enter_context(opening)
    assert isinstance(second, ReembeddableTable)
    if second.columns[1] == vector:  # as the database spells it
        raise UsageError(itself)
    return second, Beside(live, second, indexed=indexed)
