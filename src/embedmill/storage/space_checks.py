"""Whether vectors can be compared with those of a store, told alike by every store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from embedmill.core.errors import SpaceMismatch
from embedmill.core.spaces import OF_QUERIES, Space, not_of, other_prompt
from embedmill.core.vectors import Vector


def mismatch(
    store: str, held: str, held_space: str, fields: Mapping[str, Any], space: Space, model: str
) -> SpaceMismatch:
    """The error of a store whose vectors are of the model `held`, in the space of these fields."""
    stored = {name: value for name, value in asdict(space).items() if name not in OF_QUERIES}
    differing = [name for name, value in stored.items() if fields.get(name) != value]
    if told := other_prompt(fields.get("prompt"), held_space, space):
        return SpaceMismatch(f"store {store} holds {told}, or give another --store")
    whose = not_of(held, held_space, model, space.id, f", with other {', '.join(differing)}")
    return SpaceMismatch(f"store {store} holds {whose}: give another --store and index into that")


def prompts_of(fields: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The prompts for documents and queries among the fields of a space; None where they are not known."""
    document, query = fields.get("prompt"), fields.get("query_prompt")
    return document if isinstance(document, str) else None, query if isinstance(query, str) else None


def finite(vector: Vector) -> Vector:
    """A query's vector, contiguous; raises `ValueError` where a number is not finite."""
    query = np.ascontiguousarray(vector, np.float32)
    if not np.isfinite(query).all():
        raise ValueError("the query's vector is not finite")
    return query


def check_shape(query: Vector, dimension: int) -> None:
    """Raise `ValueError` for a query's vector that is not of the store's dimension."""
    if query.shape != (dimension,):
        raise ValueError(f"the query's vector has shape {query.shape}, the store's have ({dimension},)")
