"""The lock that keeps a second run from writing to the same store."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from embedmill.core.errors import StoreBusy, StoreError
from embedmill.runtime.locks import acquire, release


class WriterLock:
    """Held from construction to `release`, or until the process dies: the kernel lets go of it.

    The file itself stays. Removing it would let two runs hold "the" lock, each on a file of its own.
    """

    def __init__(self, store: Path) -> None:
        path = store.with_name(store.name + ".lock")
        try:
            self._file = path.open("ab+", buffering=0)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}: check the permissions") from error
        try:
            acquire(self._file.fileno())
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read(20).decode("ascii", "replace").strip()
            self._file.close()
            process = f"process {holder}" if holder else "another process"
            raise StoreBusy(f"{process} is writing to the store {store}: wait until it has ended") from error
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the pid, which is for people
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n".encode("ascii"))

    def release(self) -> None:
        """Let the next run in; may be called twice."""
        if not self._file.closed:
            release(self._file.fileno())
        self._file.close()
