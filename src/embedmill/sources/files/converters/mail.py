"""Mails to Markdown by the standard library: the subject as heading, who and when, the body, what is attached."""

from __future__ import annotations

import email.policy
import re
from collections.abc import Iterator
from contextlib import suppress
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from html.parser import HTMLParser
from importlib.util import find_spec
from typing import Final

from embedmill.sources.files.converters.markdown import plain
from embedmill.sources.files.converters.result import Converted, Unconvertible
from embedmill.sources.files.decoding import decode
from embedmill.sources.files.skips import LeftOut

_MESSAGE: Final = re.compile(rb"^From [^\r\n]*\r?\n", re.MULTILINE)
_QUOTED: Final = re.compile(rb"^>(>*From )", re.MULTILINE)
_HEADERS: Final = ("From", "To", "Cc", "Date")
_DEEPEST: Final = 10  # mails forwarded in mails


def convert(data: bytes) -> Converted:
    """One mail."""
    if found := re.match(rb"\s*\d+\s*\n", data):  # as Apple's program keeps them: the length in bytes before it
        data = data[found.end() :]
    message = _parsed(data)
    if not message.keys():
        raise Unconvertible("it has no headers of a mail")
    return Converted("\n\n".join(_parts(message, 1)))


def convert_box(data: bytes) -> Converted:
    """All mails of a mailbox."""
    return Converted("\n\n".join(part for mail in _mails(data) for part in _parts(_parsed(mail), 1)))


class _Policy(email.policy.Compat32):
    """Reads headers by need and mends what it can, where "default" raises; takes those in plain UTF-8 as what they say.

    RFC 6532 allows them, and many programs wrote them before.
    """

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        if value.isascii():
            return name, value
        raw = value.encode("utf-8", "surrogateescape")
        try:
            return name, decode(raw)
        except LeftOut:  # binary
            return name, raw.decode("utf-8", "replace")


_POLICY: Final = _Policy()


def _parsed(data: bytes) -> Message:
    return BytesParser(policy=_POLICY).parsebytes(data)


def _mails(data: bytes) -> Iterator[bytes]:
    starts = [
        found
        for found in _MESSAGE.finditer(data)
        if found.start() == 0 or data[max(0, found.start() - 4) : found.start()].endswith((b"\n\n", b"\n\r\n"))
    ]
    if not starts or data[: starts[0].start()].strip():
        raise Unconvertible("it does not begin as a mailbox does, with a line 'From ...'")
    ends = [found.start() for found in starts[1:]] + [len(data)]
    for found, end in zip(starts, ends, strict=True):
        yield _QUOTED.sub(rb"\1", data[found.end() : end])


def _parts(message: Message, level: int) -> Iterator[str]:
    yield f"{'#' * min(level, 6)} {_header(message, 'Subject') or '(no subject)'}"
    about = [f"{name}: {said}" for name in _HEADERS if (said := _header(message, name))]
    if about:
        yield "\n".join(about)
    attached: list[str] = []
    yield from _body(message, level, attached)
    yield from (f"Attachment: {name}" for name in attached)


def _body(part: Message, level: int, attached: list[str]) -> Iterator[str]:
    kind, name = part.get_content_type(), _file_name(part)
    if kind == "message/rfc822" and level < _DEEPEST:
        for inner in part.get_payload() if part.is_multipart() else ():
            if isinstance(inner, Message):
                yield from _parts(inner, level + 1)
    elif part.is_multipart():
        inner_parts = [inner for inner in part.get_payload() if isinstance(inner, Message)]
        if kind == "multipart/alternative":
            inner_parts = _best(inner_parts)
        for inner in inner_parts:
            yield from _body(inner, level, attached)
    elif part.get_content_disposition() == "attachment" or name or part.get_content_maintype() != "text":
        if name:
            attached.append(f"{name} ({kind})")
    elif (text := _text(part).strip()) and kind == "text/html":
        yield _html(text)
    elif text:
        yield plain(text)


def _best(parts: list[Message]) -> list[Message]:
    """Of versions of one text the plain one, unless that is empty; else the last, which is the richest."""
    for kind in ("text/plain", "text/html"):
        for part in parts:
            if part.get_content_type() == kind and _text(part).strip():
                return [part]
    return parts[-1:]


def _text(part: Message) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes) or not payload.strip():
        return ""
    charset = part.get_content_charset()
    for encoding in (charset, "utf-8"):
        with suppress(LookupError, UnicodeError):
            return payload.decode(_AS_MEANT.get(str(encoding), encoding or "ascii"))
    with suppress(LeftOut):
        return decode(payload)
    return ""


_AS_MEANT: Final = {"iso-8859-1": "cp1252", "us-ascii": "ascii", "gb2312": "gb18030", "unknown-8bit": "ascii"}


def _html(text: str) -> str:
    if all(find_spec(module) is not None for module in ("bs4", "lxml", "markdownify")):
        from embedmill.sources.files.converters import html

        return html.markdown(html.parsed(text))
    reader = _Words()
    reader.feed(text)
    return plain(re.sub(r"\s*\n\s*", "\n", "".join(reader.words)).strip())


class _Words(HTMLParser):
    """A page's words, where the extra ``documents`` is not installed."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in ("script", "style", "head"):
            self._hidden += 1
        self.words.append("" if tag in ("a", "b", "i", "em", "span", "strong", "code", "u", "font") else "\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style", "head"):
            self._hidden = max(0, self._hidden - 1)

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)


def _header(message: Message, name: str) -> str:
    value = message.get(name, "")
    try:
        return _decoded(value)
    except _NOT_DECODED:
        return " ".join(str(value).split())


def _file_name(part: Message) -> str:
    try:
        return _decoded(part.get_filename() or "")
    except (*_NOT_DECODED, TypeError):
        return "unnamed"


_NOT_DECODED: Final = (LookupError, MessageError, UnicodeError, ValueError)  # as an encoding that nobody knows


def _decoded(value: str) -> str:
    return " ".join(str(make_header(decode_header(value))).split())
