"""PDF, Word, PowerPoint and HTML to Markdown, by ``markitdown`` (the extra ``documents``)."""

from __future__ import annotations

import io
import logging
import re
import zipfile
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from embedmill.errors import SourceError
from embedmill.sources.decoding import decode
from embedmill.sources.names import shown

if TYPE_CHECKING:
    from markitdown import MarkItDown

log = logging.getLogger("embedmill")

_HTML = frozenset({".htm", ".html"})
_ZIPPED = frozenset({".docx", ".pptx"})

_MAX_UNZIPPED = 1 << 30
"""Bytes. A file of a few kilobytes can be made to unzip to all the memory there is."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

_ATTEMPT = re.compile(r"^- \w+ threw \w+ with message: ")  # how markitdown lists what its converters said

_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]+)", re.IGNORECASE)
_CHARSET_WITHIN = 1024  # bytes, as the HTML standard has it


@cache
def convertible() -> bool:
    """Whether documents can be converted; where not, says once what to install."""
    if find_spec("markitdown") is not None:
        return True
    log.warning("PDF, Word, PowerPoint and HTML files are left out: pip install 'embedmill[documents]'")
    return False


def to_markdown(data: bytes, suffix: str, document: str) -> str:
    """The document's text as Markdown; "" where it has none, as a scanned PDF.

    Nothing is fetched and nothing in the document is run. Raises `SourceError` where it cannot be converted.
    """
    from markitdown import StreamInfo

    if suffix in _HTML:
        data = _html(data).encode()
    try:
        if suffix in _ZIPPED:
            _check_unzipped_size(data)
        stream_info = StreamInfo(extension=suffix, charset="utf-8" if suffix in _HTML else None)
        text = _converter().convert_stream(io.BytesIO(data), stream_info=stream_info).markdown
    except Exception as error:  # whatever the many parsers raise on damaged files
        raise SourceError(
            f"{shown(document)}: cannot be converted ({_cause(error)}): correct that, or use --exclude"
        ) from error
    if not text.strip():
        log.warning("%s: no text found in it", shown(document))
        return ""
    return _UNSTORABLE.sub("\ufffd", text)


@cache
def _converter() -> MarkItDown:
    from markitdown import MarkItDown
    from markitdown.converters import DocxConverter, HtmlConverter, PdfConverter, PptxConverter

    logging.getLogger("pdfminer").setLevel(logging.ERROR)  # it remarks on every irregular page
    # No others: those built in would take a damaged Word file for a zip archive and tell what is in it.
    converter = MarkItDown(enable_builtins=False, enable_plugins=False)
    for known in (DocxConverter, HtmlConverter, PdfConverter, PptxConverter):
        converter.register_converter(known())
    return converter


def _html(data: bytes) -> str:
    """The page's text by what it says of itself, else as any text's."""
    declared = _CHARSET.search(data, 0, _CHARSET_WITHIN)
    if declared is not None:
        try:
            return data.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeError):
            pass  # it says what is not so
    return decode(data)


def _check_unzipped_size(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > _MAX_UNZIPPED:
        raise SourceError(f"it would take {size >> 20} MiB unzipped")


def _cause(error: Exception) -> str:
    """What went wrong, on one line, without the libraries' advice."""
    message = str(error)
    if "MissingDependency" in type(error).__name__ + message:
        return "a part of the extra is missing: pip install 'embedmill[documents]'"
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return _ATTEMPT.sub("", lines[-1])[:200] if lines else type(error).__name__
