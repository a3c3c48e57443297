"""The plots of runs: how fast each went on, where its time went, what its processes took, what was known before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
from bokeh.models import ColumnDataSource, Legend, LegendItem

from embedmill.engine.run_log import RecordedRun
from embedmill.report.charts import COLORS, plot

_DRAWN: Final = 6  # runs whose course is drawn
_BARS: Final = 12  # runs that have a bar

_ORIGINS: Final = ("embedded", "cached", "duplicates", "failed")


def run_plots(runs: Sequence[RecordedRun]) -> dict[str, Any]:
    """All plots of runs, the newest of which is the first, by their names on the page; some may be missing."""
    made: dict[str, Any] = {}
    courses = [run for run in runs if len(run.moments) > 1][:_DRAWN]
    if courses:
        made["throughput"] = _throughput(courses)
        made["memory"] = _memory(courses[0])
    if reported := [run for run in runs if run.report.get("chunks")][:_BARS]:
        seconds = [{name: float(value) for name, value in run.report["stages"].items()} for run in reported]
        made["stages"] = _bars(reported, seconds, "seconds of work")
        origins = [{name: run.report[name] for name in _ORIGINS} for run in reported]
        made["origins"] = _bars(reported, origins, "chunks or rows")
    return made


def began(run: RecordedRun) -> str:
    """When a run began, as it is told on the page."""
    return datetime.fromtimestamp(run.began).strftime("%Y-%m-%d %H:%M:%S")


def _throughput(runs: Sequence[RecordedRun]) -> Any:
    made = plot(300, x="seconds since the run began", y="chunks or rows per second")
    items = []
    for number, run in enumerate(runs):
        at = np.array([0.0, *(each.seconds for each in run.moments)])
        done = np.array([0, *(each.done for each in run.moments)])
        rate = np.maximum(np.diff(done), 0) / np.maximum(np.diff(at), 1e-3)
        line = made.step(at[1:], rate, mode="before", color=COLORS[number % len(COLORS)], line_width=2)
        items.append(LegendItem(label=f"{began(run)} {run.command}", renderers=[line]))
    made.y_range.start = 0
    return _with_legend(made, items)


def _memory(run: RecordedRun) -> Any:
    made = plot(300, x="seconds since the run began", y="MB")
    items = []
    for number, worker in enumerate(sorted({each.worker for moment in run.moments for each in moment.memory})):
        known = [(moment.seconds, each) for moment in run.moments for each in moment.memory if each.worker == worker]
        seconds, sizes = [at for at, _ in known], [each.megabytes for _, each in known]
        line = made.line(seconds, sizes, color=COLORS[number % len(COLORS)], line_width=2)
        restarts = known[-1][1].restarts
        name = "the run's own process" if worker < 0 else f"worker {worker}"
        items.append(LegendItem(label=name + (f", restarts: {restarts}" if restarts else ""), renderers=[line]))
    made.y_range.start = 0
    return _with_legend(made, items)


def _bars(runs: Sequence[RecordedRun], parts: Sequence[dict[str, float]], what: str) -> Any:
    names = list(dict.fromkeys(name for each in parts for name, value in each.items() if value))
    labels = [f"{number}. {began(run)} {run.command}" for number, run in enumerate(runs, 1)]
    data: dict[str, Any] = {name: [each.get(name, 0) for each in parts] for name in names} | {"run": labels}
    tips = [("", "$name"), (what, "@$name{0,0.[00]}")]
    made = plot(max(160, 30 * len(runs) + 100), x=what, tips=tips, y_range=labels[::-1])
    colors = [COLORS[number % len(COLORS)] for number in range(len(names))]
    drawn = made.hbar_stack(names, y="run", height=0.75, color=colors, source=ColumnDataSource(data)) if names else []
    made.x_range.start = 0
    made.ygrid.visible = False
    items = [LegendItem(label=name, renderers=[bar]) for name, bar in zip(names, drawn, strict=True)]
    return _with_legend(made, items, orientation="horizontal")


def _with_legend(made: Any, items: list[Any], **more: Any) -> Any:
    legend = Legend(items=items, click_policy="hide", border_line_color=None, background_fill_alpha=0, ncols=4, **more)
    made.add_layout(legend, "above")
    return made
