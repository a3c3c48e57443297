"""Where a text may be cut, strongest place first.

A boundary is a position: what comes before it ends one chunk, what follows begins the next. Each kind of
document has its levels, patterns whose matches end at a boundary; the first level that has one in the window
decides. Between equals the content decides (the smallest hash of the text around the place, as in
content-defined chunking), not which fits last: so two cuttings of almost the same text soon meet at the same
boundary, and an edit changes only the chunks around it.

No pattern here can run away: each looks at a line end, a run of blanks or a mark, and gives back nothing.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from embedmill.core.documents import Kind

Matches = Iterable[re.Match[str]]


def _every(text: str, matches: Matches) -> list[int]:
    return [match.end() for match in matches]


def _outermost(text: str, matches: Matches) -> list[int]:
    """Only the least indented, and of those only the definitions where there are any."""
    indented = [(match.end("indent") - match.end(), match.end()) for match in matches]
    if len(indented) < 2:
        return [place for _, place in indented]
    least = min(indented)[0]
    places = [place for indent, place in indented if indent == least]
    return [place for place in places if _DEFINITION.match(text, place)] or places


@dataclass(frozen=True, slots=True)
class Level:
    """One strength of boundary."""

    pattern: re.Pattern[str]  # the boundary is where a match ends
    choose: Callable[[str, Matches], list[int]] = _every


_DEFINITION = re.compile(
    r"""[ \t]*+(?:@|\#\[|/\*\*|///
    |(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|pub|unsafe|extern|inline
          |virtual|override|const|partial|sealed|open|data)\b[ \t]*+)*
     (?:def|class|fn|func|function|struct|enum|union|trait|impl|interface|module|namespace|package|type
        |typedef|template|record|object|sub|proc|procedure|create|alter|insert|select|with|macro_rules!
        |\[[\w."' -]++\])(?!\w))""",
    re.VERBOSE | re.IGNORECASE,
)

_PARAGRAPH = Level(re.compile(r"\n[ \t\r]*+\n"))
_BLOCK = Level(re.compile(r"\n[ \t\r]*+\n(?=\S)"))  # what goes on a list item is indented, a new block is not
_SENTENCE_AT_LINE_END = Level(re.compile(r"""[.!?:。！？]["')\]]?+[ \t\r]*+\n"""))
_LINE = Level(re.compile(r"\n"))
_SENTENCE = Level(re.compile(r"""[.!?…]["'”’»)\]]*+(?=\s)|[。！？｡]["'”’»」』）)]*+"""))
_CLAUSE = Level(re.compile(r"[,;:](?=\s)|[，、；：]"))
_WORD = Level(re.compile(r"\s(?=\S)"))
_STATEMENT = Level(re.compile(r"[;{}]"))
_MARK = Level(re.compile(r"""[^\w\s'"(\[{<]"""))

# Code: a line that closes or carries on something belongs to what comes before it. Comments and decorators
# stand right above a definition, so that the blank line before them is the place to cut.
_OPENER = r"(?!\#(?:el|endif)|(?:else|elif|elsif|except|finally|catch|end)\b)[^\s)}\]]"
_TOP = Level(re.compile(rf"\n(?:[ \t\r]*+|[)}}\]][^\n]{{0,80}}+)\n(?=(?P<indent>){_OPENER})"), _outermost)
_BLANK_LINE = Level(re.compile(rf"\n[ \t\r]*+\n(?=(?P<indent>[ \t]*+){_OPENER})"), _outermost)
_CODE_LINE = Level(re.compile(rf"\n(?=(?P<indent>[ \t]*+){_OPENER})"), _outermost)

LEVELS: dict[Kind, Sequence[Level]] = {
    Kind.TEXT: (_PARAGRAPH, _SENTENCE_AT_LINE_END, _LINE, _SENTENCE, _CLAUSE, _WORD, _MARK),
    Kind.MARKDOWN: (_BLOCK, _PARAGRAPH, _SENTENCE_AT_LINE_END, _LINE, _SENTENCE, _CLAUSE, _WORD, _MARK),
    Kind.CODE: (_TOP, _BLANK_LINE, _CODE_LINE, _LINE, _STATEMENT, _CLAUSE, _WORD, _MARK),
}

_LOOKAHEAD = 64  # characters past the window that a pattern may look at


def boundary(
    text: str,
    start: int,
    low: int,
    high: int,
    end: int,
    levels: Sequence[Level],
    whole: Callable[[int], bool] | None = None,
) -> int:
    """The best place to cut ``text[start:end]`` between `low` and `high`, both included.

    `whole` says of a place that it lies inside of something that ought not to be cut. Where the window holds
    no border of a grapheme, the place is the nearest one outside of it, and `end` where there is none at all.
    """
    for level in levels:
        matches = level.pattern.finditer(text, low - 1, min(end, high + _LOOKAHEAD))
        places = level.choose(text, (match for match in matches if low <= match.end() <= high))
        if whole:
            places = [place for place in places if not whole(place)]
        if places:
            place = places[0] if len(places) == 1 else _by_content(text, places)
            if not _joins(text, place):
                return place
    return _between_graphemes(text, start, low, high, end)


def _by_content(text: str, places: list[int]) -> int:
    """The place whose surroundings have the smallest hash; the last of those that are alike."""

    def key(place: int) -> int:
        around = text[max(0, place - 16) : place + 48]
        return zlib.crc32(around.encode("utf-8", "surrogatepass"))

    return min(reversed(places), key=key)


def _between_graphemes(text: str, start: int, low: int, high: int, end: int) -> int:
    """A place chosen by content among all characters, moved to the nearest border of a grapheme."""
    size = 8  # enough to tell places apart, in base64 as in DNA
    least = min(text[place : place + size] for place in range(low, high + 1))
    chosen = text.rfind(least, low, high + size)
    before = range(chosen, max(start, chosen - _LONGEST_GRAPHEME), -1)
    for place in chain(before, range(chosen + 1, min(end, chosen + _LONGEST_GRAPHEME))):
        if not _joins(text, place):
            return place
    return end if end - start < _LONGEST_GRAPHEME else chosen


_LONGEST_GRAPHEME = 64  # code points; the longest in use, a flag of a region spelt in tags or a family, has 7 to 11
_MARKS = {"Mn", "Mc", "Me"}
_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))  # regional indicators: two of them make a flag
_ZERO_WIDTH_JOINER = "\u200d"


def _joins(text: str, place: int) -> bool:
    """Whether a cut here would part a grapheme.

    A simple form of Unicode's rules (UAX 29): combining marks, variation selectors, skin tones, joiners,
    tags, flags and Hangul letters stay with what is before them.
    """
    after = text[place]
    if after < "\u0300":
        return after == "\n" and text[place - 1] == "\r"
    before = text[place - 1]
    return (
        before == _ZERO_WIDTH_JOINER
        or after == _ZERO_WIDTH_JOINER
        or after == "\u200c"
        or "\U0001f3fb" <= after <= "\U0001f3ff"
        or "\U000e0020" <= after <= "\U000e007f"
        or "\u1160" <= after <= "\u11ff"
        or (after in _FLAG_LETTERS and _ends_within_flag(text[max(0, place - 256) : place]))
        or unicodedata.category(after) in _MARKS
    )


def _ends_within_flag(before: str) -> bool:
    return (len(before) - len(before.rstrip(_FLAG_LETTERS))) % 2 == 1
