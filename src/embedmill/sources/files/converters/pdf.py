"""PDF to Markdown by PDFium: the text in the order in which it was written, page by page; ruled tables as tables.

A form feed stands before each page but the first, as pdftotext has it.
"""

from __future__ import annotations

import ctypes
import io
import re
import signal
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from types import FrameType
from typing import Any, Final

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from embedmill.sources.files.converters.markdown import plain, table
from embedmill.sources.files.converters.result import Converted, NeedsPassword

PAGE_BREAK: Final = "\n\n\f"

_SECONDS_A_PAGE: Final = 5.0  # of processor time to look for tables: a page of ordinary tables takes 0.1
_SECONDS_IN_ALL: Final = 40.0  # what comes later has its text as lines
_FILLED: Final = 0.15  # of a table's cells
_PATHS: Final = range(4, 4000)  # drawn paths on a page that may be a table's rules: more are a drawing

_HYPHEN: Final = re.compile("[\x02\ufffe][ \t]*\n")  # PDFium's sign for a word that goes on in the next line
_LEADERS: Final = re.compile(r"(?:[ ]?[.\u2026]){5,}")  # of a table of contents
_BLANK_LINES: Final = re.compile(r"[ \t]*\n(?:[ \t]*\n){2,}")
_AS_MEANT: Final = {
    **{code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)},  # ligatures: "ﬁ" is "fi"
    0x02: "-",
    0xFFFE: "-",
    0xAD: "",  # a soft hyphen
    0x0C: " ",
}

Box = tuple[float, float, float, float]
"""Left, bottom, right, top in points, from the page's lower left."""

Table = tuple[Box, list[list[Box | None]]]
"""Where it lies, and the cells of its rows; None for one that another reaches into."""


def convert(data: bytes) -> Converted:
    """The text of all pages. Raises `NeedsPassword` where only a password opens the file."""
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            raise NeedsPassword from error
        raise
    with_forms = document.get_formtype() != raw.FORMTYPE_NONE
    if with_forms:
        document.init_forms()
    tables = _Tables(data)
    pages: list[str] = []
    pictures = 0
    for number in range(len(document)):
        page = document[number]
        if with_forms:  # what was filled in is drawn over the page until then
            raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY)
            page.close()
            page = document[number]
        text = _text_of(page, number, tables)
        if not text.strip():
            pictures += any(True for _ in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3))
        pages.append(text)
        page.close()
    document.close()
    if not any(page.strip() for page in pages):
        return Converted("", paged=True)
    notes = [f"{pictures} of its {len(pages)} pages are pictures without text"] if pictures else []
    return Converted(PAGE_BREAK.join(pages), paged=True, notes=notes)


def _text_of(page: pdfium.PdfPage, number: int, tables: _Tables) -> str:
    with closing(page.get_textpage()) as textpage:
        found = tables.on(page, number)
        text = _around(textpage, found) if found else plain(_lines(textpage))
    text = _HYPHEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).translate(_AS_MEANT)
    return "\n".join(_LEADERS.sub(" …", line).rstrip() for line in text.split("\n")).strip("\n")


def _around(textpage: pdfium.PdfTextPage, found: Sequence[Table]) -> str:
    """The page's text, with each table in the place of its first character. What is in no cell is text."""
    outside: list[str] = []
    segments: list[list[str] | int] = [outside]  # text, and numbers of tables
    cells: list[dict[tuple[int, int], list[str]]] = [{} for _ in found]
    target = outside
    for letter, across, up in _characters(textpage):
        if letter.strip():  # what is not stays with the character before it
            number, cell = _containing(found, across, up)
            if number >= 0 and not cells[number]:
                outside = []
                segments += [number, outside]
            target = outside if number < 0 else cells[number].setdefault(cell, [])
        target.append(letter)
    tables = [_as_table(rows, own) for (_, rows), own in zip(found, cells, strict=True)]
    kept = [each for each, drawn in zip(found, tables, strict=True) if drawn]
    if len(kept) < len(found):
        return _around(textpage, kept) if kept else plain(_lines(textpage))
    parts = (f"\n\n{tables[each]}\n\n" if isinstance(each, int) else plain("".join(each)) for each in segments)
    return _BLANK_LINES.sub("\n\n", "".join(parts).replace("\r\n", "\n"))


def _lines(textpage: pdfium.PdfTextPage) -> str:
    return str(textpage.get_text_range()).replace("\r\n", "\n")


def _containing(found: Sequence[Table], across: float, up: float) -> tuple[int, tuple[int, int]]:
    """Which table, and which row and cell of it, a place on the page lies in; -1 for none."""
    for number, (bounds, rows) in enumerate(found):
        if _holds(bounds, across, up):
            for row, boxes in enumerate(rows):
                for column, box in enumerate(boxes):
                    if box is not None and _holds(box, across, up):
                        return number, (row, column)
    return -1, (0, 0)


def _holds(box: Box, across: float, up: float) -> bool:
    left, bottom, right, top = box
    return left <= across <= right and bottom <= up <= top


def _characters(textpage: pdfium.PdfTextPage) -> Iterator[tuple[str, float, float]]:
    """Each character of the page, with the middle of its box."""
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    lead = 0
    for index in range(textpage.count_chars()):
        code = raw.FPDFText_GetUnicode(textpage, index)
        if 0xD800 <= code < 0xDC00:
            lead = code
            continue
        if 0xDC00 <= code < 0xE000 and lead:
            code = 0x10000 + ((lead - 0xD800) << 10) + code - 0xDC00
        lead = 0
        raw.FPDFText_GetCharBox(textpage, index, left, right, bottom, top)
        yield chr(code), (left.value + right.value) / 2, (bottom.value + top.value) / 2


def _as_table(rows: list[list[Box | None]], cells: dict[tuple[int, int], list[str]]) -> str:
    """As Markdown; "" where most cells are empty: squared paper, a drawing, a frame."""
    filled = sum(any(map(str.strip, letters)) for letters in cells.values())
    if filled < max(2, _FILLED * sum(map(len, rows))):
        return ""
    return table(
        ["".join(cells.get((row, column), ())) for column in range(len(boxes))] for row, boxes in enumerate(rows)
    )


class _TooSlow(Exception):
    """More processor time has gone than was allowed."""


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise `_TooSlow` inside after so many seconds of processor time. Only for the main thread of the process."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class _Tables:
    """Finds tables by their rules, with ``pdfplumber``, on the pages that have any."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._document: Any = None
        self._seconds = _SECONDS_IN_ALL

    def on(self, page: pdfium.PdfPage, number: int) -> list[Table]:
        """The tables of a page, each with the cells of its rows; none where looking takes too long."""
        if self._seconds <= 0 or page.get_rotation():
            return []
        paths = sum(1 for _ in page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH], max_depth=3))
        if paths not in _PATHS:
            return []
        started = time.process_time()
        try:
            with _within(min(_SECONDS_A_PAGE, self._seconds)):
                return self._found(page, number)
        except Exception:  # `_TooSlow`, and whatever it does not understand of a page that PDFium reads
            return []
        finally:
            self._seconds -= time.process_time() - started

    def _found(self, page: pdfium.PdfPage, number: int) -> list[Table]:
        if self._document is None:
            import pdfplumber

            self._document = pdfplumber.open(io.BytesIO(self._data))
        looked_at = self._document.pages[number]
        x, y = looked_at.mediabox[0], looked_at.mediabox[1] + float(looked_at.height)

        def box(bounds: Sequence[float]) -> Box:
            left, top, right, bottom = bounds
            return left + x, y - bottom, right + x, y - top

        found = []
        for each in looked_at.find_tables():
            rows = [row.cells for row in each.rows]
            if len(rows) > 1 and max(map(len, rows)) > 1:
                found.append((box(each.bbox), [[box(cell) if cell else None for cell in row] for row in rows]))
        looked_at.close()
        return found
