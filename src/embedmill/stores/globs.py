"""Glob patterns for document ids."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
    (?P<folders> (?:(?<=/)|\A) (?:\*\*/)+ )             # any number of whole folders, none too
  | (?P<any>     \*\*+ )
  | (?P<star>    \* )
  | (?P<one>     \? )
  | (?P<set>     \[ (?P<not>[!^]?) (?P<members>[^/][^\]/]*) \] )
  | (?P<literal> . )
    """,
    re.VERBOSE | re.DOTALL,
)

_RANGE = re.compile(r"(.)-(.)|(.)", re.DOTALL)


def compile_glob(pattern: str) -> re.Pattern[str]:
    """A regular expression whose `match` says whether a document id fits the pattern.

    ``*`` stands for any characters but "/", ``**`` for any, ``?`` for one but "/", ``[a-z]`` and ``[!a-z]``
    for one of a set. The pattern fits a whole id, or what follows any "/" in it, so that ``*.py`` and
    ``src/**/*.py`` find what one expects among absolute paths. A pattern that ends in "/" means all below
    that folder.

    Matching takes time in proportion to the pattern's length times the id's, whatever the pattern: a
    wildcard that another follows is settled by the first place where what stands between them fits, and
    atomic groups keep the expression from trying the other places.
    """
    if pattern.endswith("/"):
        pattern += "**"
    if not pattern.startswith("/"):
        pattern = "**/" + pattern

    pieces = [("", [""])]  # what a "**" stands for, and what follows it, cut at each "*"
    for token in _TOKEN.finditer(pattern):
        fixed = pieces[-1][1]
        match token.lastgroup:
            case "folders":
                pieces.append(("(?:.*?/)??", [""]))
            case "any":
                pieces.append((".*?", [""]))
            case "star":
                fixed.append("")
            case "one":
                fixed[-1] += "[^/]"
            case "set":
                fixed[-1] += _one_of(token["members"], negated=bool(token["not"]))
            case _:
                fixed[-1] += re.escape(token[0])

    *settled, (wildcard, fixed) = pieces
    return re.compile(
        "".join(f"(?>{skip}{_piece(parts)})" for skip, parts in settled)
        + wildcard
        + (_piece(fixed[:-1]) + "[^/]*" if len(fixed) > 1 else "")
        + fixed[-1]
        + r"\Z",
        re.DOTALL,
    )


def _piece(parts: list[str]) -> str:
    return parts[0] + "".join(f"(?>[^/]*?{part})" for part in parts[1:])


def _one_of(members: str, *, negated: bool) -> str:
    listed = "".join(
        re.escape(single) if single else f"{re.escape(low)}-{re.escape(high)}"
        for low, high, single in _RANGE.findall(members)
        if single or low <= high
    )
    if not listed:
        return "[^/]" if negated else "(?!)"
    return f"(?!/)[{'^' if negated else ''}{listed}]"
