"""Jupyter notebooks to Markdown: cells and what they printed, without pictures (nbformat 3 and 4)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from embedmill.sources.files.converters.markdown import fenced

_MOST_OF_AN_OUTPUT: Final = 2_000  # characters that are kept of what a cell printed: the rest is seldom read
_MOST_OF_A_LINE: Final = 300

_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]")  # colours and movements of a terminal
_PICTURE: Final = re.compile(r"!\[([^\]\n]*)\]\((?:data:|attachment:)[^)]*\)")  # its bytes stand elsewhere
_HTML_PICTURE: Final = re.compile(r"<img\s[^>]*src\s*=\s*[\"']?data:[^>]*>", re.IGNORECASE)


def to_markdown(text: str) -> str | None:
    """The cells of a notebook in their order; None where it is no notebook, or damaged."""
    try:
        notebook = json.loads(text)
        cells = _cells(notebook)
        language = _language(notebook)
        parts = [part for cell in cells for part in _cell(cell, language)]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None
    return "\n\n".join(part for part in parts if part.strip())


def _cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    if "worksheets" in notebook:  # nbformat 3
        return [cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
    cells = notebook["cells"]
    if not isinstance(cells, list):
        raise TypeError
    return cells


def _language(notebook: dict[str, Any]) -> str:
    about = notebook.get("metadata") or {}
    info = about.get("language_info") or {}
    kernel = about.get("kernelspec") or {}
    return str(info.get("name") or kernel.get("language") or "")


def _cell(cell: dict[str, Any], language: str) -> Iterator[str]:
    kind = cell["cell_type"]
    source = _joined(cell.get("source", cell.get("input", "")))
    if kind == "heading":  # nbformat 3
        yield f"{'#' * min(6, int(cell.get('level', 1)))} {' '.join(source.split())}"
    elif kind == "code":
        if source.strip():
            yield fenced(source, str(cell.get("language") or language))
        for output in cell.get("outputs") or ():
            yield from _output(output)
    else:
        yield _HTML_PICTURE.sub("", _PICTURE.sub(r"\1", source)).strip("\n")


def _output(output: dict[str, Any]) -> Iterator[str]:
    kind = output["output_type"]
    if kind in ("error", "pyerr"):
        yield fenced(f"{output.get('ename', '')}: {output.get('evalue', '')}"[:_MOST_OF_AN_OUTPUT])
        return
    data = output.get("data", output)  # of nbformat 3 the formats are the output's own fields
    if markdown := _joined(data.get("text/markdown", "")):
        yield _PICTURE.sub(r"\1", markdown)[:_MOST_OF_AN_OUTPUT]
    elif any(name.startswith("image/") for name in data) and _joined(data.get("text/plain", "")).startswith("<"):
        return  # a picture's name in Python, as in <Figure size 640x480 with 1 Axes>
    elif printed := _printed(_joined(data.get("text/plain", data.get("text", "")))):
        yield fenced(printed)


def _printed(text: str) -> str:
    """What stood on the screen at the end, within reason."""
    text = _ESCAPES.sub("", text)
    lines = (line.rstrip("\r").rpartition("\r")[2][:_MOST_OF_A_LINE] for line in text.split("\n"))
    return "\n".join(lines)[:_MOST_OF_AN_OUTPUT].strip("\n")


def _joined(source: Any) -> str:
    """Text that notebooks hold whole or by lines."""
    return source if isinstance(source, str) else "".join(source)
