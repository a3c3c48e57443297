"""The plots of what a store holds. Of the store's texts they are given the folders' names, which are drawn, not set."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool
from bokeh.plotting import figure

from embedmill.report.contents import Measured, StoreContents
from embedmill.report.folders import Folder

COLORS: Final = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"),
    *("#8C6BB1", "#B8A000", "#41AE76", "#E0699B", "#7F7F7F", "#A65628"),
)
"""Of Okabe and Ito (2008), told apart with any eyes and on light and dark, and some more."""

_HEIGHT: Final = 260
_MANY: Final = 5000  # points that are drawn smaller
_LONGEST_LABEL: Final = 38  # characters


def plot(
    height: int = _HEIGHT, *, x: str = "", y: str = "", tips: list[tuple[str, str]] | None = None, **more: Any
) -> Any:
    """An empty plot with these labels of its axes; `tips` are what is shown over a glyph: label and value."""
    tools = "" if tips is None else [HoverTool(tooltips=tips, mode="mouse")]
    made = figure(height=height, sizing_mode="stretch_width", toolbar_location=None, tools=tools, **more)
    made.xaxis.axis_label, made.yaxis.axis_label = x, y
    return _bare(made)


def _bare(made: Any) -> Any:
    """Without ground and frame: the page has its own, light or dark."""
    made.background_fill_color = made.border_fill_color = made.outline_line_color = None
    return made


def label(text: str) -> str:
    """A text as the label of an axis: its end, where it is long."""
    return text if len(text) <= _LONGEST_LABEL else "…" + text[-_LONGEST_LABEL + 1 :]


def map_of(measured: Measured, colors: list[str]) -> Any:
    """Each chunk of the sample on the plane of the first two components, in the colour of its folder."""
    points = measured.spread.points
    made = figure(
        height=560,
        sizing_mode="stretch_width",
        toolbar_location="right",
        tools="pan,wheel_zoom,box_zoom,reset",
        active_scroll="wheel_zoom",
        match_aspect=True,
    )
    source = ColumnDataSource({"x": points[:, 0], "y": points[:, 1], "color": colors}, name="map")
    size = 5 if len(points) < _MANY else 3
    made.scatter(
        "x", "y", source=source, size=size, color="color", alpha=0.6, nonselection_alpha=0.06, selection_alpha=1.0
    )
    made.add_tools(HoverTool(tooltips=None, point_policy="follow_mouse"))  # the page shows the text itself
    made.toolbar.logo = None
    made.axis.visible = False
    return _bare(made)


def folders(found: list[Folder], names: list[str]) -> Any:
    """The chunks of each folder."""
    labels = [f"{number}. {label(name)}" for number, name in enumerate(names, 1)]  # the same name may come twice
    data = {
        "name": labels,
        "chunks": [each.chunks for each in found],
        "documents": [each.documents for each in found],
        "color": [COLORS[number % len(COLORS)] for number in range(len(found))],
    }
    tips = [("chunks", "@chunks{0,0}"), ("documents", "@documents{0,0}")]
    made = plot(max(140, 30 * len(found) + 60), x="chunks", tips=tips, y_range=labels[::-1])
    made.hbar(y="name", right="chunks", height=0.75, color="color", source=ColumnDataSource(data))
    made.x_range.start = 0
    made.ygrid.visible = False
    return made


def histogram(numbers: Any, *, what: str, bins: int = 60, count: str = "chunks") -> Any:
    """How many there are of each size."""
    low, high = float(numbers.min()), float(numbers.max())
    if np.issubdtype(numbers.dtype, np.integer):  # bins of whole numbers, each of as many
        step = max(1, -(-(int(high) - int(low) + 1) // bins))
        edges = np.arange(int(low), int(high) + step + 1, step) - 0.5
    else:
        margin = max((high - low) * 0.01, 1e-6 * max(abs(high), 1.0))
        edges = np.linspace(low - margin, high + margin, bins + 1)
    counts, edges = np.histogram(numbers, edges)
    data = {"left": edges[:-1], "right": edges[1:], "count": counts}
    tips = [(what, "@left{0,0.[000]} to @right{0,0.[000]}"), (count, "@count{0,0}")]
    made = plot(x=what, y=count, tips=tips)
    made.quad(left="left", right="right", bottom=0, top="count", source=ColumnDataSource(data), color=COLORS[0])
    made.y_range.start = 0
    return made


def spectrum(measured: Measured) -> Any:
    """How much of the variance the first components have."""
    shares = np.cumsum(measured.spread.shares)
    data = {"component": np.arange(1, len(shares) + 1), "share": shares}
    tips = [("components", "@component"), ("of the variance", "@share{0.0%}")]
    made = plot(x="principal components", y="share of the variance", tips=tips)
    source = ColumnDataSource(data)
    made.line("component", "share", source=source, color=COLORS[0], line_width=2)
    made.scatter("component", "share", source=source, color=COLORS[0], size=4, alpha=0.5)
    made.y_range.start, made.y_range.end = 0, 1.02
    return made


def contents_plots(contents: StoreContents, names: list[str], colors: list[str]) -> dict[str, Any]:
    """All plots of a store, by their names on the page; those that there is nothing for are missing."""
    made: dict[str, Any] = {}
    if contents.folders:
        made["folders"] = folders(list(contents.folders), names)
    if len(contents.tokens):
        made["tokens"] = histogram(contents.tokens, what="tokens")
    measured = contents.measured
    if measured is not None:
        made["norms"] = histogram(measured.norms, what="length of the vector")
        made["spectrum"] = spectrum(measured)
        made["map"] = map_of(measured, colors)
        if measured.neighbours is not None:
            made["neighbours"] = histogram(measured.neighbours.cosines, what="cosine to the nearest other chunk")
    return made
