"""A file's bytes: never through a link, never from a pipe, never half of one version and half of the next."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from embedmill.core.errors import LimitReached
from embedmill.sources.files.skips import LeftOut, Skip

_READS = 4  # the first one, and three more while somebody is writing

_RACY_NS = 2_000_000_000
"""A file this young may change again without its time changing: FAT keeps times to 2 seconds. git calls such
entries "racily clean"."""

_PATH_ONLY = getattr(os, "O_PATH", os.O_RDONLY)  # a folder that may be passed through but not listed will do
_FOLDER = _PATH_ONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # opening a pipe must not wait
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})  # ELOOP: a link stands there now


_REMEDIES: Final = {
    errno.EMFILE: "this process may open no more files: raise the limit (ulimit -n), or take fewer workers",
    errno.ENFILE: "this machine may open no more files: end other programs, or raise the limit (fs.file-max)",
    errno.ENOMEM: "memory is too short to read: free some, or raise the limit",
}


def check_limits(error: OSError) -> None:
    """Raise `LimitReached` where the machine is at its end, which is no fault of the file."""
    if error.errno in _REMEDIES:
        raise LimitReached(_REMEDIES[error.errno]) from error


@contextmanager
def open_beneath(root: str, parts: Sequence[str]) -> Iterator[int]:
    """A descriptor of the regular file at `parts` below `root`, each opened from the one before.

    So a folder that somebody swaps for a link meanwhile cannot lead out of the root.
    Raises `LeftOut` where the file has gone or is none, `OSError` where it cannot be opened.
    """
    held: list[int] = []
    try:
        try:
            held.append(os.open(root, _FOLDER))
            for name in parts[:-1]:
                held.append(os.open(name, _FOLDER, dir_fd=held[-1]))
                os.close(held.pop(0))
            held.append(os.open(parts[-1], _FILE, dir_fd=held[-1]))
        except OSError as error:
            if error.errno == errno.ENXIO:  # a socket, or a pipe that nobody reads
                raise LeftOut(Skip.SPECIAL) from error
            if error.errno in _GONE:
                raise LeftOut(Skip.VANISHED) from error
            raise
        if not stat.S_ISREG(os.fstat(held[-1]).st_mode):
            raise LeftOut(Skip.SPECIAL)
        yield held[-1]
    finally:
        for descriptor in held:
            os.close(descriptor)


class Times(NamedTuple):
    """What tells a file's content from the next, without reading it."""

    mtime_ns: int  # 0 where it does not, since it may change again without this
    ctime_ns: int  # -1 where it does not
    inode: int


def inode_of(found: os.stat_result) -> int:
    """The inode's number, as databases keep numbers: some file systems use all 64 bits."""
    return found.st_ino & (1 << 63) - 1


def read_whole(descriptor: int, max_bytes: int) -> tuple[bytes, Times]:
    """The file's bytes and times. Reads again while the file is being changed.

    Raises `LeftOut` where it has more than `max_bytes`.
    """
    for _ in range(_READS):
        begun = time.time_ns()
        before = os.fstat(descriptor)
        if before.st_size > max_bytes:
            raise LeftOut(Skip.TOO_LARGE)
        content = _read(descriptor, before.st_size, max_bytes)
        after = os.fstat(descriptor)
        inode = inode_of(after)
        if _states(before) == _states(after):
            mtime_ns = after.st_mtime_ns if begun - after.st_mtime_ns >= _RACY_NS else 0
            ctime_ns = after.st_ctime_ns if begun - after.st_ctime_ns >= _RACY_NS else -1
            return content, Times(mtime_ns, ctime_ns, inode)
    return content, Times(0, -1, inode)


def _states(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(descriptor: int, expected: int, max_bytes: int) -> bytes:
    """What the file holds, as far as its size says; one byte more where it has grown meanwhile."""
    # A size of 0 may also stand for "not known", as in /proc.
    most, at_once = (expected, expected + 1) if expected else (max_bytes, 1 << 16)
    os.lseek(descriptor, 0, os.SEEK_SET)
    blocks: list[bytes] = []
    size = 0
    while size <= most and (block := os.read(descriptor, min(at_once, most + 1 - size))):
        blocks.append(block)
        size += len(block)
    if size > max_bytes:
        raise LeftOut(Skip.TOO_LARGE)
    return b"".join(blocks)
