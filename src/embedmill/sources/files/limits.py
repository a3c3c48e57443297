"""Limits of the machine that reading meets: they are no fault of a file."""

from __future__ import annotations

import errno
from typing import Final

from embedmill.core.errors import LimitReached

_REMEDIES: Final = {
    errno.EMFILE: "this process may open no more files: raise the limit (ulimit -n), or take fewer workers",
    errno.ENFILE: "this machine may open no more files: end other programs, or raise the limit (fs.file-max)",
    errno.ENOMEM: "memory is too short to read: free some, or raise the limit",
}


def check_limits(error: OSError) -> None:
    """Raise `LimitReached` where the machine is at its end, and not the file."""
    if error.errno in _REMEDIES:
        raise LimitReached(_REMEDIES[error.errno]) from error
