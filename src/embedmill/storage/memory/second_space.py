"""Another model's vectors in a store in memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, replace

from embedmill.core.documents import Chunk, StoredChunk
from embedmill.core.errors import StoreError
from embedmill.core.spaces import Fingerprint, differ_in_files_alone
from embedmill.storage.catalog import store_mismatch
from embedmill.storage.memory.contents import Contents
from embedmill.storage.second_space import PAGE, KnownSpace, ReembeddableBackend, nothing_to_swap, recipe_in_space

Opened = Callable[[], AbstractContextManager[Contents]]


class MemorySecondSpace:
    """`SecondSpace` of a store in memory; without docstrings where that says it."""

    def __init__(
        self,
        url: str,
        reading: Opened,
        writing: Opened,
        known: KnownSpace,
        opened: Callable[[Contents], ReembeddableBackend],
    ) -> None:
        """`opened` is the second store of these contents, opened as the first is."""
        self._url = url
        self._reading, self._writing = reading, writing
        self._known = known
        self._opened = opened

    def sample(self, limit: int) -> list[StoredChunk]:
        with self._reading() as held:
            rows, _ = held.matrix()
            chosen = random.sample(rows, min(limit, len(rows)))
        return [
            StoredChunk(name, row.chunk.chunk_index, row.chunk.input, row.vector, precision)
            for name, precision, row in chosen
        ]

    def rebind(self, fingerprint: Fingerprint, model: str) -> None:
        with self._writing() as held:
            bound, name = held.bound or (fingerprint.space, model)
            before = bound.id
            if not differ_in_files_alone(asdict(bound), fingerprint.space):
                raise store_mismatch(self._url, name, before, asdict(bound), fingerprint.space, model)
            held.bound = fingerprint.space, model
            for version in held.documents.values():
                if version.state is not None:
                    recipe = recipe_in_space(version.state.recipe, before, fingerprint.space.id)
                    version.state = replace(version.state, recipe=recipe)
            self._known.become(fingerprint.space.id)

    def chunks(self, document: str, after: int) -> list[Chunk]:
        with self._reading() as held:
            records = held.documents[document].records if document in held.documents else []
            chunks = [record.chunk for record in records if record.chunk.chunk_index > after]
        return sorted(chunks, key=lambda chunk: chunk.chunk_index)[:PAGE]

    def second(self) -> ReembeddableBackend | None:
        with self._reading() as held:
            return None if held.second is None else self._opened(held.second)

    def begin_second(self) -> ReembeddableBackend:
        with self._writing() as held:
            if held.second is None:
                held.second = Contents(roots=dict(held.roots), last_root=held.last_root, given=dict(held.given))
            return self._opened(held.second)

    def swap(self) -> None:
        with self._writing() as held:
            second = self._free_second(held)
            if second is None or second.bound is None:
                raise nothing_to_swap(self._url)
            held.become(second)
            held.second = None
            self._known.become(second.bound[0].id)

    def drop_second(self) -> None:
        with self._writing() as held:
            self._free_second(held)
            held.second = None

    def _free_second(self, held: Contents) -> Contents | None:
        if held.second is not None and held.second.has_writer:
            raise StoreError(f"store {self._url}: its second space is still open: close it first")
        return held.second
