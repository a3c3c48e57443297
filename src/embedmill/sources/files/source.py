"""Files and folders as a source of documents."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cache, partial

from embedmill.core.documents import Document, Entry
from embedmill.core.errors import SourceError, UsageError
from embedmill.runtime.paths import as_folder, file_id, file_path, quote_path
from embedmill.sources.files.conversion import convertible, read_text
from embedmill.sources.files.decoding import decode
from embedmill.sources.files.kinds import (
    BINARY_SUFFIXES,
    DOCUMENT_SUFFIXES,
    MAIL_SUFFIXES,
    is_generated_name,
    is_office_lock,
    suffix_of,
)
from embedmill.sources.files.safe_read import check_limits, inode_of, open_beneath, read_whole
from embedmill.sources.files.selection import Selection
from embedmill.sources.files.skips import LeftOut, Skip
from embedmill.sources.files.walk import Only, Walk

log = logging.getLogger("embedmill")

MAX_BYTES = 64 << 20
"""Default limit of a file's size. A file is read whole, as text takes up to four times its bytes; books and
hand-written programs stay below 10 MB, what is above are dumps and logs."""

_WORTH_A_LOOK = 64 << 10  # bytes: a smaller file that turns out to be binary does not matter to the progress
_LOOKED_AT = 8000  # bytes
_GONE = (FileNotFoundError, NotADirectoryError)


class FileSource:
    """The text files at and below some paths, as documents. Implements `interfaces.Source`.

    Left out of a folder are hidden files, what ``.gitignore`` and ``.embedmillignore`` name, folders of tools
    (`walk.TOOL_FOLDERS`, virtual environments, caches), binary files, links, and what programs write and nobody
    reads (`generated`). ``.embedmillignore`` has gitignore's syntax and wins over ``.gitignore``. A file or folder that
    is itself given is taken wherever it lies, though a file may still be excluded, binary or too large. Where given
    paths overlap, each file is listed once, by the rules of the nearest given path.

    `entries` is for one caller at a time; `read` may be called from several threads, also while it runs.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        hidden: bool = False,
        generated: bool = False,
        max_bytes: int = MAX_BYTES,
        encoding: str | None = None,
        never: Collection[str] = (),
        only: Collection[str] | None = None,
        current: str | None = None,
        least: int | None = None,
    ) -> None:
        """Find the paths; nothing is listed yet.

        `include`, `exclude`: patterns in gitignore syntax, with braces as in ``*.{md,rst}``, relative to each given
        folder or to the current one. Where there is an `include`, only the files that it matches are taken; `exclude`
        wins over it. `hidden`: also take what begins with a dot. `generated`: also take what programs write and nobody
        reads: lock files, source maps, minified code, tables of numbers. `max_bytes`: larger files are left out with a
        warning. `encoding`: that of text and HTML files that have no byte order mark and are not UTF-8, by Python's
        name; None: as a page declares, else guessed. `never`: ids of files that are not taken. `only`: ids of files,
        and of folders, ending in "/", to which the listing is limited, with the options of the given paths that they
        lie in. `current`: the folder to take for the current one, ending in "/". `least`: how many paths must be there
        at least, where not all must; the others are `missing`.

        Raises `SourceError` for a path that is not there or cannot be listed, `UsageError` for none at all
        and for what is no path.
        """
        if isinstance(paths, str | os.PathLike):
            paths = [paths]
        if not paths:
            raise UsageError("no paths to read from: give at least one file or folder")
        for path in paths:
            if not isinstance(path, str | os.PathLike):
                raise UsageError(f"paths has {path!r:.200}: give files and folders, as text or pathlib.Path")
        there, self.missing = _split(paths, len(paths) if least is None else least)
        self._given: dict[str, bool] = dict(sorted(map(_found, there)))  # real path -> is a folder
        self._include = {path: Selection(include, self._folder_of(path), current) for path in self._given if include}
        self._exclude = {path: Selection(exclude, self._folder_of(path), current) for path in self._given if exclude}
        self._hidden = hidden
        self._generated = generated
        self._found_generated: set[str] = set()
        self._until = math.inf  # the time, by `time.monotonic`, at which what is being read is given up
        self._max_bytes = max_bytes
        self._encoding = encoding
        self._never = frozenset(never)
        self._counts: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._unlisted: list[str] = []
        self._listed_all = False
        self._only = None if only is None else Only(map(file_path, only))
        given = (file_id(as_folder(path) if is_folder else path) for path, is_folder in self._given.items())
        self.scopes: Sequence[str] = tuple(given if only is None else sorted(only))
        self.skipped: Mapping[str, int] = self._counts

    def entries(self) -> Iterator[Entry]:
        """List the files that place, name and size select, in a stable order. Counts from 0 each time."""
        self._counts.clear()
        self._unlisted.clear()
        self._listed_all = False
        for path, is_folder in self._given.items():
            if self._only is None or self._only.takes(path):
                for entry in self._below(path) if is_folder else self._itself(path):
                    if entry.id in self._never:
                        self._skip(Skip.OWN, path)
                    else:
                        yield entry
        self._listed_all = True

    def read(self, entry: Entry) -> Document | None:
        """Read one file; None where it is binary, too large or gone after all (counted in `skipped`).

        Raises `SourceError` where it cannot be read or converted.
        """
        try:
            return self._read(entry)
        except LeftOut as left_out:
            if left_out.reason is Skip.TOO_LARGE:
                self._warn_too_large(entry.id)
            self._skip(left_out.reason, file_path(entry.id))
            return None

    def amount(self) -> int:
        """About how many bytes of text the files have: of the large ones, those whose beginning is text count."""
        return sum(entry.size for entry in self.entries() if entry.size < _WORTH_A_LOOK or self._looks_like_text(entry))

    def _looks_like_text(self, entry: Entry) -> bool:
        path = file_path(entry.id)
        if suffix_of(path) in DOCUMENT_SUFFIXES | MAIL_SUFFIXES:
            return True
        with suppress(LeftOut, OSError), self._opened(path) as descriptor:
            decode(os.read(descriptor, _LOOKED_AT), self._encoding)
            return True
        return False

    def unmatched(self) -> Mapping[str, Sequence[str]]:
        """The patterns of "include" and "exclude" that match nothing; only of a source that has been listed whole."""
        if not self._listed_all:
            return {}
        named = {"include": self._include, "exclude": self._exclude}
        return {name: _unmatched(list(by_path.values())) for name, by_path in named.items()}

    def finish_within(self, seconds: float) -> None:
        """From now on, a document whose conversion takes longer is given up; for signal handlers."""
        self._until = min(self._until, time.monotonic() + seconds)

    def unlisted(self) -> Sequence[str]:
        """The folders below the given ones that could not be listed, each ending in "/"."""
        return tuple(self._unlisted)

    def deselected(self, sizes: Mapping[str, int]) -> Sequence[str]:
        """Those of the files that are there and that only this source's options leave out."""
        walk_of = cache(self._walk)
        return [document for document, size in sizes.items() if self._deselects(document, size, walk_of)]

    def _deselects(self, document: str, size: int, walk_of: Callable[[str], Walk]) -> bool:
        path = file_path(document)
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                return False
        except (OSError, ValueError):
            return False
        if size > self._max_bytes:
            return True
        if document in self._found_generated or self._generated_by_name(path):
            return True
        if path in self._given:
            return self._excludes_itself(path)
        try:
            return walk_of(self._root_of(path)).deselects(path)
        except SourceError:
            return False

    def _below(self, root: str) -> Iterator[Entry]:
        for found in self._walk(root).files():
            yield from self._listed(found.path, partial(found.stat, follow_symlinks=False))

    def _walk(self, root: str) -> Walk:
        return Walk(
            as_folder(root),
            include=self._include.get(root),
            exclude=self._exclude.get(root),
            hidden=self._hidden,
            given=self._given,
            only=self._only,
            skip=self._skip,
            unlisted=lambda folder: self._unlisted.append(file_id(folder)),
        )

    def _itself(self, path: str) -> Iterator[Entry]:
        if path in self._include:
            self._include[path].verdict(path, is_folder=False)  # does not select what is given, but may be meant for it
        if self._excludes_itself(path):
            self._skip(Skip.EXCLUDED, path)
        else:
            yield from self._listed(path, lambda: os.lstat(path))

    def _generated_by_name(self, path: str) -> bool:
        return not self._generated and path not in self._given and is_generated_name(path.rpartition("/")[2])

    def _excludes_itself(self, path: str) -> bool:
        return path in self._exclude and bool(self._exclude[path].verdict(path, is_folder=False))

    def _listed(self, path: str, status: Callable[[], os.stat_result]) -> Iterator[Entry]:
        name = path.rpartition("/")[2]
        suffix = suffix_of(name)
        if is_office_lock(name):
            return self._skip(Skip.OFFICE_LOCK, path)
        if suffix in BINARY_SUFFIXES:
            return self._skip(Skip.BINARY, path)
        if self._generated_by_name(path):
            return self._skip(Skip.GENERATED, path)
        if suffix in DOCUMENT_SUFFIXES and not convertible(suffix):
            return self._skip(Skip.NEEDS_EXTRA, path)
        document = file_id(path)
        try:
            found = status()
        except FileNotFoundError:
            return self._skip(Skip.VANISHED, path)
        except OSError:
            yield Entry(document, 0, 0, reading=self._encoding or "")  # reading it says what is wrong
            return None
        if found.st_size > self._max_bytes:
            self._warn_too_large(document)
            return self._skip(Skip.TOO_LARGE, path)
        yield Entry(
            document, found.st_size, found.st_mtime_ns, found.st_ctime_ns, inode_of(found), self._encoding or ""
        )
        return None

    def _read(self, entry: Entry) -> Document:
        path = file_path(entry.id)
        name = path.rpartition("/")[2]
        try:
            with self._opened(path) as descriptor:
                content, times = read_whole(descriptor, self._max_bytes)
        except OSError as error:
            check_limits(error)
            raise SourceError(
                f"{quote_path(entry.id)}: cannot be read ({_reason(error)}): correct that, or use --exclude"
            ) from error
        found = read_text(content, name, entry.id, lambda: self._until, self._encoding)
        if found.guessed:
            log.info("%s: read as %s, which is guessed", quote_path(entry.id), found.guessed)
        if found.only_pictures:
            self._skip(Skip.WITHOUT_TEXT, path)
        from embedmill.sources.files.generated import why_generated  # not needed where nothing has changed

        reason = None if found.converted else why_generated(name, found.text, found.kind)
        if reason is not None:
            if not self._generated and path not in self._given:
                self._found_generated.add(entry.id)
                raise LeftOut(reason)
            times = times._replace(mtime_ns=0)  # so that it is read again, and left out, by a run that does not take it
        return Document(
            id=entry.id,
            text=found.text,
            kind=found.kind,
            paged=found.paged,
            guessed=bool(found.guessed),
            content_hash=hashlib.sha256(content).digest(),
            size=len(content),
            mtime_ns=times.mtime_ns,
            ctime_ns=times.ctime_ns,
            inode=times.inode,
        )

    def _opened(self, path: str) -> AbstractContextManager[int]:
        """A descriptor of the file (see `open_beneath`)."""
        root = self._root_of(path)
        parts = path[len(as_folder(root)) :].split("/")
        if {"", ".", ".."}.intersection(parts):
            raise SourceError(f"{quote_path(file_id(path))}: not the id of a file")
        return open_beneath(root, parts)

    def _root_of(self, path: str) -> str:
        """The given folder that the path lies in; the folder of a file that is itself given."""
        folder = path
        while (is_folder := self._given.get(folder)) is None:
            if folder in ("/", ""):
                raise SourceError(f"{quote_path(file_id(path))}: not below the given paths")
            folder = os.path.dirname(folder)  # noqa: PTH120
        return folder if is_folder else os.path.dirname(folder)  # noqa: PTH120

    def _warn_too_large(self, document: str) -> None:
        log.warning(
            "%s: left out, it is larger than %s (--max-file-size)",
            quote_path(document),
            f"{self._max_bytes:,} bytes" if self._max_bytes % (1 << 20) else f"{self._max_bytes >> 20:,} MiB",
        )

    def _folder_of(self, path: str) -> str:
        """What the patterns for a given path are relative to."""
        return as_folder(path if self._given[path] else os.path.dirname(path))  # noqa: PTH120

    def _skip(self, reason: Skip, path: str) -> None:
        log.debug("%s: left out, %s", quote_path(file_id(path)), reason.value)
        with self._counting:
            self._counts[reason.value] += 1


def _unmatched(selections: Sequence[Selection]) -> list[str]:
    """The patterns that have matched below none of the given paths."""
    by_path = [selection.unmatched() for selection in selections]
    return [pattern for pattern in by_path[0] if all(pattern in each for each in by_path)] if by_path else []


def _split(
    paths: Sequence[str | os.PathLike[str]], least: int
) -> tuple[Sequence[str | os.PathLike[str]], Mapping[str, str]]:
    """The paths that are there, or all where fewer than `least` are; and the ids of the others, with their names."""
    missing = [path for path in paths if _is_missing(path)]
    if len(paths) - len(missing) < least:
        return paths, {}
    gone = {file_id(os.path.realpath(os.fsdecode(path))): os.fsdecode(path) for path in missing}
    return [path for path in paths if path not in missing], gone


def _is_missing(path: str | os.PathLike[str]) -> bool:
    try:
        os.stat(path)  # noqa: PTH116
    except (OSError, ValueError) as error:
        return isinstance(error, _GONE)
    return False


def _found(path: str | os.PathLike[str]) -> tuple[str, bool]:
    """The real path, and whether it is a folder that can be listed."""
    name = os.fsdecode(path)
    try:
        real = os.path.realpath(name, strict=True)
        mode = os.stat(real).st_mode  # noqa: PTH116
        if stat.S_ISDIR(mode):
            with os.scandir(as_folder(real) + "."):
                return real, True
    except (OSError, ValueError) as error:
        advice = "give a file or folder that can be read"
        if isinstance(error, _GONE):
            advice = "give one that is there; what a store has of one that is gone goes with `embedmill forget`"
        raise SourceError(f"{quote_path(file_id(name))}: {_reason(error)}: {advice}") from error
    if not stat.S_ISREG(mode):
        raise SourceError(f"{quote_path(file_id(name))}: give a file or folder, not a pipe or device")
    return real, False


def _reason(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return (reason or type(error).__name__).lower()
