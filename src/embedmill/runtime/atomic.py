"""Files that are there whole, or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, parts: Iterable[bytes]) -> None:
    """Put a file in the place of what is there, all at once: readers see the old one or the new, after a kill too.

    What is no regular file, such as ``/dev/stdout``, is written to. Raises `OSError` where it cannot be written; what
    was there then stays.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            stream.writelines(parts)
        return
    target = path.resolve()  # of a link, what it leads to is replaced
    temporary = target.with_name(f".{target.name}.new-{os.getpid()}-{time.monotonic_ns()}")
    try:
        with temporary.open("xb") as file:
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
            file.writelines(parts)
            file.flush()
            # Synced before it gets its name: no power cut leaves the name without the content.
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
