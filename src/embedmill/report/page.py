"""One page that needs nothing beside itself: the numbers as text, the plots as data for the script that it carries.

Texts of the store are data: in the page they are escaped, in the block of data no character ends it, and the script
sets them as text. Should one get through all the same, the policy in the page's head runs no script but its own two,
and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import bokeh
from bokeh.embed import json_item

from embedmill.engine.run_log import RecordedRun
from embedmill.report.charts import COLORS, contents_plots
from embedmill.report.contents import StoreContents
from embedmill.report.folders import common_folder
from embedmill.report.markup import clean
from embedmill.report.run_charts import run_plots
from embedmill.report.run_sections import runs_section
from embedmill.report.sample import SHOWN
from embedmill.report.sections import contents_sections, head

_TEXTS: Final = 5_500_000
"""Bytes of texts and names of documents on the map; with the script and the points that keeps the page below 8 MB."""

_FEWEST: Final = 40  # characters of a text, however many there are

_IN_DATA: Final = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
"""Characters that could end a block of data, or a line of a script, as JSON writes them."""


def render_page(url: str, contents: StoreContents | None, runs: Sequence[RecordedRun], now: datetime) -> str:
    """The page, of some 1.4 MB and up to 5 MB of texts; `url` is the store's, without a password."""
    data: dict[str, Any] = {"plots": {}}
    body = []
    if contents is not None:
        prefix = common_folder([each.path for each in contents.folders])
        names = [clean(each.path.removeprefix(prefix)) or "(directly in the folder)" for each in contents.folders]
        colors, where = _colors(contents)
        plots = contents_plots(contents, names, colors)
        data["plots"] |= plots
        if contents.measured is not None:
            data["map"] = _points(contents, prefix)
        shown = data.get("map", {}).get("shown", SHOWN)
        body.append(contents_sections(contents, plots, prefix, list(zip(names, where, strict=True)), shown))
    plots = run_plots(runs)
    data["plots"] |= plots
    body.append(runs_section(runs, plots))
    data["plots"] = {name: json_item(made) for name, made in data["plots"].items()}
    sections = "\n".join(body)
    text = f"{head(url, contents, now)}\n<main>\n{sections}\n</main>"
    return _page(text, _in_data(data))


def _in_data(value: object) -> str:
    """As it stands in the block of data."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_IN_DATA)


def _page(body: str, data: str) -> str:
    assets = files("embedmill.report") / "assets"
    style, script = ((assets / name).read_text("utf-8") for name in ("page.css", "page.js"))
    library = (Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js").read_text("utf-8")
    library = re.sub("</(script)", r"<\\/\1", library, flags=re.IGNORECASE)
    allowed = " ".join(f"'sha256-{_digest(each)}'" for each in (library, script))
    policy = f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>embedmill report</title>
<style>
{style}</style>
</head>
<body>
{body}
<div id="tip" role="status" hidden></div>
<script id="data" type="application/json">{data}</script>
<script>{library}</script>
<script>{script}</script>
</body>
</html>
"""


def _digest(script: str) -> str:
    """As a policy names a script; line ends count as a browser reads them."""
    text = script.replace("\r\n", "\n").replace("\r", "\n")
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _colors(contents: StoreContents) -> tuple[list[str], list[str]]:
    """The colour of each chunk of the sample, and that of each folder."""
    of_folder = [COLORS[number % len(COLORS)] for number in range(len(contents.folders))]
    found = {
        document: color
        for folder, color in zip(contents.folders, of_folder, strict=True)
        for document in folder.members
    }
    chunks = contents.measured.sample.chunks if contents.measured else []
    return [found[chunk.document] for chunk in chunks], of_folder


def _points(contents: StoreContents, prefix: str) -> Mapping[str, Any]:
    """The texts of the map, and where they are from."""
    assert contents.measured is not None
    chunks = contents.measured.sample.chunks
    numbers = {name: number for number, name in enumerate(dict.fromkeys(chunk.document for chunk in chunks))}
    shown, texts = SHOWN, [clean(chunk.text) for chunk in chunks]
    documents = [clean(name.removeprefix(prefix)) for name in numbers]
    while len(_in_data([documents, texts]).encode()) > _TEXTS and shown > _FEWEST:
        shown //= 2
        texts = [text[:shown] for text in texts]
    return {
        "documents": documents,
        "document": [numbers[chunk.document] for chunk in chunks],
        "lines": [chunk.line for chunk in chunks],
        "texts": texts,
        "shown": shown,
    }
