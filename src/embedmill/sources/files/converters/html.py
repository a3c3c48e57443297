"""HTML to Markdown by ``beautifulsoup4`` and ``markdownify``, nothing escaped; and which encoding a page has."""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from typing import Any, Final

from bs4 import BeautifulSoup, Tag
from markdownify import MarkdownConverter

from embedmill.sources.files.converters.markdown import INDENT, cell_text, marked
from embedmill.sources.files.converters.result import Converted
from embedmill.sources.files.decoding import Decoded, decoded

_MARK: Final = "\ue000"  # of private use, and nowhere else while a page is converted
_NO_BLOCKS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "td", "th", "li", "pre", "code"})
_UNSEEN: Final = ("script", "style", "noscript", "template", "head", "title")

_COMMENT: Final = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_META: Final = re.compile(rb"<meta[\s/]([^>]*)", re.IGNORECASE)
_ATTRIBUTE: Final = re.compile(rb"([^\s=/>\"']+)\s*(?:=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+)))?")
_CHARSET: Final = re.compile(rb"charset\s*=\s*[\"']?\s*([^\s\"';]+)", re.IGNORECASE)
_XML: Final = re.compile(rb"\s*<\?xml\s[^>]*?encoding\s*=\s*[\"']([^\"']+)")
_WITHIN: Final = 1024  # bytes, as the HTML standard has it

# What the labels mean to browsers (https://encoding.spec.whatwg.org/#names-and-labels), where Python differs.
_AS_BROWSERS: Final = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949", "johab": "cp949", "shift_jis": "cp932",
    "big5": "big5hkscs",
    # A page whose declaration can be read as ASCII is in none of these.
    "utf-16": "utf-8", "utf-16-le": "utf-8", "utf-16-be": "utf-8",
}  # fmt: skip
_ONLY_BROWSERS_KNOW: Final = {
    "x-cp1250": "cp1250", "x-cp1251": "cp1251", "x-cp1252": "cp1252", "x-cp1253": "cp1253", "x-cp1254": "cp1254",
    "x-cp1255": "cp1255", "x-cp1256": "cp1256", "x-cp1257": "cp1257", "x-cp1258": "cp1258", "x-gbk": "gb18030",
    "x-sjis": "cp932", "x-euc-jp": "euc_jp", "x-x-big5": "big5hkscs", "iso-8859-8-i": "iso8859-8", "dos-874": "cp874",
    "unicode-1-1-utf-8": "utf-8", "x-unicode20utf8": "utf-8", "unicode": "utf-8", "x-user-defined": "cp1252",
    "x-mac-roman": "mac_roman", "macintosh": "mac_roman", "x-mac-cyrillic": "mac_cyrillic",
}  # fmt: skip
_NOT_IN_PAGES: Final = frozenset({"utf-7", "utf-32", "utf-32-le", "utf-32-be", "hz", "punycode", "idna"})
_SEVERAL_BYTES: Final = frozenset({"gb18030", "cp932", "cp949", "big5hkscs", "euc_jp"})
_PROVES_UTF8: Final = 8  # characters beyond ASCII: two or three of them may be GBK that happens to fit


def convert(data: bytes) -> Converted:
    """A page: its title and description, then its body."""
    text = _text_as_declared(data)
    page = decoded(data) if text is None else Decoded(text)
    soup = parsed(page.text)
    head = []
    title = soup.head.title if soup.head is not None and soup.head.title is not None else soup.title
    if title is not None and title.find_parent("svg") is None and (words := _words(title.get_text())):
        head.append(f"# {words}")
    for meta in soup.find_all("meta"):
        name = str(meta.get("name") or meta.get("property") or "").lower()
        if name in ("description", "og:description") and (words := _words(str(meta.get("content") or ""))):
            head.append(words)
            break
    return Converted("\n\n".join([*head, markdown(soup)]).strip("\n"), guessed=page.guessed)


def _text_as_declared(data: bytes) -> str | None:
    """The page's text by a byte order mark, as UTF-8 where it is, or by what it declares; None where that is wrong.

    As browsers do it (https://html.spec.whatwg.org/#determining-the-character-encoding), but for a page that is UTF-8
    throughout and says otherwise: nobody meant what it would show.
    """
    if data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return None  # as of any text
    encoding = _declared(data)
    if encoding is None or encoding == "utf-8":
        return None
    with suppress(UnicodeDecodeError):
        text = data.decode("utf-8")
        beyond = len(text) - len(text.encode("ascii", "ignore"))
        if beyond and (encoding not in _SEVERAL_BYTES or beyond >= _PROVES_UTF8):
            return text
    with suppress(UnicodeDecodeError):
        return data.decode(encoding)
    # Five bytes that Windows' encodings leave free do not make it another; of the others it is wrong.
    text = data.decode(encoding, "replace")
    return text if encoding not in _SEVERAL_BYTES and text.count("\ufffd") <= len(text) // 100 else None


def _declared(data: bytes) -> str | None:
    """Python's name of the encoding that the page says it is in; None where it says none that is known."""
    head = _COMMENT.sub(b"", data[: 4 * _WITHIN])[:_WITHIN]
    found = _XML.match(head)
    if found is not None and (encoding := _codec(found[1])):
        return encoding
    for meta in _META.finditer(head):
        attributes = {
            name.lower(): value or single or bare for name, value, single, bare in _ATTRIBUTE.findall(meta[1])
        }
        label = attributes.get(b"charset")
        if label is None and attributes.get(b"http-equiv", b"").strip().lower() == b"content-type":
            content = _CHARSET.search(attributes.get(b"content", b""))
            label = content[1] if content else None
        if label is not None and (encoding := _codec(label)):
            return encoding
    return None


def _codec(label: bytes) -> str | None:
    name = label.decode("ascii", "replace").strip().lower()
    if name in _ONLY_BROWSERS_KNOW:
        return _ONLY_BROWSERS_KNOW[name]
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    if info.name in _NOT_IN_PAGES or not getattr(info, "_is_text_encoding", True):
        return None
    return _AS_BROWSERS.get(info.name, info.name)


def parsed(page: str) -> BeautifulSoup:
    """A page, whole or a part of one, as a tree; whatever is wrong with it."""
    # Unlike Python's own parser this one knows that a new cell, item or paragraph ends the one before.
    return BeautifulSoup(page, "lxml")


def markdown(soup: BeautifulSoup) -> str:
    """The body as Markdown; only its text where it is nested too deeply for that."""
    for element in soup(_UNSEEN):
        element.decompose()
    _unwrap_outer_tables(soup)
    body: Tag = soup.body or soup
    try:
        text = re.sub(f"(?m)^{_MARK}", INDENT, _Markdown().convert_soup(body)).replace(_MARK, "")
    except RecursionError:
        text = body.get_text("\n", strip=True)
    return str(text).replace("\u00ad", "").strip("\n").rstrip()


def _unwrap_outer_tables(soup: BeautifulSoup) -> None:
    """Make blocks of tables that hold others: they place things on the page, and Markdown has no such tables."""
    outer = {id(table) for inner in soup.find_all("table") if (table := inner.find_parent("table")) is not None}
    if not outer:
        return
    for part in soup.find_all(["tr", "td", "th", "tbody", "thead", "tfoot", "caption"]):
        if id(part.find_parent("table")) in outer:
            part.name = "div"
    for table in soup.find_all("table"):
        if id(table) in outer:
            table.name = "div"


def _words(text: str) -> str:
    return " ".join(text.split())


class _Markdown(MarkdownConverter):  # type: ignore[misc]  # it has no types
    """Headings with "#", no escapes, no data where an address should stand."""

    def __init__(self) -> None:
        super().__init__(
            heading_style="atx",
            escape_asterisks=False,
            escape_underscores=False,
            escape_misc=False,
            table_infer_header=True,
            autolinks=False,
        )

    def escape(self, text: str, parent_tags: Any) -> str:
        """Nothing; but what would begin a heading or a fence where there is none gets a mark."""
        return text if _NO_BLOCKS.intersection(parent_tags) else marked(text, _MARK)

    def convert_a(self, el: Tag, text: str, parent_tags: Any) -> str:
        """A link's text, with its address where that leads somewhere else."""
        address = str(el.get("href") or "")
        if re.match(r"(?i)\s*(?:#|javascript:|data:|mailto:|tel:|$)", address):
            return text
        return str(super().convert_a(el, text, parent_tags))

    def convert_img(self, el: Tag, text: str, parent_tags: Any) -> str:
        """What the picture shows, in words, with its address."""
        words, address = _words(str(el.get("alt") or "")), str(el.get("src") or "")
        if re.match(r"(?i)\s*data:", address) or not address:
            return words
        return f"![{words}]({address})"

    def convert_td(self, el: Tag, text: str, parent_tags: Any) -> str:
        """A cell on one line."""
        return str(super().convert_td(el, cell_text(text), parent_tags))

    def convert_th(self, el: Tag, text: str, parent_tags: Any) -> str:
        return str(super().convert_th(el, cell_text(text), parent_tags))
