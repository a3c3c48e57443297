"""Bytes to text: which encoding, and whether it is text at all.

In this order: a byte order mark; UTF-32 and UTF-16 without one, by where their zero bytes stand; UTF-8; UTF-8
with a few bad bytes; else an older encoding, guessed from the words around the first byte that is not UTF-8.
"""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from typing import NamedTuple

from embedmill.runtime.byte_order import BYTE_ORDER_MARKS
from embedmill.sources.files.skips import LeftOut, Skip

_HEAD = 8000  # bytes that are looked at to tell text from data: as many as git looks at
_GUESSED = 1 << 16  # bytes that an encoding is guessed from: more cost time and tell little more

_MAX_CONTROLS = 0.05
"""Text has next to no control characters; compressed and machine data are 10 % and more."""

_WINDOW = 1024  # bytes: in so many, compressed data has about 100 control characters, and text none

_BLANK = bytes(code if code in b"\n" else 32 for code in range(256))
"""Makes spaces of all but line ends."""

_MAX_FOREIGN = 0.3
"""Text in an encoding that nobody recognises is still worth having where at most this share is not ASCII."""

_WIDE = ("utf-16", "utf-32")
_SURROGATE = re.compile("[\ud800-\udfff]")

_ENCODINGS = (
    "windows-1250", "windows-1251", "windows-1252", "windows-1253", "windows-1254", "windows-1255", "windows-1256",
    "windows-1257", "iso-8859-2", "iso-8859-5", "iso-8859-6", "iso-8859-7", "iso-8859-9", "iso-8859-15", "koi8-r",
    "koi8-u", "cp437", "cp775", "cp850", "cp852", "cp857", "cp860", "cp866", "mac-roman", "mac-cyrillic", "mac-turkish",
    "cp932", "euc-jp", "gb18030", "big5", "euc-kr", "cp949", "tis-620",
)  # fmt: skip
"""What is taken for possible: of the others there are next to no files, and short texts are taken for them."""

_FEW = 8  # bytes beyond ASCII: fewer tell little, and are Western European where they fit that
_WESTERN = frozenset("éèàáâäåçêëíîïñóôöúüßÉÀÄÖÜ¿¡«»€–—‘’“”„…°©®·")

_SURE = 0.04  # of 1: lines of text come to 0.09 and more, data to 0.02

_JAPANESE = re.compile(rb"\x1b\$[@B][\x21-\x7e]")
"""How ISO-2022-JP, which has ASCII's bytes alone, begins another script."""

_NEIGHBOURS = re.compile(rb"(?<![A-Za-z])[\x80-\xff]{2}|[\x80-\xff]{2}(?![A-Za-z])")
"""Two bytes beyond ASCII that may be a sign of an East Asian script, or two letters of a word that is not Latin; not
those inside of a Latin word, as in "Gr\u00f6\u00dfe"."""

_CONTROLS = bytes(code for code in (*range(32), 127) if code not in b"\t\n\f\r\b\x1b")
_FIRST_CONTROL = re.compile(b"[" + re.escape(_CONTROLS) + b"]")
_LAST_CONTROL = re.compile(b".*[" + re.escape(_CONTROLS) + b"]", re.DOTALL)


class Decoded(NamedTuple):
    """The text of some bytes."""

    text: str
    guessed: str = ""  # the encoding, where that was guessed


def decode(data: bytes, encoding: str | None = None) -> str:
    """The text of a file; see `decoded`."""
    return decoded(data, encoding).text


def decoded(data: bytes, encoding: str | None = None) -> Decoded:
    """The text of a file, as it stands but for its byte order mark; line ends are kept.

    `encoding`, by Python's name, is that of what has no byte order mark and is not UTF-8; None: it is guessed.

    Raises `LeftOut` for binary data: a zero byte in the first 8,000 bytes, as in git, or too many control
    characters. Data further on, as behind the text of a script that unpacks itself, becomes spaces. The text can
    be stored anywhere: it holds no lone surrogates, and a NUL further on in it, which databases refuse, becomes
    U+FFFD, so that no other character moves.
    """
    if data.startswith(b"%PDF-"):
        raise LeftOut(Skip.BINARY)  # a PDF whose name does not end in .pdf
    for mark, marked in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            text = data[len(mark) :].decode(marked, "replace")
            return Decoded(_without_nul(text if marked == "utf-8" else _plausible(text)))
    if encoding is not None and encoding.startswith(_WIDE):
        return Decoded(_without_nul(_plausible(data.decode(encoding, "replace"))))
    head = data[:_HEAD]
    if b"\0" in head:
        return Decoded(_without_nul(_wide(data)))
    if _controls(head) or (b"\0" in data and _controls(data)):
        raise LeftOut(Skip.BINARY)  # control characters
    data = _without_data(data)
    if encoding is not None:
        return Decoded(_without_nul(_in_encoding(data, encoding)))
    if _JAPANESE.search(data):
        with suppress(UnicodeDecodeError):
            return Decoded(_without_nul(data.decode("iso2022_jp")), "iso2022_jp")
    try:
        found = Decoded(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        found = _not_utf8(data, error.start)
    return found._replace(text=_without_nul(found.text))


def _in_encoding(data: bytes, encoding: str) -> str:
    """The text in the encoding that was named, unless it is UTF-8 beyond doubt: a folder may have both."""
    if not data.isascii():
        with suppress(UnicodeDecodeError):
            return data.decode("utf-8")
    return _SURROGATE.sub("\ufffd", data.decode(encoding, "replace"))


def _without_nul(text: str) -> str:
    return text.replace("\0", "\ufffd")


def _controls(data: bytes) -> bool:
    return len(data) - len(data.translate(None, _CONTROLS)) > _MAX_CONTROLS * len(data)


def _without_data(text: bytes) -> bytes:
    """The text with spaces where there is binary data beyond its head; line ends stay, and so does its length."""
    if len(text) <= _HEAD or len(text.translate(None, _CONTROLS)) == len(text):
        return text
    clean, done = bytearray(text), 0
    for start in range(0, len(text), _WINDOW):
        if start >= done and _controls(text[start : start + _WINDOW]):
            end = start + _WINDOW
            while end < len(text) and _controls(text[end : end + _WINDOW]):
                end += _WINDOW
            # It begins with the first line that has control characters here or in the window before, and ends so, too.
            low, high = max(done, start - _WINDOW), min(len(text), end + _WINDOW)
            first, last = _FIRST_CONTROL.search(text, low, high), _LAST_CONTROL.match(text, low, high)
            assert first is not None and last is not None
            start = max(low, text.rfind(b"\n", low, first.start()) + 1)
            line_end = text.find(b"\n", last.end(), high)
            end = high if line_end < 0 else line_end
            clean[start:end] = text[start:end].translate(_BLANK)
            done = end
    return bytes(clean)


def _wide(data: bytes) -> str:
    """UTF-32 or UTF-16 without a mark: letters, spaces and line ends have zero bytes, all in one place."""
    head = data[: _HEAD & ~3]
    zeros = [head[place::4].count(0) / max(1, len(head) // 4) for place in range(4)]
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    fits = {
        "utf-32-le": zeros[3] == 1 and zeros[0] < 1,
        "utf-32-be": zeros[0] == 1 and zeros[3] < 1,
        "utf-16-le": odd > 0.2 and even < odd / 10,
        "utf-16-be": even > 0.2 and odd < even / 10,
    }
    for encoding in (encoding for encoding, fit in fits.items() if fit):
        with suppress(UnicodeDecodeError):
            return _plausible(data.decode(encoding))
    raise LeftOut(Skip.BINARY)  # zero bytes


def _plausible(text: str) -> str:
    """The text, unless it is data that happens to decode."""
    head = text[:_HEAD]
    odd = sum(not (character.isprintable() or character.isspace()) for character in head)
    if odd > _MAX_CONTROLS * len(head):
        raise LeftOut(Skip.BINARY)  # code points that no text has
    return text


def _not_utf8(data: bytes, first_bad: int) -> Decoded:
    """What is not UTF-8 throughout."""
    text = data.decode("utf-8", "replace")
    foreign = len(text) - len(text.encode("ascii", "ignore"))
    bad = text.count("\ufffd")
    if foreign - bad > bad:  # in no other encoding do this many bytes make up UTF-8 sequences by chance
        return Decoded(text)
    encoding = _guess(data, first_bad)
    if encoding is None:
        high = len(data) - len(data.decode("ascii", "ignore"))
        if high > _MAX_FOREIGN * len(data) and _NEIGHBOURS.search(data):
            raise LeftOut(Skip.BINARY)  # no known encoding
        encoding = "cp1252"
    return Decoded(data.decode(encoding, "replace"), encoding)


def _guess(data: bytes, first_bad: int) -> str | None:
    """The encoding that makes most sense of whole lines around the first byte that is not UTF-8.

    By chardet, which was right most often (benchmarks/encodings.py).
    """
    from chardet import detect  # not needed for almost any corpus

    start = max(data.rfind(b"\n", 0, first_bad) + 1, first_bad - _GUESSED // 2)
    window = data[start : start + _GUESSED]
    if start + _GUESSED < len(data):  # cut: leave the last line out, lest the cut divide a character
        window = window.rpartition(b"\n")[0] or window
    sample = b"\n".join(line for line in window.split(b"\n") if not line.isascii())
    if len(sample) - len(sample.decode("ascii", "ignore")) < _FEW and not _NEIGHBOURS.search(sample):
        with suppress(UnicodeDecodeError):
            if _WESTERN.issuperset(letter for letter in sample.decode("cp1252") if not letter.isascii()):
                return "cp1252"
    found = detect(sample, include_encodings=_ENCODINGS)
    if not found["encoding"] or found["confidence"] < _SURE:
        return None
    return codecs.lookup(found["encoding"]).name
