"""What has kept a model from being loaded, told from the errors behind the error."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

from embedmill.core.errors import LoadKind, UnsupportedModel
from embedmill.models.files import BrokenOff, Forbidden, NoSpace, Unreachable

_DISK: Final = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}
_PERMISSION: Final = {errno.EACCES, errno.EPERM}


def kind_of(error: BaseException) -> LoadKind | None:
    """What was in the way; None where it was nothing of this, as where memory is short.

    Where several places were tried, what can be mended on this machine goes first.
    """
    behind = list(_behind(error))
    numbers = {each.errno for each in behind if isinstance(each, OSError)}
    if any(isinstance(each, MemoryError) for each in behind) or errno.ENOMEM in numbers:
        return None
    if any(isinstance(each, UnsupportedModel) for each in behind):
        return "architecture"
    if numbers & _DISK or any(isinstance(each, NoSpace) for each in behind):
        return "disk"
    if numbers & _PERMISSION or any(isinstance(each, Forbidden) for each in behind):
        return "permission"
    if any(isinstance(each, Unreachable | BrokenOff) for each in behind):
        return "network"
    return "files"


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The error, and all that it was raised from."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _behind(each)
    if error.__cause__ is not None:
        yield from _behind(error.__cause__)
