"""The page's text about runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from embedmill.engine.run_log import RecordedRun
from embedmill.report.markup import escaped, figure, panel, table
from embedmill.report.run_charts import began

_CAPTIONS: Final = {
    "throughput": (
        "Throughput",
        "Chunks or rows done in each second, of the last longer runs. A click on a name hides its line.",
    ),
    "memory": ("Memory", "Of each process of the newest of these runs."),
    "stages": (
        "Stages",
        "Seconds of work in each stage. Stages work at the same time: the sum is more than a run took.",
    ),
    "origins": (
        "Where vectors came from",
        "The model; the cache or the store; an equal text of the same run; nowhere.",
    ),
}

_RUNS: Final = (
    ("began", ""),
    ("command", "text"),
    ("outcome", ""),
    *((name, "number") for name in ("seconds", "done", "per second", "known before", "failed", "restarts", "workers")),
)

_WORKERS: Final = (
    *((name, "number") for name in ("worker", "batches", "texts", "MB", "restarts")),
    ("why restarted", "text"),
)


def runs_section(runs: Sequence[RecordedRun], plots: Collection[str]) -> str:
    """The last runs; `plots` are those there are."""
    if not runs:
        return "<h2>Runs</h2>\n<p>No run of this user on this machine is remembered.</p>"
    drawn = [figure(name, *caption) for name, caption in _CAPTIONS.items() if name in plots]
    with_workers = next((run for run in runs if run.report.get("worker_stats")), None)
    if with_workers is not None:
        drawn.append(_workers(with_workers))
    listed = panel(
        f"The last {len(runs)}", "Of this user on this machine, the newest first.", table(_RUNS, map(_cells, runs))
    )
    inner = "\n".join(drawn)
    return f"""<h2>Runs</h2>
{listed}
<div class="grid below">
{inner}
</div>"""


def _cells(run: RecordedRun) -> list[str]:
    sound = run.outcome in ("finished", "running")
    outcome = escaped(run.outcome) if sound else f'<span class="warn">{escaped(run.outcome)}</span>'
    cells = [began(run), escaped(f"{run.command} {run.table}".strip()), outcome]
    report = run.report
    if report:
        chunks, known = report["chunks"], report["cached"] + report["duplicates"]
        return [
            *cells,
            *_speed(report["seconds"], chunks),
            f"{known / chunks:.0%}" if chunks else "",
            *(f"{report[name]:,}" for name in ("failed", "restarts", "workers")),
        ]
    if not run.moments:
        return cells + [""] * 7
    last = run.moments[-1]
    known_before = "" if last.cached is None or not last.done else f"{last.cached / last.done:.0%}"
    restarts = sum(each.restarts for each in last.memory)
    return [*cells, *_speed(last.seconds, last.done), known_before, f"{last.failed:,}", f"{restarts:,}", ""]


def _speed(seconds: float, done: int) -> list[str]:
    return [f"{seconds:,.1f}", f"{done:,}", f"{done / seconds:,.1f}" if seconds else ""]


def _workers(run: RecordedRun) -> str:
    rows = []
    for each in run.report["worker_stats"]:
        numbers = [f"{each[name]:,}" for name in ("worker", "batches", "documents")]
        causes = ", ".join(f"{cause}: {number:,}" for cause, number in each["causes"].items())
        rows.append([*numbers, f"{each['rss_mb']:,.0f}", f"{each['restarts']:,}", escaped(causes)])
    return panel("Worker processes", f"At the end of the run that began {began(run)}.", table(_WORKERS, rows))
