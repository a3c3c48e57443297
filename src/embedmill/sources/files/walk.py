"""Which files of a folder are selected, by where they are and what they are called."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from embedmill.runtime.paths import as_folder
from embedmill.sources.files.gitignore import Patterns
from embedmill.sources.files.safe_read import check_limits, open_beneath
from embedmill.sources.files.selection import Selection
from embedmill.sources.files.skips import LeftOut, Skip

TOOL_FOLDERS = frozenset({".bzr", ".embedmill", ".git", ".hg", ".jj", ".svn", "CVS", "__pycache__", "node_modules"})
"""Folders that tools fill for themselves: never listed, unless given as a path."""

_GIT_IGNORE = ".gitignore"
_OWN_IGNORE = ".embedmillignore"
_ENVIRONMENT_MARK = "pyvenv.cfg"  # PEP 405
_CACHE_MARK = "CACHEDIR.TAG"  # https://bford.info/cachedir/
_CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
_MEANINGFUL = frozenset({".git", _GIT_IGNORE, _OWN_IGNORE, _ENVIRONMENT_MARK, _CACHE_MARK})

_SMALL = 1 << 20  # bytes; an ignore file that is longer is a mistake, or meant to keep us busy


Ignored = tuple[Patterns, ...]


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str  # ends in "/"
    own: Ignored  # of .embedmillignore files, the nearest first
    git: Ignored  # of .gitignore files, the nearest first, then .git/info/exclude
    included: bool  # what --include says of this folder's files, where it says nothing of them by themselves


class Only:
    """Paths that a walk is limited to."""

    def __init__(self, paths: Iterable[str]) -> None:
        """Real paths; what lies in those that end in "/" is meant, too."""
        self._whole = {path.rstrip("/") or "/" for path in paths}
        self._on_the_way = {folder for path in self._whole for folder in _folders_above(path)}

    def takes(self, path: str) -> bool:
        """Whether the walk goes to the path, or through it."""
        return path in self._on_the_way or path in self._whole or not self._whole.isdisjoint(_folders_above(path))


def _folders_above(path: str) -> Iterator[str]:
    while path != "/":
        path = os.path.dirname(path)  # noqa: PTH120
        yield path


@dataclass(frozen=True, slots=True)
class Walk:
    """Lists the selected files below one given folder.

    Ignore files above the folder count up to the root of the git work tree that it lies in, and a repository
    inside it begins anew, both as in git. git's own settings (``core.excludesFile``) are not read, so that
    everybody gets the same files.
    """

    root: str  # a real path, ending in "/"
    include: Selection | None
    exclude: Selection | None
    hidden: bool
    given: Collection[str]  # real paths, which are listed in their own place
    only: Only | None  # limits the walk
    skip: Callable[[Skip, str], None]  # is told each reason with the path
    unlisted: Callable[[str], None]  # is told each folder (ending in "/") that cannot be listed

    def files(self) -> Iterator[os.DirEntry[str]]:
        """The selected regular files: a folder's own by name, then those of its folders by name.

        Holds the names in one folder, and those of the folders that are still to come, in memory.
        """
        pending = [_above(self.root, included=self.include is None or self.include.takes_all_others)]
        while pending:
            folder = pending.pop()
            try:
                entries = _listing(folder.path)
            except OSError as error:
                check_limits(error)
                gone = isinstance(error, FileNotFoundError | NotADirectoryError)
                if gone and folder.path != self.root:
                    self.skip(Skip.VANISHED, folder.path)
                else:  # not even the root's absence means that nobody wants its documents any more
                    self.skip(Skip.UNREADABLE_FOLDER, folder.path)
                    self.unlisted(folder.path)
                continue
            marks = {entry.name: entry for entry in entries if entry.name in _MEANINGFUL}
            if folder.path != self.root and _belongs_to_a_tool(marks):
                self.skip(Skip.TOOL_FOLDER, folder.path)
                continue
            own, git = _ignore_files(folder.path, folder.own, folder.git, marks)
            folder = _Folder(folder.path, own, git, folder.included)
            inner: list[_Folder] = []
            for entry in entries:
                if entry.path in self.given or (self.only is not None and not self.only.takes(entry.path)):
                    continue
                is_folder = entry.is_dir(follow_symlinks=False)
                reason, included = self._verdict(folder, entry, is_folder)
                if reason is not None:
                    self.skip(reason, entry.path)
                elif is_folder:
                    inner.append(_Folder(entry.path + "/", own, git, included))
                else:
                    yield entry
            pending.extend(reversed(inner))

    def deselects(self, path: str) -> bool:
        """Whether an option alone keeps a file below the root out: `exclude`, `include`, or that it is hidden."""
        included = self.include is None or self.include.takes_all_others
        end = len(self.root) - 1
        while end >= 0:
            end = path.find("/", end + 1)
            part, is_folder = (path, False) if end < 0 else (path[:end], True)
            if part.rpartition("/")[2].startswith(".") and not self.hidden:
                return True
            if self.exclude and self.exclude.verdict(part, is_folder=is_folder):
                return True
            verdict = self.include.verdict(part, is_folder=is_folder) if self.include else None
            if verdict is False and is_folder:
                return True
            included = included if verdict is None else verdict
        return not included

    def _kept_out(self, entry: os.DirEntry[str], is_folder: bool) -> Skip | None:
        """Why the entry is left out for what it is."""
        if is_folder and entry.name in TOOL_FOLDERS:
            return Skip.TOOL_FOLDER
        if entry.name.startswith(".") and not self.hidden:
            return Skip.HIDDEN
        if entry.is_symlink():
            return self._link(entry.path)
        if not is_folder and not entry.is_file(follow_symlinks=False):
            return Skip.SPECIAL
        return None

    def _link(self, path: str) -> Skip:
        """No link is followed: what lies inside is listed in its own place, what lies outside nobody gave."""
        try:
            target = os.path.realpath(path, strict=True)
        except OSError:  # leads nowhere, in a circle, or where this user may not go
            return Skip.BROKEN_LINK
        return Skip.LINK if as_folder(target).startswith(self.root) else Skip.LINK_OUTSIDE

    def _verdict(self, folder: _Folder, entry: os.DirEntry[str], is_folder: bool) -> tuple[Skip | None, bool]:
        """Why the entry is left out, if it is, and what --include says of it or of the folder it is in."""
        excluded = self.exclude and self.exclude.verdict(entry.path, is_folder=is_folder)
        verdict = self.include.verdict(entry.path, is_folder=is_folder) if self.include else None
        included = folder.included if verdict is None else verdict
        reason = self._kept_out(entry, is_folder) or (Skip.EXCLUDED if excluded else None)
        reason = reason or _ignored(folder, entry.path, is_folder)
        # Into a folder that no pattern names it is looked; "!" means it and all in it, as in git.
        if reason is None and (verdict is False if is_folder else not included):
            reason = Skip.NOT_INCLUDED
        return reason, included


def _ignored(folder: _Folder, path: str, is_folder: bool) -> Skip | None:
    """Why the path is left out by ignore files."""
    for patterns in (*folder.own, *folder.git):
        verdict = patterns.verdict(path, is_folder=is_folder)
        if verdict is not None:
            return Skip.IGNORED if verdict else None
    return None


def _listing(folder: str) -> list[os.DirEntry[str]]:
    """The folder's entries by name."""
    os.stat(folder + ".")  # noqa: PTH116 - fails where the folder may be listed, but nothing in it reached
    with os.scandir(folder) as entries:
        return sorted(entries, key=attrgetter("name"))


def _belongs_to_a_tool(marks: Mapping[str, os.DirEntry[str]]) -> bool:
    """Whether the folder is a Python environment, or a cache that says so itself."""
    mark = marks.get(_CACHE_MARK)
    return _ENVIRONMENT_MARK in marks or (mark is not None and _small_file(mark.path).startswith(_CACHE_SIGNATURE))


def _ignore_files(folder: str, own: Ignored, git: Ignored, marks: Collection[str]) -> tuple[Ignored, Ignored]:
    """The patterns of the folder's own ignore files before those from above."""
    if ".git" in marks:
        git = _patterns(_exclude_file(folder), folder)
    if _GIT_IGNORE in marks:
        git = _patterns(folder + _GIT_IGNORE, folder) + git
    if _OWN_IGNORE in marks:
        own = _patterns(folder + _OWN_IGNORE, folder) + own
    return own, git


def _above(root: str, *, included: bool) -> _Folder:
    """The root with the ignore files of the folders above it, up to its git work tree's top."""
    above: list[str] = []
    folder = root
    while not os.path.lexists(folder + ".git"):
        if folder == "/":
            return _Folder(root, (), (), included)
        folder = as_folder(os.path.dirname(folder[:-1]))  # noqa: PTH120
        above.append(folder)
    own: Ignored = ()
    git: Ignored = ()
    for folder in reversed(above):
        marks = [name for name in _MEANINGFUL if os.path.lexists(folder + name)]
        own, git = _ignore_files(folder, own, git, marks)
    return _Folder(root, own, git, included)


def _patterns(path: str, folder: str) -> Ignored:
    """The ignore file's patterns; none where it is not there or has none."""
    # As in git: a byte order mark does not count, "\r" before "\n" neither, and no link is followed.
    lines = os.fsdecode(_small_file(path).removeprefix(b"\xef\xbb\xbf")).split("\n")
    patterns = Patterns((line.removesuffix("\r") for line in lines), folder)
    return (patterns,) if patterns else ()


def _exclude_file(worktree: str) -> str:
    """Where the repository keeps the patterns that it does not share."""
    repository = Path(worktree, ".git")
    if repository.is_file():  # a linked work tree or a submodule: the file says where the repository is
        pointer = os.fsdecode(_small_file(str(repository))).removeprefix("gitdir:").strip()
        repository = Path(worktree, pointer)
        common = os.fsdecode(_small_file(str(repository / "commondir"))).strip()
        repository = repository / common
    return str(repository / "info" / "exclude")


def _small_file(path: str) -> bytes:
    """The bytes of a file that steers the walk; none where it is not there, not a file, or cannot be read."""
    folder, name = os.path.split(path)
    with suppress(OSError, LeftOut), open_beneath(folder, [name]) as descriptor:
        return os.read(descriptor, _SMALL)
    return b""
