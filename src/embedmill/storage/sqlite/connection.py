"""SQLite files, and connections to them: how long they wait, their transactions, their errors in embedmill's words."""

from __future__ import annotations

import errno
import math
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from embedmill.core.errors import Stopped, StoreBusy, StoreError, UsageError

APPLICATION_ID: Final = 0x656D6D6C
"""In the header of a store of embedmill's, "emml": tells it from any other SQLite file."""

_SMALLEST: Final = 512
"""Bytes of the smallest page, and so of the smallest SQLite file that is not empty."""

_WAIT: Final = 0.25  # seconds that SQLite itself waits for a lock

_LOOK_EVERY: Final = 100_000
"""Steps of SQLite's virtual machine, a few milliseconds, between two looks at whether the run is stopped."""

REMEDIES: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_FULL: ": free some space and run again; what was finished is stored",
    sqlite3.SQLITE_IOERR: ": check the disk and the space left on it",
    sqlite3.SQLITE_READONLY: ": check the permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: ": check the permissions of the file and its folder",
    sqlite3.SQLITE_PERM: ": check the permissions of the file and its folder",
}
"""By primary result code: what to do, wherever the file lies and whatever it is for."""


def path_of(url: str) -> Path:
    """The file that a URL such as ``sqlite:PATH`` names. Raises `UsageError` where it names none."""
    path = Path(url.partition(":")[2])
    if not path.name or path.name == ":memory:":
        raise UsageError(f"{url} names no file: give sqlite:PATH")
    return path.expanduser()


def starts_otherwise(path: Path) -> bool:
    """Whether a file is there, holds something, and is no SQLite file: SQLite itself complains of such late.

    It is SQLite that looks: who opens and closes the file itself takes away the locks that this process has on it
    ("How To Corrupt An SQLite Database File", 2.2), and another that closes it then takes the write-ahead log along.

    Raises `StoreError` where it cannot be read.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unreadable(path, error.strerror) from error
    if stat.S_ISDIR(status.st_mode):
        raise _unreadable(path, os.strerror(errno.EISDIR))
    if not os.access(path, os.R_OK):
        raise _unreadable(path, os.strerror(errno.EACCES))
    if status.st_size < _SMALLEST:
        return status.st_size > 0
    with closing(connect(path, "mode=ro", timeout=0)) as db:
        try:
            db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except sqlite3.Error as error:
            return code(error) == sqlite3.SQLITE_NOTADB
    return False


def _unreadable(path: Path, reason: str | None) -> StoreError:
    return StoreError(f"{path} cannot be read: {reason}: check the path and the permissions")


class Connection(sqlite3.Connection):
    """One whose waiting for others' locks, and whose needless statements, a run that is stopped can end."""

    timeout = 0.0
    """Seconds for which others' locks are waited for."""
    needless = False
    """Whether what is executed now need not be finished once the run is stopped; then it raises SQLITE_INTERRUPT."""
    _end = math.inf

    def finish_within(self, seconds: float) -> None:
        """From now on locks are waited for no longer than this. A mere assignment: signal handlers may call it."""
        self._end = min(self._end, time.monotonic() + seconds)

    @property
    def stopping(self) -> bool:
        """Whether `finish_within` was called."""
        return self._end < math.inf

    def go_on(self) -> None:
        """Raise `Stopped` where what is done now is needless, and the run stopped."""
        if self.needless and self.stopping:
            raise Stopped("stopped before it was done: run again")

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Within this context what is done need not be finished once the run is stopped: raises `Stopped` then."""
        self.needless = True
        try:
            self.go_on()
            yield
        finally:
            self.needless = False

    @contextmanager
    def transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        """All that is done becomes durable, or nothing.

        IMMEDIATE, since a transaction that began by reading could not become a writing one where another process has
        written meanwhile.
        """
        self.execute(begin)
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self.in_transaction:  # on a full disk SQLite itself has rolled back
                self.execute("ROLLBACK")
            raise

    def execute(self, *statement: Any) -> sqlite3.Cursor:
        """As in the base. SQLite's own waiting cannot be ended, so that it is done a little at a time."""
        return self._patiently(lambda: super(Connection, self).execute(*statement))

    def executescript(self, script: str) -> sqlite3.Cursor:
        """As in the base, for a script that begins its transaction by itself."""
        return self._patiently(lambda: super(Connection, self).executescript(script))

    def _patiently(self, work: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        end = time.monotonic() + self.timeout
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                # What a snapshot that is out of date wants to write never succeeds.
                is_transient = (
                    code(error) == sqlite3.SQLITE_BUSY and error.sqlite_errorcode != sqlite3.SQLITE_BUSY_SNAPSHOT
                )
                if not is_transient or time.monotonic() >= min(end, self._end):
                    raise
                time.sleep(0.005)  # some locks SQLite does not wait for at all


def connect(path: Path, access: str, *, timeout: float) -> Connection:
    """Open a file; `access` is a part of SQLite's URI, such as ``mode=rw``; `timeout` is for others' locks, in seconds.

    Transactions begin where the code says BEGIN. The connection may be used by any thread, by one at a time.
    """
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?{access}",  # "?", "#" and "%" mean something in a URI
        uri=True,
        timeout=min(timeout, _WAIT),
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        factory=Connection,
    )
    connection.timeout = timeout
    connection.set_progress_handler(lambda: connection.needless and connection.stopping, _LOOK_EVERY)
    return connection


@contextmanager
def translate_errors(
    subject: str, remedies: Mapping[int, str], when_locked: Callable[[], str] = lambda: ": wait until it has ended"
) -> Iterator[None]:
    """Raise whatever SQLite raises as a `StoreError` that names the `subject` and says what to do.

    `remedies` are by primary result code; `when_locked` ends the sentence on a file that another process has locked.
    """
    try:
        yield
    except sqlite3.Error as error:
        if code(error) == sqlite3.SQLITE_INTERRUPT:
            raise Stopped(f"{subject}: stopped before it was done: run again") from error
        if code(error) == sqlite3.SQLITE_BUSY:
            raise StoreBusy(f"{subject} is locked by another process{when_locked()}") from error
        remedy = remedies.get(code(error), "")
        if "no such function" in str(error):
            remedy = ": a trigger, an index or a column needs it, and only the application has it: do without there"
        raise StoreError(f"{subject}: {error}{remedy}") from error


def code(error: sqlite3.Error) -> int:
    """The primary result code; 0 for errors of the module itself, such as the use of a closed connection."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
