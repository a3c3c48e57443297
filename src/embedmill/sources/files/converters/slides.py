"""PowerPoint to Markdown by ``python-pptx``: a slide is a page; its notes follow it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any, Final

from pptx import Presentation

from embedmill.sources.files.converters.markdown import plain, table
from embedmill.sources.files.converters.result import Converted

_PAGE_BREAK: Final = "\n\n\f"
_TEXT: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}t"
_PARAGRAPH: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}p"
_DIAGRAM: Final = "/diagramData"
_COMMENTS: Final = "/comments"
_ALTERNATE: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}AlternateContent"


def convert(data: bytes) -> Converted:
    """All slides, hidden ones too."""
    return Converted(_PAGE_BREAK.join(map(_slide, Presentation(io.BytesIO(data)).slides)), paged=True)


def _slide(slide: Any) -> str:
    title = slide.shapes.title
    parts = []
    if title is not None and (words := " ".join(title.text_frame.text.split())):
        parts.append(f"# {words}")
    parts += _shapes(slide.shapes, title)
    parts += _related(slide.part, _DIAGRAM)
    if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None and frame.text.strip():
        parts.append("Notes: " + plain(_text(frame.text)))
    parts += [f"Comment: {said}" for said in _related(slide.part, _COMMENTS)]
    return "\n\n".join(part for part in parts if part.strip())


def _shapes(shapes: Iterable[Any], title: Any = None) -> Iterator[str]:
    """Their texts from the top to the bottom, as they are read."""
    for shape in sorted(shapes, key=lambda shape: (shape.top or 0, shape.left or 0)):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        elif getattr(shape, "has_table", False) and shape.has_table:
            yield table([cell.text for cell in row.cells] for row in shape.table.rows)
        elif getattr(shape, "has_chart", False) and shape.has_chart:
            yield _chart(shape.chart)
        elif shape.has_text_frame:
            yield plain(_text(shape.text_frame.text))
        else:
            yield _described(shape)
    # What python-pptx does not list: shapes that stand in several versions.
    for element in getattr(shapes, "element", shapes._spTree if hasattr(shapes, "_spTree") else ()):  # noqa: SLF001
        if element.tag == _ALTERNATE and len(element):
            yield plain("\n".join(_paragraphs(element[0])))


def _text(text: str) -> str:
    return text.replace("\v", "\n").strip()


def _described(shape: Any) -> str:
    """What a picture shows, as its author has put it in words."""
    properties = shape._element._nvXxPr.cNvPr  # noqa: SLF001 - python-pptx has no other way to it
    return " ".join(str(properties.get("descr") or "").split())


def _chart(chart: Any) -> str:
    parts = []
    if chart.has_title and chart.chart_title.has_text_frame:
        parts.append(chart.chart_title.text_frame.text)
    try:
        categories = [str(getattr(each, "label", each)) for each in chart.plots[0].categories]
        series = [(str(each.name or ""), list(each.values)) for each in chart.series]
    except (AttributeError, IndexError, KeyError, ValueError):  # a kind that python-pptx does not read
        return "\n\n".join(parts)
    rows = [["", *(name for name, _ in series)]]
    for index, category in enumerate(categories):
        values = [values[index] if index < len(values) else None for _, values in series]
        rows.append([category, *("" if value is None else f"{value:g}" for value in values)])
    return "\n\n".join([*parts, table(rows)])


def _related(part: Any, kind: str) -> Iterator[str]:
    """The texts of the parts of one kind that belong to a slide: its diagrams, its comments."""
    from lxml import etree

    for relation in part.rels.values():
        if relation.is_external or kind not in relation.reltype:
            continue
        root = etree.fromstring(relation.target_part.blob, etree.XMLParser(resolve_entities=False, no_network=True))
        found = list(_paragraphs(root)) or ["".join(each.itertext()) for each in root.iter("{*}text")]
        if words := "\n".join(line for line in found if line.strip()):
            yield plain(words)


def _paragraphs(element: Any) -> Iterator[str]:
    for paragraph in element.iter(_PARAGRAPH):
        if words := "".join(each.text or "" for each in paragraph.iter(_TEXT)).strip():
            yield words
