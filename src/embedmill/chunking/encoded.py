"""Runs of encoded data in a text: base64, hex and the like, which say nothing and would fill a store.

Found by what they look like, never by a file's name: a run is long, has no words in it, and mixes letters and digits as
no language does. Lists of digests, paths, identifiers and rulers are no runs; where in doubt the text stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

Run = tuple[int, int]
"""Start and end in characters; the end is not included."""

_LONG: Final = 160  # characters of a token that may be data: digests have up to 128, most keys and ids fewer
_HEX_LONG: Final = 200
_DIGESTS: Final = frozenset({32, 40, 48, 56, 64, 96, 128})  # hex digits: lines of one such length are a list of them
_FEWEST_LINES: Final = 4

# Parts of tokens that encoders of JSON and of addresses write otherwise: "\/", "\n", "%2B", "\u002b".
_B64: Final = r"(?:[A-Za-z0-9+/_-]|\\[nr/]|%2[BbFf]|%0[AaDd]|\\u002[BbFf])"
_PAD: Final = r"(?:(?:=|%3[Dd]|\\u003[Dd]){0,3})"

_URI: Final = re.compile(
    rf"""data:[^\s,"'()<>]{{0,120}};base64,(?:{_B64}){{64,}}+{_PAD}
    |data:[^\s,"'()<>]{{0,120}},[^\s"'()<>]{{{_LONG},}}+""",
    re.VERBOSE | re.IGNORECASE,
)
_TOKEN: Final = re.compile(rf"(?<![A-Za-z0-9+/_-]){_B64}{{{_LONG},}}+{_PAD}")
_ARMOUR: Final = re.compile(
    r"""-----BEGIN\ ([A-Z0-9 ]{3,40})-----(?:\s|\\[nr])*+
    (?P<head>(?:[A-Z][A-Za-z-]+:[ ][^\n]*\n)*+\s*+)
    (?P<data>(?:[A-Za-z0-9+/=]|\s|\\[nr/])*+)
    -----END\ """,
    re.VERBOSE,
)
_ARMOUR_LINE: Final = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]{3,40}-----")
_BYTES: Final = re.compile(
    r"""(?:\b0[xX][0-9a-fA-F]{2}\b[,;\s\\]*+){128,}+       # an array in a program
    |(?:\\(?:x[0-9a-fA-F]{2}|[0-3][0-7]{2})(?:["']\s*+\\?\s*+b?["'])?+){64,}+  # a string in a program
    |(?:\b[0-9a-fA-F]{2}:\s*+){40,}+[0-9a-fA-F]{2}\b         # a key's numbers
    |(?P<bare>(?:\b[0-9a-fA-F]{2}\b[ \t\n\r]++){96,}+)
    |(?:%[0-9a-fA-F]{2}){200,}+""",
    re.VERBOSE,
)
# An array in decimals. It begins with one character of a number, which the search for it is quick with, and not with
# every number of an array that is too short.
_NUMBERS: Final = re.compile(
    r"""[-0-9](?<![\w.,;].)(?<![,;]\s.)[0-9]{0,3}(?:\.[0-9]{1,20}(?:[eE][+-]?[0-9]{1,3})?)?[,;]\s*+
    (?:-?[0-9]{1,3}(?:\.[0-9]{1,20}(?:[eE][+-]?[0-9]{1,3})?)?[,;]\s*+){191,}+""",
    re.VERBOSE,
)
_DECIMAL: Final = re.compile("-?[0-9]+")
_MEASURED: Final = 7  # characters of a number and its comma
_PREFIX: Final = re.compile("0?[xX](?=[0-9a-fA-F]{16})")  # of hex in SQL, as in "\\x89504e47" and 0x89504E47
_B85_LONG: Final = 240
_B85: Final = re.compile(rf"""(?<!\S)["'(]?(?P<data>[0-9A-Za-z!\#$%&()*+;<=>?@^_`{{|}}~:./\[\]-]{{{_B85_LONG},}}+)""")
_BLOCKS: Final = re.compile(
    r"""^begin[ ][0-7]{3,4}[ ][^\n]++\n(?P<uu>(?:[ -`]{2,62}\r?\n)++)`?\r?\n?end\b
    |^(?:literal|delta)[ ]\d++\r?\n(?P<patch>(?:[A-Za-z][0-9A-Za-z!\#$%&()*+;<=>?@^_`{|}~-]{5,66}\r?\n)++)
    |^(?P<records>(?:(?::[0-9A-Fa-f]{10,}|S[0-9][0-9A-Fa-f]{8,})\r?(?:\n|\Z)){4,}+)
    |^(?P<dump>(?:[0-9a-fA-F]{6,16}:?[ \t]++(?:[0-9a-fA-F]{2,8}[ \t]{1,3}){2,16}+[^\n]{0,40}(?:\n|\Z)){8,}+)
    |(?P<ascii85><~[!-uz\s]{160,}+~>)""",
    re.VERBOSE | re.MULTILINE,
)
# A line that is nothing but one token, with what comments, quotations and programs have around it.
_LINE: Final = re.compile(
    r"""^(?P<lead>[^A-Za-z0-9\n]{0,24}?(?:b?["'])?)(?P<token>[A-Za-z0-9+/_-]{40,}+={0,2})
    (?P<tail>(?:\\[nr])*+[^A-Za-z0-9\n]{0,8})$""",
    re.MULTILINE | re.VERBOSE,
)
_FIRST: Final = re.compile(r"[A-Za-z0-9+/_-]{12,}+(?:\\[nr])?\Z")
_LAST: Final = re.compile(
    r"""\n[^A-Za-z0-9\n]{0,24}?(?:b?["'])?(?P<token>[A-Za-z0-9+/_-]{1,}+={0,2})(?=[^A-Za-z0-9 +/_-]|\Z)"""
)
_REPEATED: Final = re.compile(r"(.)\1{3,}")
_WORD_LIKE: Final = re.compile(r"[a-z]{4,}")
_CHANGE: Final = re.compile(r"[a-z](?![a-z])|[A-Z](?![A-Z])|[0-9](?![0-9])")
_ESCAPED: Final = re.compile(r"\\[nr/]|\\u00[0-9a-fA-F]{2}|%[0-9a-fA-F]{2}|[^A-Za-z0-9]")
_HEX_LETTER: Final = re.compile("[a-fA-F]")
_WORD: Final = re.compile(r"\w")
_ANY: Final = re.compile(
    r"\S{40}|(?:[0-9a-fA-F]{2}[ :\n]){12}|(?:[0-9a-fA-F]{4} ){7}|0x..,[ \n]|"
    r"(?:[0-9]{1,20}[,;]\s*+-?(?:[0-9]{1,3}\.)?){24}|"
    r"\\[x0-3]|^[:S][0-9A-F]{9}",
    re.MULTILINE,
)


def encoded_runs(text: str) -> list[Run]:
    """The runs of a text, in order and apart from each other; what lies between two has words in it."""
    if not _ANY.search(text):
        return []
    runs = sorted({*_certain(text), *_tokens(text), *_lines(text)})
    return _joined(text, runs)


def without(start: int, end: int, runs: Sequence[Run]) -> Iterator[Run]:
    """What the runs leave of a stretch of text."""
    for run_start, run_end in runs:
        if run_end <= start or run_start >= end:
            continue
        if run_start > start:
            yield start, run_start
        start = run_end
    if start < end:
        yield start, end


def _certain(text: str) -> Iterator[Run]:
    """What says itself that it is encoded, or has a form that nothing else has."""
    yield from (found.span() for found in _URI.finditer(text))
    for found in _ARMOUR.finditer(text):
        if found.end("data") - found.start("data") >= 64:
            yield found.span("data")
    for found in _BYTES.finditer(text):
        if found["bare"] and len(_HEX_LETTER.findall(found[0])) * 10 <= len(found[0]):
            continue  # they are numbers
        yield found.span()
    for found in _NUMBERS.finditer(text):
        if _are_measured(found[0]) if "." in found[0] else _are_bytes(found[0]):
            yield found.span()
    yield from (found.span(str(found.lastgroup)) for found in _BLOCKS.finditer(text))


def _are_measured(numbers: str) -> bool:
    """Whether they have as many digits as vectors and measurements have: prices, marks and shares have fewer."""
    count = numbers.count(",") + numbers.count(";")
    return numbers.count(".") > 0.8 * count and len(numbers) > _MEASURED * count


def _are_bytes(decimals: str) -> bool:
    """Whether numbers are the bytes of some data: of 8 bits, in no order, and many different ones."""
    numbers = [int(number) for number in _DECIMAL.findall(decimals)]
    falls = sum(after < before for before, after in pairwise(numbers)) / len(numbers)
    large = sum(not 0 <= number < 100 for number in numbers) / len(numbers)
    fit = max(numbers) <= 255 if min(numbers) >= 0 else min(numbers) >= -128 and max(numbers) <= 127
    return fit and len(set(numbers)) >= 64 and 0.25 < falls < 0.75 and large > 0.2


def _tokens(text: str) -> Iterator[Run]:
    for found in _TOKEN.finditer(text):
        if _is_data(_PREFIX.sub("", found[0], count=1) if _PREFIX.match(found[0]) else found[0]):
            yield found.span()
    if max(map(len, text.split()), default=0) < _B85_LONG:  # quick, and true of almost any text
        return
    for found in _B85.finditer(text):
        if _is_base85(found["data"]):
            yield found.span("data")


def _is_base85(token: str) -> bool:
    """Whether a long token has letters and signs as base85 has them; programs and addresses have more small letters."""
    kinds = (str.islower, str.isupper, str.isdigit)
    small, capitals, digits = (sum(map(kind, token)) / len(token) for kind in kinds)
    words = sum(map(len, _WORD_LIKE.findall(token))) / len(token)
    return (
        0.15 < small < 0.45 and 0.15 < capitals < 0.45 and 0.04 < digits < 0.25
        and 0.15 < 1 - small - capitals - digits < 0.45 and words < 0.15
    )  # fmt: skip


def _lines(text: str) -> Iterator[Run]:
    """Several lines in a row of equal length, each one token, with what is left of the first and the last."""
    group: list[re.Match[str]] = []
    for line in _LINE.finditer(text):
        if group and (line.start() != group[-1].end() + 1 or _width(line) != _width(group[0])):
            yield from _block(text, group)
            group = []
        group.append(line)
    yield from _block(text, group)


def _width(line: re.Match[str]) -> int:
    return line.end("token") - line.start("token")


def _block(text: str, lines: Sequence[re.Match[str]]) -> Iterator[Run]:
    if len(lines) < _FEWEST_LINES:
        return
    joined = "".join(line["token"] for line in lines)
    padded = any(line["token"].endswith("=") for line in lines[:-1])
    if padded or not _is_data(joined, _width(lines[0])):
        return
    start, end = lines[0].start(), lines[-1].end()
    before = _FIRST.search(text[max(0, start - 400) : max(0, start - 1)])
    if before and _mixed(before[0]):
        start -= 1 + len(before[0])
    after = _LAST.match(text, end)
    if after and _width(after) <= _width(lines[0]) and (after["token"].endswith("=") or _mixed(after["token"])):
        end = after.end()
    yield start, end


def _mixed(token: str) -> bool:
    """Whether a short token looks like the end of encoded data, and not like a word."""
    changes = len(_CHANGE.findall(token))
    return len(token) >= 4 and changes > 0.4 * len(token) and not _WORD_LIKE.search(token)


def _is_data(token: str, width: int = 0) -> bool:
    """Whether a long token is base64, base32 or hex. `width` is that of the lines that it was put together from."""
    letters = _REPEATED.sub(r"\1", _ESCAPED.sub("", token))  # data has long runs of zeros; rulers have nothing else
    length = len(letters)
    if length < 64:
        return False
    changes = len(_CHANGE.findall(letters)) / length
    small = sum(map(str.islower, letters)) / length
    digits = sum(map(str.isdigit, letters)) / length
    capitals = 1 - small - digits
    if min(small, capitals) < 0.005 and not set(letters.lower()) - set("0123456789abcdef"):
        return len(token) >= _HEX_LONG and width not in _DIGESTS and 0.3 < digits < 0.95 and changes > 0.25
    if small == 0 and not set(letters) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"):
        return 0.08 < digits < 0.35 and changes > 0.2
    words = sum(map(len, _WORD_LIKE.findall(letters))) / length
    return min(small, capitals) > 0.08 and digits > 0.02 and changes > 0.35 and words < 0.25


def _joined(text: str, runs: Sequence[Run]) -> list[Run]:
    """The runs with what lies between two of them without a word; the armour between two keys, too."""
    joined: list[Run] = []
    for start, end in runs:
        last = joined[-1][1] if joined else 0
        if start < last:
            start, end = joined[-1][0], max(end, last)
            joined.pop()
        elif not _WORD.search(_ARMOUR_LINE.sub("", text[last:start]) if joined else text[last:start]):
            start = joined.pop()[0] if joined else last
        joined.append((start, end))
    if joined and not _WORD.search(text, joined[-1][1]):
        joined[-1] = joined[-1][0], len(text)
    return joined
