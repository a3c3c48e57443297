"""SHA-256 of large files, computed once for each state of a file.

Hashing 90 MB costs 60 ms, which every start of a command would pay. The digests are remembered in a small
file in the cache folder. Losing that file, or an entry to another process, only costs time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from embedmill.models.json_config import unreadable
from embedmill.runtime.folders import cache_folder

_MAX_ENTRIES = 256  # the file stays below 100 KB; the oldest entries go first
_WORTH_IT = 1 << 20  # bytes; smaller files are hashed faster than the memo is read


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, hex. Raises `ModelError` where it cannot be read."""
    try:
        real = path.resolve()
        if real.stat().st_size < _WORTH_IT:
            return hashlib.sha256(real.read_bytes()).hexdigest()
        key, state = str(real), _state(real)
        memo = _read_memo()
        known = memo.get(key)
        if known is not None and known[:-1] == state:
            return known[-1]
        with real.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _state(real) == state:  # else it changed while it was read
            memo.pop(key, None)
            memo[key] = [*state, digest]
            _write_memo(memo)
    except OSError as error:
        raise unreadable(path, error) from error
    return digest


def _state(path: Path) -> list[str]:
    """What changes when the content does. As strings: nanoseconds exceed what other JSON readers keep."""
    stat = path.stat()
    return [str(n) for n in (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)]


def _memo_path() -> Path:
    return cache_folder() / "digests.json"


def _read_memo() -> dict[str, list[str]]:
    try:
        memo = json.loads(_memo_path().read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(memo, dict):
        return {}
    return {
        key: entry
        for key, entry in memo.items()
        if isinstance(entry, list) and [*map(type, entry)] == [str] * 5 and len(entry[4]) == 64
    }


def _write_memo(memo: dict[str, list[str]]) -> None:
    """Replace the file in one step, so that no reader sees half of it. Failing to is no failure."""
    import tempfile  # 7 ms that most starts need not pay

    path = _memo_path()
    newest = dict(list(memo.items())[-_MAX_ENTRIES:])
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".digests-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(newest, file)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
