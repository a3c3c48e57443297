"""How a text is written in YAML, where its file does not say: plain where every reader takes it for a text."""

from __future__ import annotations

import json
import re
from typing import Final

_PLAIN: Final = re.compile(
    r"(?:[^\W\d_]|\d[\w.]* [^\W\d_]{2})"  # a letter, or a number and a word: "3D printer", no date
    r"(?:[\w.'()/&+%!?*$^;=<>|~@-]|[:](?=[\w/])|[ ](?! |#|$))*"
)
_IN_BLOCK: Final = re.compile(_PLAIN.pattern.replace("[\\w.'", "[\\w.,\\[\\]{}\"'", 1))
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})  # of YAML 1.1 and 1.2
_ESCAPED: Final = re.compile("[\x7f-\xa0\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_INNER_BREAK: Final = re.compile("[\0-\x1f]")
_IN_BRACKETS: Final = frozenset(",[]{}")


def scalar(text: str, *, like: str = "", brackets: bool = False) -> str:
    """A text as YAML, on one line; in quotes as `like` has them, or as it needs them. `brackets`: it stands in such."""
    if _INNER_BREAK.search(text) or _ESCAPED.search(text):
        return _double_quoted(text)
    if like.startswith('"'):
        return _double_quoted(text)
    plain = _PLAIN if brackets else _IN_BLOCK
    if like.startswith("'") or not plain.fullmatch(text) or text.casefold() in _WORDS:
        return "'" + text.replace("'", "''") + "'"
    return text


def _double_quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\x7f")
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def as_written(raw: str, *, brackets: bool) -> bool:
    """Whether what was read can stand here as it was: in brackets, plain text ends at a comma."""
    return not brackets or raw[:1] in ("'", '"') or not (_IN_BRACKETS & set(raw) or "\n" in raw)
