"""Where the roots of a store are: what was given, found again after it, or the store, has moved.

Paths are written as `embedmill.runtime.paths` writes them.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from embedmill.core.documents import WRITTEN
from embedmill.runtime import machine
from embedmill.runtime.paths import as_folder, file_id, file_path

STORE_FOLDER: Final = ".embedmill"
"""A store in it belongs to the folder that it lies in, as a ``.git`` does."""

ENOUGH: Final = 0.5
"""Share of a root's documents, of those looked at, that a folder must have to be taken for that root. Between two
runs some are edited, which changes their size; another folder has a few of the same name, and seldom the same size."""

SOME: Final = 0.1
"""The share for a folder that lies by the store as the root did: where both are there, the store was copied with it."""

_NUMBERED: Final = re.compile(r"[0-9]+/")
_LOOSE: Final = "0/"  # no root has this number

Share = Callable[["Root", str], float]
"""The share of a root's documents that lie in another place."""


class FolderState(StrEnum):
    """Where a root is."""

    HERE = "here"
    GONE = "gone"  # it was on this machine
    ELSEWHERE = "elsewhere"  # on another machine


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine: its identity, "" for not known, and its name for people."""

    id: str
    host: str


def this_machine() -> Machine:
    """The machine that this process runs on."""
    return Machine(machine.identity(), os.uname().nodename)


@dataclass(frozen=True, slots=True)
class Anchor:
    """The folder that a store lies in: what is given near it is known by its path from there."""

    folder: str
    sure: bool  # it is the `STORE_FOLDER` of this folder, and so cannot have been moved away from what it holds

    @classmethod
    def of(cls, store: Path) -> Anchor:
        """That of a store's file."""
        folder = store.absolute().parent
        sure = folder.name == STORE_FOLDER
        return cls(file_id(os.path.realpath(folder.parent if sure else folder)), sure)

    def relative(self, path: str) -> str | None:
        """The path from here, where that is how a root is known: it lies here or beside, or the store lies in it."""
        near = as_folder(posixpath.dirname(self.folder))
        if as_folder(path).startswith(near) or as_folder(self.folder).startswith(as_folder(path)):
            return posixpath.relpath(path, self.folder)
        return None

    def holds(self, relative: str) -> bool:
        """Whether what is there moves with the store for sure: it lies in the folder that the store belongs to."""
        return self.sure and relative.split("/")[0] != ".."

    def own(self, relative: str) -> str:
        """The folder from a root around it, ending in "/": what lies in it moves with the store, and tells nothing."""
        return as_folder(posixpath.relpath(self.folder, self.absolute(relative)))

    def absolute(self, relative: str) -> str:
        """The path that `relative` is for."""
        return posixpath.normpath(posixpath.join(self.folder, relative))


@dataclass(frozen=True, slots=True)
class Root:
    """A root as the store has noted it."""

    number: int
    path: str  # absolute, where a run took it last; does not end in "/", but for "/" itself
    folder: bool  # or a file given singly
    relative: str | None  # the path from the anchor, where that is how it is known
    machine: Machine


@dataclass(frozen=True, slots=True)
class Placed:
    """A root, and where it is now."""

    root: Root
    place: str  # its path; behind "host:" where that means another machine's
    state: FolderState

    @property
    def prefix(self) -> str:
        """What its documents' ids begin with; the one document's id of a single file."""
        return as_folder(self.place) if self.root.folder else self.place

    def inside(self, other: Placed) -> bool:
        """Whether it lies in another one, or at its place."""
        return other.root.folder and self.prefix.startswith(other.prefix)


def place(root: Root, anchor: Anchor | None, here: Machine, share: Share) -> Placed:
    """Find a root: near the store where it is known by that, else at its path."""
    path, known = root.path, not (root.machine.id and here.id) or root.machine.id == here.id
    if anchor is not None and root.relative is not None:
        near, held = anchor.absolute(root.relative), anchor.holds(root.relative)
        places = [near] if held or near == path else [near, path]
        found = [each for each in places if is_there(each, root.folder)]
        if len(places) > 1:  # the store has moved, with the root or without it, or has been copied with it
            least = {near: SOME, path: 0.0 if known else ENOUGH}
            found = [each for each in found if share(root, each) >= least[each]]
        path, known = found[0] if found else near if held else path, known or held
        is_here = bool(found)
    else:
        is_here = is_there(path, root.folder) and (known or share(root, path) >= ENOUGH)
    if is_here:
        return Placed(root, file_id(os.path.realpath(file_path(path))), FolderState.HERE)
    return (
        Placed(root, path, FolderState.GONE)
        if known
        else Placed(root, f"{root.machine.host}:{path}", FolderState.ELSEWHERE)
    )


def is_there(path: str, folder: bool) -> bool:
    """Whether a folder, or a file, is at the path; one that cannot be looked at is."""
    try:
        mode = os.stat(file_path(path)).st_mode  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return stat.S_ISDIR(mode) == folder


def share_there(prefix: str, documents: Iterable[tuple[str, int]]) -> float:
    """The share of documents, as path and size, that lie below a folder; 1 for no documents."""
    held = [has_size(prefix + path, size) for path, size in documents]
    return sum(held) / len(held) if held else 1.0


def has_size(path: str, size: int) -> bool:
    """Whether a file of this size is at the path."""
    try:
        found = os.lstat(file_path(path))
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size


def of_no_root(name: str, numbers: Collection[int]) -> bool:
    """Whether a name is that of a root, and of none of these numbers."""
    if not _NUMBERED.match(name) or name.startswith((_LOOSE, WRITTEN)):
        return False
    return int(name.partition("/")[0]) not in numbers


class UnknownRoot(LookupError):
    """A name is that of a root which came after the roots were read."""


class Places:
    """From documents' ids to their names in the store, and back.

    An id is an absolute path, or whatever another source gives. The name of what lies in a root is the root's number
    and the path from there.
    """

    def __init__(self, placed: Sequence[Placed]) -> None:
        self.all = placed
        self._by_number = {each.root.number: each for each in placed}
        self._by_prefix = {each.prefix: each for each in reversed(placed)}  # of several the first
        self._outer = [each for each in placed if each.root.folder and each.state is FolderState.HERE]

    def root_of(self, document: str) -> Placed | None:
        """The nearest root that holds the document, or the folder where it ends in "/"."""
        path = document
        while path and path not in self._by_prefix:
            path = path[: path.rfind("/", 0, len(path) - 1) + 1]
        return self._by_prefix.get(path)

    def name(self, document: str) -> str:
        """The name of a document, or of a folder as a scope."""
        root = self.root_of(document)
        return loose(document) if root is None else name_in(root, document)

    def id(self, name: str) -> str:
        """The id of the document of this name. Raises `UnknownRoot`."""
        root = self._root(name)
        if root is None:
            return name.removeprefix(_LOOSE)
        return root.prefix + name.partition("/")[2] if root.root.folder else root.prefix

    def state(self, name: str) -> FolderState:
        """Where the root of a document of this name is; what belongs to none counts as here. Raises `UnknownRoot`."""
        root = self._root(name)
        return FolderState.HERE if root is None else root.state

    def _root(self, name: str) -> Placed | None:
        if of_no_root(name, self._by_number):
            raise UnknownRoot(name.partition("/")[0])
        if not _NUMBERED.match(name) or name.startswith((_LOOSE, WRITTEN)):
            return None
        return self._by_number[int(name.partition("/")[0])]

    def names(self, scope: str, *, gone: bool = False) -> list[str]:
        """The scopes of names that a scope of ids stands for; of roots inside it those here, or all if `gone`."""
        found = dict.fromkeys((loose(scope), self.name(scope)))
        if scope.endswith("/"):
            inner = (each for each in self.all if each.state is FolderState.HERE or gone)
            found |= dict.fromkeys(f"{each.root.number}/" for each in inner if each.prefix.startswith(scope))
        return list(found)

    def outermost(self, inner: Placed) -> Placed | None:
        """The root, of those that are here, that another one lies in and that itself lies in none."""
        outer = [
            each
            for each in self._outer
            if each is not inner
            and inner.inside(each)
            and (each.prefix != inner.prefix or each.root.number < inner.root.number)
        ]
        return min(outer, key=lambda each: (len(each.prefix), each.root.number), default=None)


def name_in(root: Placed, document: str) -> str:
    """The name of a document that lies in the root."""
    path = document[len(root.prefix) :] if root.root.folder else document.rpartition("/")[2]
    return f"{root.root.number}/{path}"


def loose(document: str) -> str:
    """The name of a document that lies in no root."""
    return _LOOSE + document if _NUMBERED.match(document) and not document.startswith(WRITTEN) else document


# Stores of older versions, which knew no roots: what lies in folders that are gone is told from the rest by that, and
# the rest when it is given again.

Lies = Callable[[str, str], float]
"""The share of what the store has below one path that lies below another."""


def lost(folders: Iterable[str], anchor: Anchor | None, lies: Lies) -> Iterator[tuple[str, str]]:
    """The roots of those folders that are gone: where each was, and where it is, as far as known.

    No path lies in another one.
    """
    missing: dict[str, list[str]] = {}
    for folder in folders:
        if not is_there(folder, folder=True):
            missing.setdefault(_highest_missing(folder), []).append(folder)
    for highest, inside in missing.items():
        yield _moved(highest, posixpath.commonpath(inside), anchor, lies)


def _highest_missing(path: str) -> str:
    while not is_there(above := posixpath.dirname(path), folder=True):
        path = above
    return path


def _moved(highest: str, common: str, anchor: Anchor | None, lies: Lies) -> tuple[str, str]:
    """A path that is gone, and what it has become: the store's own folder, or one in it, if that has its documents."""
    path = common
    while anchor is not None:
        parts = path.strip("/").split("/")
        for kept in range(min(len(parts), 4)):
            now = posixpath.join(anchor.folder, *parts[len(parts) - kept :])
            if is_there(now, folder=True) and lies(path, now) >= ENOUGH:
                return path, now
        if path == highest:
            break
        path = posixpath.dirname(path)
    return highest, highest
