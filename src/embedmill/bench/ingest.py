"""Which number of workers, and which batch, fills a table the soonest: tried on a copy of its first rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Unpack

from embedmill.api.assemble import build_components, embedder_of
from embedmill.api.ingest import make_ingestor
from embedmill.api.read_settings import read_settings
from embedmill.api.settings import RunOptions, Settings, check_options, names_of
from embedmill.api.stores import open_chosen_table
from embedmill.core.checks import whole_number
from embedmill.core.errors import UsageError
from embedmill.core.interfaces.executor import Stoppable
from embedmill.core.rows import IndexOptions
from embedmill.core.table_reports import IngestReport
from embedmill.engine.lists import embed_list
from embedmill.storage.driver import LONGEST_TEXT, ScratchTable
from embedmill.storage.registry import scratch_table

ROWS: Final = 1000
"""Of the table, that are tried with each setting: some seconds each on two cores."""

_UNUSED: Final = ("workers", "cache", "max_load", "sleep", "profile", "profile_json")
_USED: Final = [name for name in names_of(RunOptions) if name not in _UNUSED]

_LARGER: Final = 4  # the second batch size, as a multiple of the first


@dataclass(frozen=True, slots=True)
class Tried:
    """What one setting reached."""

    workers: int
    batch: int
    rows_per_second: float
    speed_up: float  # against the first setting
    reading: float  # shares of the time, by what the run was waiting for: all stages work at once, and the
    model: float  # slowest is the one that counts
    writing: float


@dataclass(frozen=True, slots=True)
class Bench:
    """What was measured."""

    table: str
    rows: int
    tried: Sequence[Tried]
    interrupted: bool = False

    @property
    def best(self) -> Tried:
        """The fastest setting; among those within 3 % of it, noise apart the same, the one with the fewest workers."""
        fastest = max(each.rows_per_second for each in self.tried)
        return min(
            (each for each in self.tried if each.rows_per_second >= 0.97 * fastest),
            key=lambda each: (each.workers, -each.rows_per_second),
        )

    def to_dict(self) -> dict[str, Any]:
        """As it appears under ``--json``."""
        best = asdict(self.best) if self.tried else None
        return asdict(self) | {"best": best}


def bench_ingest(
    table: str,
    *,
    batch: int = 50,
    max_workers: int = 8,
    rows: int = ROWS,
    id: Sequence[str] = (),  # noqa: A002 - as the option
    text: str | None = None,
    on_setting: Callable[[Tried], None] = lambda _: None,
    on_start: Callable[[Stoppable], None] = lambda _: None,
    **options: Unpack[RunOptions],
) -> Bench:
    """Try 1, 2, 4 ... `max_workers` workers, with `batch` rows at once and with four times as many.

    The table is only read: its first `rows` texts are copied, and the copy is removed afterwards. `on_setting` is
    called after each setting. `options` are those of `embedmill.api.settings.RunOptions`; the cache of vectors is not
    used. Raises `UsageError`, `ModelError` and `StoreError`.
    """
    for name, value in (("batch", batch), ("max_workers", max_workers), ("rows", rows)):
        whole_number(name, value)
    check_options(bench_ingest, options, RunOptions)
    chosen = read_settings(options, _USED)
    with open_chosen_table(table, chosen, id=id, text=text, metrics_only=True) as there:
        name, texts = there.name, there.sample(rows)
    texts = [each for each in texts if each.strip() and len(each) <= LONGEST_TEXT]
    if not texts:
        raise UsageError(f"{name} has no texts to measure with: fill it first, or name the column with --text")
    stop = _Stop()
    on_start(stop)
    tried: list[Tried] = []
    for workers, size in _settings(batch, max_workers):
        if stop.asked:
            break
        with scratch_table(chosen.store, texts) as copy:
            report = _run(copy, read_settings({**options, "workers": workers, "cache": False}, _USED), size, stop)
        if report is None or report.interrupted:
            break
        tried.append(_tried(report, workers, size, tried[0].rows_per_second if tried else None))
        on_setting(tried[-1])
    return Bench(name, len(texts), tried, interrupted=stop.asked)


class _Stop:
    """Ends what runs now, and all that would come after."""

    def __init__(self) -> None:
        self.asked = False
        self._running: Stoppable | None = None

    def stop(self) -> None:
        self.asked = True
        if self._running is not None:
            self._running.stop()

    def watch(self, running: Stoppable) -> None:
        self._running = running
        if self.asked:
            running.stop()


def _settings(batch: int, max_workers: int) -> Iterator[tuple[int, int]]:
    doubles = [2**power for power in range(max_workers.bit_length()) if 2**power < max_workers]
    for size in (batch, _LARGER * batch):
        for workers in (*doubles, max_workers):
            yield workers, size


def _run(copy: ScratchTable, chosen: Settings, batch: int, stop: _Stop) -> IngestReport | None:
    """Fill the copy; the model is loaded before the clock runs. None where it was stopped before that."""
    if stop.asked:
        return None
    with ExitStack() as stack:
        parts = build_components(chosen, embedder_of(chosen), stack, quiet=True)
        place = replace(chosen, store=copy.url, schema=copy.schema)
        table = stack.enter_context(open_chosen_table(copy.name, place, create=True, index=IndexOptions("none")))
        embedder, executor = parts.embedder, parts.executor
        embed_list(["a"] * executor.workers, embedder.fingerprint.space, embedder.encode, executor.run, batch_size=1)
        ingestor = make_ingestor(table, parts, chosen, batch=batch)
        stop.watch(ingestor)
        return ingestor.run()


def _tried(report: IngestReport, workers: int, batch: int, first: float | None) -> Tried:
    speed = report.chunks / report.seconds
    reading = report.stages["wait for rows"] / report.seconds
    writing = report.stages["wait for writers"] / report.seconds
    return Tried(
        workers=workers,
        batch=batch,
        rows_per_second=round(speed, 1),
        speed_up=round(speed / (first or speed), 2),
        reading=round(reading, 3),
        model=round(1 - reading - writing, 3),
        writing=round(writing, 3),
    )
