"""What stores write as JSON, read where it may have been damaged since."""

from __future__ import annotations

import json
from typing import Any, Final

from embedmill.core.attributes import read_attributes
from embedmill.core.errors import StoreError

_ATTRIBUTES: Final = frozenset({"source_category", "document_date", "total_chunks", "metadata"})


def stored_attributes(written: str | None) -> dict[str, Any]:
    """See `embedmill.core.attributes.read_attributes`. Raises `StoreError` for what was not written so."""
    try:
        found = read_attributes(written)
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(written) from error
    if not found.keys() <= _ATTRIBUTES:
        raise _damaged(written)
    return found


def _damaged(written: str | None) -> StoreError:
    return StoreError(
        f"the store is damaged (attributes of a chunk are not what was written: {written!r:.100}): "
        "`embedmill verify --repair` removes them"
    )


def read_options(written: str) -> dict[str, Any] | None:
    """The options by which something was taken; None where they cannot be read."""
    try:
        found = json.loads(written)
    except (TypeError, ValueError):
        return None
    return found if isinstance(found, dict) else None
