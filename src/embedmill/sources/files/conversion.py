"""Documents that are no plain text: PDF, Word, PowerPoint, HTML, RTF (the extra ``documents``), mails and notebooks."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from embedmill.core.documents import Kind
from embedmill.core.errors import SourceError
from embedmill.runtime.paths import quote_path
from embedmill.sources.files import notebooks
from embedmill.sources.files.decoding import decode, decoded
from embedmill.sources.files.kinds import (
    DOCUMENT_SUFFIXES,
    HTML_SUFFIXES,
    MAIL_SUFFIXES,
    NOTEBOOK_SUFFIXES,
    kind_of,
    suffix_of,
)
from embedmill.sources.files.skips import LeftOut, Skip

log = logging.getLogger("embedmill")

_PAGES = ("bs4", "lxml", "markdownify")
_MODULES = {
    ".docx": ("mammoth", *_PAGES),
    ".pdf": ("pypdfium2",),
    ".pptx": ("pptx",),
    ".rtf": ("striprtf",),
    **dict.fromkeys(HTML_SUFFIXES, _PAGES),
}
assert _MODULES.keys() == DOCUMENT_SUFFIXES

_MAILBOX = re.compile(rb"From [^\r\n]{1,200}[0-9]{4}[^\r\n]{0,20}\r?\n[A-Za-z][A-Za-z0-9-]*:")
"""How a mailbox begins: many programs give it a name without a suffix, such as "Inbox"."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Text:
    """What a file says, and how that is to be cut."""

    text: str
    kind: Kind
    converted: bool = False  # from another format; else the text is the file's own
    only_pictures: bool = False  # a document of a format that is converted, without any text
    paged: bool = False  # a form feed stands before each page but the first
    guessed: str = ""  # the encoding, where that was guessed


def read_text(
    content: bytes, name: str, document: str, until: Callable[[], float] = lambda: math.inf, encoding: str | None = None
) -> Text:
    """The text of a file of any format; "" where it has none, as a scanned PDF.

    `encoding` is that of text and HTML that is not UTF-8; None: it is what a page declares, or guessed.
    A conversion is given up at the time that `until` says, by `time.monotonic`.
    Nothing is fetched and nothing in the document is run. Raises `SourceError` where it cannot be converted, and
    `LeftOut` where it is binary or the extra that it needs is missing.
    """
    suffix = suffix_of(name) or (".mbox" if _MAILBOX.match(content) else "")
    if content and suffix in DOCUMENT_SUFFIXES and not convertible(suffix):
        raise LeftOut(Skip.NEEDS_EXTRA)
    # An empty file has no text, of whatever format: what it once held is to be removed.
    if content and (suffix in DOCUMENT_SUFFIXES or suffix in MAIL_SUFFIXES):
        if encoding is not None and suffix in HTML_SUFFIXES:
            content = decode(content, encoding).encode("utf-8-sig")
        return _converted(content, suffix, document, until)
    text, guessed = decoded(content, encoding)
    if suffix in NOTEBOOK_SUFFIXES and (cells := notebooks.to_markdown(text)) is not None:
        return Text(cells, Kind.MARKDOWN, converted=True)
    return Text(text, kind_of(name, text), guessed=guessed)


@cache
def convertible(suffix: str) -> bool:
    """Whether documents of this format can be converted; where not, says once what to install."""
    installed = all(find_spec(module) is not None for module in _MODULES[suffix])
    if not installed:
        _say_what_to_install()
    return installed


@cache
def _say_what_to_install() -> None:
    log.warning("PDF, Word, PowerPoint, HTML and RTF files are left out: pip install 'embedmill[documents]'")


def _converted(content: bytes, suffix: str, document: str, until: Callable[[], float]) -> Text:
    from embedmill.sources.files.converters.process import Died, process

    try:
        answer, text = process.convert(suffix, content, until)
    except (Died, OSError) as died:
        answer, text = {"error": str(died)}, ""
    if "binary" in answer:
        raise LeftOut(Skip.BINARY)
    if "error" in answer:
        raise SourceError(
            f"{quote_path(document)}: cannot be converted ({answer['error']}): correct that, or use --exclude"
        )
    for note in answer["notes"]:
        log.warning("%s: %s", quote_path(document), note)
    if not text.strip():
        log.warning("%s: no text found in it", quote_path(document))
        return Text("", Kind.TEXT, converted=True, only_pictures=True)
    kind = Kind.MARKDOWN if answer["markdown"] else Kind.TEXT
    return Text(_UNSTORABLE.sub("\ufffd", text), kind, converted=True, paged=answer["paged"], guessed=answer["guessed"])
