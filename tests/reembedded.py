"""A store that is embedded anew with another model, as tests use it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import embedmill
from embedmill.api.stores import status_of_second
from embedmill.core.documents import StoreStatus
from embedmill.core.reports import Report
from embedmill.storage.registry import open_store
from troubled import SMALL_MODEL

OTHER = SMALL_MODEL.with_name("bert-cls")


class Bench:
    """A store in a place of its own."""

    def __init__(self, place: dict[str, str]) -> None:
        self.where: dict[str, Any] = {"store": place["url"]}
        self.where |= {"schema": place["schema"]} if "schema" in place else {}
        self.place = place

    def index(self, *paths: Path, model: Path = SMALL_MODEL, **options: Any) -> Report:
        options = {"precision": "f32", "cache": False} | self.where | options
        return embedmill.index(list(paths), model=str(model), **options)

    def found(self, query: str = "vector search", **options: Any) -> list[tuple[str, int, float]]:
        hits = embedmill.search(query, k=100, **self.where, **options)
        return [(hit.document, hit.chunk, round(hit.score, 4)) for hit in hits]

    def status(self) -> StoreStatus:
        with closing(open_store(**self.place, write=False)) as store:
            return store.status()

    def second(self) -> int | None:
        """How many documents the second space has."""
        with closing(open_store(**self.place, write=False)) as store:
            held = status_of_second(store)
            return None if held is None else held.documents
