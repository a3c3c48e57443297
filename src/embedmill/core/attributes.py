"""What a chunk has of the user's own, as JSON: so stores keep it."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any, Final

from embedmill.core.documents import Chunk

_TYPE: Final = "document_date_type"
_READERS: Final = {"date": date.fromisoformat, "datetime": datetime.fromisoformat}


def attributes_of(chunk: Chunk) -> str | None:
    """`source_category`, `document_date`, `total_chunks` and `metadata`, the keys in order; None where all are unset.

    Raises `TypeError` and `ValueError` where `metadata` is no JSON.
    """
    found: dict[str, Any] = {}
    if chunk.source_category:
        found["source_category"] = chunk.source_category
    if isinstance(chunk.document_date, date):
        found["document_date"] = chunk.document_date.isoformat()
        found[_TYPE] = "datetime" if isinstance(chunk.document_date, datetime) else "date"
    elif chunk.document_date is not None:
        found["document_date"] = chunk.document_date
    if chunk.total_chunks is not None:
        found["total_chunks"] = chunk.total_chunks
    if chunk.metadata:
        found["metadata"] = dict(chunk.metadata)
    return json.dumps(found, sort_keys=True, ensure_ascii=False, allow_nan=False) if found else None


def read_attributes(written: str | None) -> dict[str, Any]:
    """The same as keyword arguments of `Chunk`, and of `Hit`. Raises `ValueError` for what was not written so."""
    if written is None:
        return {}
    found = json.loads(written)
    if not isinstance(found, dict):
        raise ValueError(f"attributes of a chunk are no object: {written[:100]}")
    if read := _READERS.get(found.pop(_TYPE, "")):
        found["document_date"] = read(found["document_date"])
    return found
