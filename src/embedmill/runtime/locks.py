"""Locks on files that the kernel lets go of when their process ends, however it ends."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt

    def acquire(descriptor: int) -> None:
        """Lock an open file for this opening of it alone; raises `OSError` where another holds the lock."""
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # far beyond the content, which others must be able to read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

    def release(descriptor: int) -> None:
        """Let go of the lock."""

    def is_held(descriptor: int) -> bool:
        """Whether another opening of an open file holds the lock; for a moment it is held here."""
        try:
            acquire(descriptor)
        except OSError:
            return True
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        return False
else:
    import fcntl

    def acquire(descriptor: int) -> None:
        """Lock an open file for this opening of it alone; raises `OSError` where another holds the lock."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_held(descriptor: int) -> bool:
        """Whether another opening of an open file holds the lock; for a moment it is held here."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False

    def release(descriptor: int) -> None:
        """Let go of the lock: closing alone leaves it with a process that was forked meanwhile."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)
