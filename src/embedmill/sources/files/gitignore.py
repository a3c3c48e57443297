r"""Patterns in gitignore syntax, matched as git matches them.

Written after git's ``dir.c`` and ``wildmatch.c`` and tested against git itself. Not ``pathspec``: that
library lets a pattern for a folder decide on what is inside it, so that ``b`` followed by ``!a`` brings
``a/b/`` back, where git asks for each folder on the way and leaves ``a/b/`` out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

_SPECIAL = re.compile(r"[*?\[\\]")

_POSIX_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"!-/:-@\[-`{-~",
    "space": r" \t\n\r\f\v",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}


class Patterns:
    """The lines of one ignore file, or of one option (see `selection`); the last line that matches decides."""

    def __init__(self, lines: Iterable[str], folder: str) -> None:
        """Compile the lines. `folder`: the path that they are relative to, absolute, ending in "/"."""
        self._start = len(folder)
        self._compile([rule for rule in map(_parse, lines) if rule is not None])

    @classmethod
    def of_folders(cls, lines: Iterable[tuple[str, str]]) -> Patterns:
        """Lines each of which is relative to a folder of its own: an absolute path, ending in "/"."""
        patterns = cls((), "/")
        patterns._compile([rule for folder, line in lines if (rule := _parse(line, folder[1:])) is not None])
        return patterns

    def _compile(self, rules: Sequence[_Rule]) -> None:
        self._for_folders = _Rules(rules)
        self._for_files = _Rules([rule for rule in rules if not rule.only_folders])

    def __bool__(self) -> bool:
        return bool(self._for_folders.verdicts)

    def verdict(self, path: str, *, is_folder: bool) -> bool | None:
        """True where the patterns match, False where a "!" pattern takes that back, None where none applies.

        `path` is absolute, below the patterns' folder, and does not end in "/".
        """
        rules = self._for_folders if is_folder else self._for_files
        return rules.verdict(path[self._start :])


class _Rule(NamedTuple):
    regex: str
    by_name: bool  # matched against the last part of a path alone, at any depth
    only_folders: bool
    matches: bool  # False for "!"


class _Rules:
    """Rules for one sort of subject, as two regular expressions: by name and by path."""

    def __init__(self, rules: Sequence[_Rule]) -> None:
        self._by_name = _alternatives([rule.regex if rule.by_name else "" for rule in rules])
        self._by_path = _alternatives([rule.regex if not rule.by_name else "" for rule in rules])
        self.verdicts = [rule.matches for rule in rules]

    def verdict(self, path: str) -> bool | None:
        """What the last rule that matches says."""
        last = max(_last(self._by_name, path.rpartition("/")[2]), _last(self._by_path, path))
        return self.verdicts[last - 1] if last else None


def _alternatives(regexes: Sequence[str]) -> re.Pattern[str] | None:
    """All in one, the last first, so that it is the one that is found; None where all are "".

    Each ends in an empty group whose name has its number, from 1. Its beginning stays literal, which lets the
    engine pass over most alternatives at their first character.
    """
    numbered = [f"{regex}(?P<n{number}>)" for number, regex in enumerate(regexes, 1) if regex]
    return re.compile("|".join(reversed(numbered)), re.DOTALL) if numbered else None


def _last(regex: re.Pattern[str] | None, subject: str) -> int:
    """The number of the last alternative that matches the whole subject; 0 for none."""
    found = regex.fullmatch(subject) if regex else None
    return int(found.lastgroup[1:]) if found and found.lastgroup else 0


def _parse(line: str, folder: str = "") -> _Rule | None:
    """One line, relative to this folder; None where it is a comment, blank, or can never match."""
    if line.startswith("#"):
        return None
    pattern = _without_trailing_spaces(line)
    matches = not pattern.startswith("!")
    pattern = pattern if matches else pattern[1:]
    only_folders = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    by_name = "/" not in pattern
    pattern = pattern.removeprefix("/")
    regex = _translate(pattern) if pattern else None
    if regex is None:
        return None
    return _Rule(regex if by_name else re.escape(folder) + regex, by_name, only_folders, matches)


def _without_trailing_spaces(line: str) -> str:
    """Trailing spaces do not count, unless a backslash is before them."""
    text = line.rstrip(" ")
    backslashes = len(text) - len(text.rstrip("\\"))
    return text + " " if backslashes % 2 and len(text) < len(line) else text


_STAR = None  # "*": anything within a part of the path


def _translate(pattern: str) -> str | None:
    """A glob as a regular expression; None where it can never match.

    Neither "*" nor "**/" tries a second place once what follows it has matched, so that the time is linear
    in the path for any number of them: the next star can take up whatever lies between.
    """
    special = _SPECIAL.search(pattern)
    start = special.start() if special else len(pattern)
    # As in git, "**" counts as being at the beginning where only plain text is before it.
    try:
        runs = list(_runs(pattern[start:]))
    except _NeverMatches:
        return None
    runs[0].insert(0, re.escape(pattern[:start]))
    *inner, last = runs
    text = "".join(
        _run(run, last=False) if number == 0 else f"(?>(?:.*?/)??{_run(run, last=False)})"
        for number, run in enumerate(inner)
    )
    return text + (r"(?:.*/)?" if inner else "") + _run(last, last=True)


class _NeverMatches(Exception):
    """The pattern is malformed in a way that git takes for one that matches nothing."""


def _runs(glob: str) -> Iterator[list[str | None]]:
    """The pieces of a glob between one "**/" and the next: regular expressions and stars."""
    run: list[str | None] = []
    at = 0
    while at < len(glob):
        character = glob[at]
        if character == "*":
            end = at
            while glob[end : end + 1] == "*":
                end += 1
            spans = end - at > 1 and (at == 0 or glob[at - 1] == "/")
            if spans and end == len(glob):
                run.append(".*")
                at = end
            elif spans and glob.startswith(("/", "\\/"), end):
                yield run
                run = []
                at = glob.index("/", end) + 1
            else:
                run.append(_STAR)
                at = end
        elif character == "?":
            run.append("[^/]")
            at += 1
        elif character == "[":
            regex, at = _bracket(glob, at + 1)
            run.append(regex)
        elif character == "\\":
            if at + 1 == len(glob):
                raise _NeverMatches
            run.append(re.escape(glob[at + 1]))
            at += 2
        else:
            run.append(re.escape(character))
            at += 1
    yield run


def _run(run: list[str | None], *, last: bool) -> str:
    """One piece as a regular expression; the last one's last star must leave the end open."""
    fixed = [""]
    for part in run:
        if part is _STAR:
            fixed.append("")
        else:
            fixed[-1] += part
    head, *rest = fixed
    if not rest:
        return head
    tail = f"[^/]*{rest.pop()}" if last else ""
    return head + "".join(f"(?>[^/]*?{part})" for part in rest) + tail


def _bracket(glob: str, at: int) -> tuple[str, int]:
    """The bracket expression whose "[" is just before `at`: its regular expression, and where it ends."""
    negated = glob[at : at + 1] in ("!", "^")
    at += negated
    members = ""
    previous = ""  # what a "-" would begin a range with
    first = True
    while first or glob[at : at + 1] != "]":
        first = False
        if at >= len(glob):
            raise _NeverMatches
        character = glob[at]
        if character == "-" and previous and glob[at + 1 : at + 2] not in ("", "]"):
            end, at = _member(glob, at + 1)
            if previous <= end:
                members += f"{re.escape(previous)}-{re.escape(end)}"
            previous = ""
        elif glob.startswith("[:", at) and glob[(close := glob.find("]", at + 2)) - 1] == ":" and close > at + 2:
            name = glob[at + 2 : close - 1]
            if name not in _POSIX_CLASSES:
                raise _NeverMatches
            members += _POSIX_CLASSES[name]
            previous, at = "", close + 1
        else:
            previous, at = _member(glob, at)
            members += re.escape(previous)
    # No bracket matches "/", not even a negated one.
    return (f"[^/{members}]" if negated else f"(?!/)[{members}]"), at + 1


def _member(glob: str, at: int) -> tuple[str, int]:
    at += glob[at] == "\\"
    if at >= len(glob):
        raise _NeverMatches
    return glob[at], at + 1
