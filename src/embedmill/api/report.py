"""What a store holds and how its runs went: the command ``embedmill report``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedmill.api.run_logs import run_folder
from embedmill.api.stores import open_chosen_store
from embedmill.core.errors import MissingExtra, StoreError, UsageError
from embedmill.engine.run_log import RecordedRun, read_runs
from embedmill.report.contents import StoreContents, read_contents
from embedmill.runtime.atomic import write_atomically
from embedmill.runtime.outputs import OutputKind, check_output, make_folder
from embedmill.runtime.paths import FilePath
from embedmill.storage.registry import list_tables, local_files, redact_url

if TYPE_CHECKING:
    from embedmill.api.settings import Settings

_PAGE: Final = OutputKind(
    "page that embedmill wrote",
    lambda beginning: beginning.startswith(b"<!DOCTYPE html>") and b"<title>embedmill report</title>" in beginning,
)


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What is known of a store, or of a database whose tables runs have filled."""

    url: str  # without a password
    contents: StoreContents | None  # None where there is no store
    runs: Sequence[RecordedRun]  # over the store and over tables beside it, the newest first

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        held = {"store": self.url} if self.contents is None else self.contents.to_dict()
        return held | {"runs": [_run(each) for each in self.runs]}


def read_report(chosen: Settings) -> StoreReport:
    """Look at all of a store, and at what is remembered of runs.

    Raises `StoreError` where there is neither a store nor a table that was filled, where the store cannot be read, and
    where a vector in it is not sound.
    """
    runs = read_runs(run_folder(chosen))
    try:
        opened = open_chosen_store(chosen, write=False)
    except StoreError:
        if not list_tables(chosen.store, schema=chosen.schema, lock_timeout=chosen.db_timeout):
            raise
        return StoreReport(redact_url(chosen.store), None, runs)
    with closing(opened) as store:
        contents = read_contents(store)
    return StoreReport(contents.url, contents, runs)


def check_page(path: FilePath, chosen: Settings) -> None:
    """Raise what `write_page` would, as far as that can be told beforehand: to read a store takes its time."""
    if find_spec("bokeh") is None:
        raise MissingExtra("a page with plots", "report")
    check_output("--html", path, _PAGE, store_files=local_files(chosen.store))


def write_page(report: StoreReport, path: FilePath, chosen: Settings) -> int:
    """Write the report as a page that needs nothing beside itself; gives its bytes.

    A folder that is missing is made, and an earlier page replaced. Raises `UsageError` where the file cannot be
    written, holds something else or is of the store of these settings, and `MissingExtra` where the library for plots
    is missing.
    """
    check_page(path, chosen)
    from embedmill.report.page import render_page

    content = render_page(report.url, report.contents, report.runs, datetime.now(UTC)).encode()
    try:
        make_folder(Path(path))
        write_atomically(Path(path), [content])
    except OSError as error:
        raise UsageError(f"--html: {path} cannot be written: {error.strerror or error}") from error
    return len(content)


def _run(run: RecordedRun) -> dict[str, Any]:
    began = datetime.fromtimestamp(run.began, UTC).isoformat(timespec="seconds")
    facts = {"command": run.command, "table": run.table or None, "began": began, "outcome": run.outcome}
    series = [{"seconds": each.seconds, "done": each.done, "failed": each.failed} for each in run.moments]
    return facts | {"report": dict(run.report) or None, "moments": series}
