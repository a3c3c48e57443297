"""The patterns of ``--include``, ``--exclude`` and ``--glob``: what they mean, and which of them match nothing."""

from __future__ import annotations

import functools
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, pairwise

from embedmill.core.errors import UsageError
from embedmill.sources.files.gitignore import Patterns

_MOST_ALTERNATIVES = 1000
"""Patterns that one with braces may stand for: more are a mistake, or meant to keep us busy."""

_FOLDERS = 4096  # whose verdicts are remembered: the paths of a store come folder by folder


class Selection:
    """Patterns in gitignore syntax with braces, as in ``*.{md,rst}``; the last one that matches decides.

    Those with a "/" are relative to the folder that is walked, as in a ``.gitignore`` there, or to the current
    folder, as on a command line; those that begin with "/" may be absolute paths, too. What names a folder means all
    in it. A "!" takes back what the patterns before it match.
    """

    def __init__(self, patterns: Sequence[str], folder: str | None = None, current: str | None = None) -> None:
        """`folder`: the path that is walked, absolute, ending in "/"; None for patterns that match from any folder on.

        `current`: a folder, written like that, to take for the current one.

        Raises `UsageError` for a pattern that is empty, or whose braces stand for too many.
        """
        bases = dict.fromkeys(base for base in (folder, current or current_folder()) if base)
        by_pattern = {pattern: list(_rules(pattern, bases, anywhere=folder is None)) for pattern in patterns}
        self._all = Patterns.of_folders(chain.from_iterable(by_pattern.values()))
        self._unmatched = {pattern: Patterns.of_folders(rules) for pattern, rules in by_pattern.items()}
        self._places = dict.fromkeys(by_pattern, bases if folder else ())
        self.takes_all_others = all(pattern.startswith("!") for pattern in by_pattern)
        """Whether nothing but exceptions is named, so that all else is meant."""
        self._of_folder = functools.lru_cache(_FOLDERS)(self._verdict_of_folder)

    def takes(self, path: str) -> bool:
        """Whether the patterns select a file, by its own name or by that of a folder that it is in."""
        absolute = path if path.startswith("/") else f"/{path}"
        above = self._of_folder(absolute.rpartition("/")[0])
        if above is None:
            return False
        verdict = self.verdict(absolute, is_folder=False)
        return above if verdict is None else verdict

    def _verdict_of_folder(self, path: str) -> bool | None:
        """What is meant for what is in a folder; None where a "!" keeps all of it out, as in git."""
        taken: bool = self.takes_all_others
        end = 0
        while end < len(path):
            end = path.find("/", end + 1) % (len(path) + 1)
            verdict = self.verdict(path[:end], is_folder=True)
            if verdict is False:
                return None
            taken = taken or verdict is True
        return taken

    def verdict(self, path: str, *, is_folder: bool) -> bool | None:
        """True where the patterns match, False where a "!" takes that back, None where none applies.

        `path` is absolute and does not end in "/".
        """
        for pattern, rules in list(self._unmatched.items()):
            if rules.verdict(path, is_folder=is_folder) is not None:
                del self._unmatched[pattern]
        return self._all.verdict(path, is_folder=is_folder)

    def unmatched(self) -> Sequence[str]:
        """The patterns that have matched nothing that was asked about, and are no path that exists where one is walked.

        What lies in a folder that is left out is not looked at: a plain path there may be excluded once more.
        """
        return [
            pattern
            for pattern in self._unmatched
            if not any(os.path.lexists(base + pattern.strip("!/")) for base in self._places[pattern])
        ]


def _rules(pattern: str, bases: Iterable[str], *, anywhere: bool) -> Iterator[tuple[str, str]]:
    """The lines in gitignore's syntax that a pattern stands for, each with the folder that it is relative to."""
    if not pattern.strip("!/ "):
        raise UsageError(f"pattern {pattern!r} names nothing: give one as in '*.md', or leave it out")
    for plain in braces(pattern):
        back, glob = ("!", plain[1:]) if plain.startswith("!") else ("", plain)
        if glob.startswith("#"):
            glob = f"\\{glob}"  # it begins a comment in a file alone
        relative = glob.split("/", 1)[0] in (".", "..")
        if "/" not in glob.rstrip("/") and not relative:
            yield "/", back + glob  # a name, at any depth
        elif glob.startswith("/"):
            yield from ((base, back + glob) for base in dict.fromkeys(("/",) if anywhere else (*bases, "/")))
        elif anywhere and not relative:
            yield "/", f"{back}**/{glob}"
        else:
            for base in bases:
                above, rest = _resolved(base, glob)
                yield above, f"{back}/{rest or '*'}"


def _resolved(base: str, glob: str) -> tuple[str, str]:
    """The folder and the rest of a relative pattern, without the "." and ".." that it begins with."""
    while (parts := glob.partition("/"))[0] in (".", ".."):
        if parts[0] == "..":
            base = posixpath.dirname(base.rstrip("/")).rstrip("/") + "/"
        glob = parts[2].lstrip("/")
    return base, glob


def current_folder() -> str | None:
    """The current folder's real path, ending in "/"; None where it has been removed."""
    with suppress(OSError):
        return os.getcwd().rstrip("/") + "/"  # noqa: PTH109
    return None


def braces(pattern: str) -> list[str]:
    r"""The patterns that one with braces stands for: ``*.{md,rst}`` is ``*.md`` and ``*.rst``.

    As in a shell, braces without a comma are themselves, and so are those after a backslash or in brackets. Raises
    `UsageError` where there are more than a thousand.
    """
    done: list[str] = []
    todo = [pattern]
    while todo:
        first = todo.pop()
        group = _first_group(first)
        if group is None:
            done.append(first)
        else:
            start, commas, end = group
            cuts = [start, *commas, end]
            alternatives = [first[low + 1 : high] for low, high in pairwise(cuts)]
            todo += [first[:start] + each + first[end + 1 :] for each in reversed(alternatives)]
        if len(done) + len(todo) > _MOST_ALTERNATIVES:
            raise UsageError(
                f"pattern {pattern!r} stands for more than {_MOST_ALTERNATIVES:,}: name fewer in its braces"
            )
    return done


def _first_group(pattern: str) -> tuple[int, list[int], int] | None:
    """Where the first braces with a comma open, their commas, and where they close."""
    opened: list[tuple[int, list[int]]] = []
    found: list[tuple[int, list[int], int]] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            at += 1
        elif character == "[" and (close := pattern.find("]", at + 2)) > 0:
            at = close
        elif character == "{":
            opened.append((at, []))
        elif character == "," and opened:
            opened[-1][1].append(at)
        elif character == "}" and opened:
            start, commas = opened.pop()
            if commas:
                found.append((start, commas, at))
        at += 1
    return min(found, default=None)
