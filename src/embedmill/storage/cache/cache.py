"""The cache of vectors that all runs of a user share: what was embedded once is never embedded again."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from embedmill.core.checks import whole_number
from embedmill.core.errors import CacheError
from embedmill.core.interfaces.cache import Claimed
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Vector
from embedmill.runtime.closing import Closing
from embedmill.runtime.folders import cache_folder
from embedmill.storage.cache.entries import as_bytes, as_vectors
from embedmill.storage.cache.file import CacheFile
from embedmill.storage.cache.keys import check_hashes
from embedmill.storage.cache.recent import RecentVectors
from embedmill.storage.sqlite.connection import code

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BYTES: Final = 2 * 1024**3
"""1.2 million vectors of 384 numbers: several large corpora, and no one's disk."""

MEMORY_ENTRIES: Final = 10_000
"""15 MB of vectors of 384 numbers."""

_LEFT: Final[list[CacheFile]] = []
"""Opened by the process that this one was forked from, which uses them: not to be closed here."""

_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache holds, and how it was used by this process."""

    path: Path
    entries: int
    bytes: int  # on disk
    max_bytes: int
    fingerprints: Mapping[str, int]  # Fingerprint.key -> entries
    models: Mapping[str, str]  # Fingerprint.key -> name of the model, where it is known
    hits: int
    misses: int


class PersistentCache(Closing):
    """A `ClaimingCache` and `NamingCache` in one file, and the vectors used last in memory.

    Safe for several threads, and for several processes on the same file. The cache is a help and no
    more: what is wrong with its file is logged once, and the job goes on without. A damaged
    file is set aside, a vector that is not as it was put counts as missing.
    """

    def __init__(
        self, path: str | Path | None = None, *, max_bytes: int = MAX_BYTES, memory_entries: int = MEMORY_ENTRIES
    ) -> None:
        """Use the file at `path`; by default ``vectors.db`` in EMBEDMILL_CACHE_DIR or the user's caches.

        `max_bytes`: a file that grows beyond is cut to 90 % of it; what was not used for longest goes.
        `memory_entries`: vectors kept in memory.
        """
        whole_number("max_bytes", max_bytes)
        whole_number("memory_entries", memory_entries, 0)
        self.path = cache_folder() / "vectors.db" if path is None else Path(path)
        self.max_bytes = max_bytes
        self.memory_entries = memory_entries
        self._memory = RecentVectors(memory_entries)
        self._lock = threading.RLock()
        self._file: CacheFile | None = None
        self._inode: int | None = None  # of the file that is, or was to be, open
        self._usable = True  # False once the file could not be opened or read
        self._writable = True  # False once it could not be written
        self._closed = False
        self._process = os.getpid()
        self._hurried = False
        self._names: dict[str, str] = {}  # Fingerprint.key -> name of the model
        self._hits = self._misses = 0

    def get_many(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> dict[bytes, Vector]:
        """The vectors that are there: hash -> ``(dimension,)`` float32, read-only.

        Raises `ValueError` for a hash that has not the 32 bytes of a SHA-256.
        """
        check_hashes(hashes)
        key = fingerprint.key
        with self._lock:
            wanted = dict.fromkeys(hashes)
            found = self._memory.get(key, wanted)
            missing = [each for each in wanted if each not in found] if found else list(wanted)
            if missing:
                read = self._try(lambda file: self._read(file, missing, fingerprint), dict[bytes, Vector]())
                self._memory.keep(key, read)
                found |= read
            self._hits += len(found)
            self._misses += len(wanted) - len(found)
            return found

    def put_many(self, vectors: Mapping[bytes, Vector], fingerprint: Fingerprint) -> None:
        """Keep these vectors, each ``(dimension,)`` float32, by the SHA-256 of their texts.

        Raises `ValueError` for a vector of another shape, and for a hash that has not 32 bytes.
        """
        check_hashes(vectors)
        blobs = as_bytes(vectors, fingerprint.space.dimension)  # copies: the caller's may be rows of a large batch
        with self._lock:
            self._memory.keep(fingerprint.key, as_vectors(blobs, blobs.values()))
            if blobs:
                self._change(lambda file: self._keep(file, blobs, fingerprint))

    def claim(self, hashes: Sequence[bytes], fingerprint: Fingerprint, overdue: Collection[int] = ()) -> Claimed:
        """Claim what nobody has claimed, to embed it: see `ClaimingCache`.

        Where the file cannot be written nothing is claimed, and nobody waited for. Raises `ValueError` for a hash that
        has not 32 bytes.
        """
        check_hashes(hashes)
        claimed = Claimed({}, ())

        def claim(file: CacheFile) -> None:
            nonlocal claimed
            claimed = file.claim(hashes, fingerprint, overdue)

        with self._lock:
            self._change(claim)
        return claimed

    def claimed(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> Mapping[bytes, int]:
        """Those that somebody has claimed, with their owners."""
        with self._lock:
            return self._try(lambda file: file.claimed(hashes, fingerprint), dict[bytes, int]())

    def release(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> None:
        """Let others embed what was claimed here."""
        with self._lock:
            self._change(lambda file: file.release(hashes, fingerprint))

    def want(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> None:
        """Say that somebody waits for what others have claimed."""
        with self._lock:
            self._change(lambda file: file.want(hashes, fingerprint))

    def wanted(self) -> bool:
        """Whether somebody waits for what is claimed here."""
        with self._lock:
            return self._try(CacheFile.wanted, False)

    def name(self, fingerprint: Fingerprint, model: str) -> None:
        """Say by which name people know the model: noted with the next of its vectors, for `stats`."""
        with self._lock:
            self._names[fingerprint.key] = model

    def stats(self) -> CacheStats:
        """What the cache holds; raises `CacheError` where that cannot be told."""
        with self._lock:
            counts = self._do(CacheFile.counts) if self._exists() else {}
            names = self._do(CacheFile.names) if self._exists() else {}
            files = (self.path, self.path.with_name(self.path.name + "-wal"))
            size = sum(file.stat().st_size for file in files if file.exists())
            return CacheStats(
                self.path, sum(counts.values()), size, self.max_bytes, counts, names, self._hits, self._misses
            )

    def prune(self, *, max_bytes: int | None = None, days: int | None = None) -> int:
        """Remove what was not used for `days` days, then what was not used for longest down to `max_bytes`.

        Returns how many vectors went. Raises `CacheError` where the file cannot be written.
        """
        with self._lock:
            self._memory.clear()
            if not self._exists():
                return 0
            removed = 0 if days is None else self._do(lambda file: file.remove_older(days))
            return removed + (0 if max_bytes is None else self._do(lambda file: file.shrink(max_bytes, max_bytes)))

    def clear(self) -> int:
        """Remove everything, files that were set aside too; returns how many vectors went.

        Raises `CacheError` where the file cannot be written.
        """
        with self._lock:
            self._memory.clear()
            removed = self._do(CacheFile.clear) if self._exists() else 0
            with contextlib.suppress(OSError):
                for file in self.path.parent.glob(f"{self.path.name}.damaged-*"):
                    file.unlink()
            return removed

    def finish_within(self, seconds: float) -> None:
        """From now on other processes are waited for no longer than this, and nothing is cut. For signal handlers."""
        self._hurried, file = True, self._file
        if file is not None:
            file.finish_within(seconds)

    def close(self) -> None:
        """Write what is pending; may be called twice. The cache is of no use afterwards."""
        with self._lock:
            if self._file is not None:
                self._change(CacheFile.write_pending)
            self._close_file()
            self._memory.clear()
            self._usable, self._closed = False, True

    def _read(self, file: CacheFile, hashes: Sequence[bytes], fingerprint: Fingerprint) -> dict[bytes, Vector]:
        found = file.get(hashes, fingerprint)
        if file.has_pending and self._writable:
            self._write(file.write_pending)
        return found

    def _keep(self, file: CacheFile, blobs: Mapping[bytes, bytes], fingerprint: Fingerprint) -> None:
        file.put(blobs, fingerprint, self._names.get(fingerprint.key, ""))
        if not self._hurried and file.used_bytes() > self.max_bytes:
            file.shrink(self.max_bytes, self.max_bytes * 9 // 10)

    def _change(self, work: Callable[[CacheFile], None]) -> None:
        """Change the file, as far as it can be used and written."""
        if self._writable:
            self._try(lambda file: self._write(lambda: work(file)), None)

    def _write(self, work: Callable[[], None]) -> None:
        """Write, if the file allows; else only read from here on."""
        try:
            work()
        except sqlite3.Error as error:
            if code(error) in _DAMAGED:
                raise
            self._writable = False
            if self._file is not None:
                self._file.give_up_claims()
            log.warning("cannot write the cache %s (%s): new vectors are not kept in it", self.path, str(error))

    def _try(self, work: Callable[[CacheFile], T], otherwise: T) -> T:
        """Do it, if the file allows; else go on without the file from here on."""
        if not self._usable:
            return otherwise
        try:
            return self._do(work)
        except CacheError as error:
            self._usable = False
            log.warning("%s; going on without it", str(error))
            return otherwise

    def _do(self, work: Callable[[CacheFile], T]) -> T:
        """Do it; once more with a new file, where this one proves damaged."""
        try:
            try:
                return work(self._opened())
            except sqlite3.DatabaseError as error:
                if code(error) not in _DAMAGED:
                    raise
                self._set_aside(error)
                return work(self._opened())
        except (sqlite3.Error, OSError) as error:
            self._close_file()
            raise CacheError(
                f"the cache {self.path} cannot be used ({error}): check its folder, or move it with EMBEDMILL_CACHE_DIR"
            ) from error

    def _opened(self) -> CacheFile:
        if self._closed:
            raise CacheError(f"the cache {self.path} is closed")
        if os.getpid() != self._process:  # which was forked: SQLite's locks are not its own here
            self._close_file()
            self._process = os.getpid()
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._inode = _inode(self.path)  # already now: a damaged file may not get as far as being open
            self._file = CacheFile(self.path)
            self._inode = _inode(self.path)
        return self._file

    def _exists(self) -> bool:
        return self._file is not None or self.path.exists()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None and os.getpid() != self._process:
            _LEFT.append(file)
        elif file is not None:
            with contextlib.suppress(sqlite3.Error):
                file.close()

    def _set_aside(self, error: Exception) -> None:
        self._close_file()
        if _inode(self.path) != self._inode:
            return  # another process has done it
        aside = f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        for suffix in ("-wal", "-shm", ""):  # the file last: its log must not meet a new file
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).replace(self.path.with_name(aside + suffix))
        log.warning("the cache %s is damaged (%s): set aside as %s", self.path, str(error), aside)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
