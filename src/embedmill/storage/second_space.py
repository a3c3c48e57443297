"""A store whose vectors may become another model's, over a backend that can do so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Protocol, runtime_checkable

from embedmill.core.documents import Chunk, StoredChunk
from embedmill.core.errors import SpaceMismatch, StoreError
from embedmill.core.interfaces.store import Store
from embedmill.core.spaces import Fingerprint
from embedmill.storage.rooted import Backend, RootedStore

PAGE: Final = 1000
"""Chunks read at once."""

SECOND: Final = "_next"
"""What the second store's name has behind that of the first."""


class SecondSpace(Protocol):
    """What `embedmill.core.interfaces.reembedding.ReembeddableStore` promises, as a backend has it: by names."""

    def sample(self, limit: int) -> list[StoredChunk]:
        """See `ReembeddableStore.sample_chunks`."""

    def rebind(self, fingerprint: Fingerprint, model: str) -> None:
        """See there, as for what follows."""

    def chunks(self, document: str, after: int) -> list[Chunk]:
        """Some of a complete document's chunks, in order, behind this index."""

    def second(self) -> ReembeddableBackend | None: ...

    def begin_second(self) -> ReembeddableBackend: ...

    def swap(self) -> None: ...

    def drop_second(self) -> None: ...


@runtime_checkable
class ReembeddableBackend(Backend, Protocol):
    """A backend beside which a second one may be filled, and put in its place."""

    @property
    def second_space(self) -> SecondSpace:
        """What does that."""


class ReembeddableRootedStore(RootedStore):
    """A `ReembeddableStore` over such a backend."""

    _backend: ReembeddableBackend

    def sample_chunks(self, limit: int) -> list[StoredChunk]:
        found = self._backend.second_space.sample(limit)
        return [replace(chunk, document=self._id(chunk.document)) for chunk in found]

    def rebind(self, fingerprint: Fingerprint, model: str) -> None:
        self._backend.second_space.rebind(fingerprint, model)

    def chunks_of(self, document: str) -> Iterator[Chunk]:
        name, last = self._places.name(document), -1
        while page := self._backend.second_space.chunks(name, last):
            yield from (replace(chunk, source_file=document) for chunk in page)
            last = page[-1].chunk_index

    def second(self) -> ReembeddableRootedStore | None:
        backend = self._backend.second_space.second()
        return None if backend is None else _reembeddable(backend)

    def begin_second(self) -> ReembeddableRootedStore:
        return _reembeddable(self._backend.second_space.begin_second())

    def swap(self) -> None:
        self._backend.second_space.swap()
        self._given = None
        self._load()

    def drop_second(self) -> None:
        self._backend.second_space.drop_second()


def _reembeddable(backend: ReembeddableBackend) -> ReembeddableRootedStore:
    try:
        return ReembeddableRootedStore(backend)
    except BaseException:
        backend.close()
        raise


def rooted(backend: Backend) -> Store:
    """The store over a backend, which is closed where its roots cannot be read; to be embedded anew if it can."""
    if isinstance(backend, ReembeddableBackend):
        return _reembeddable(backend)
    try:
        return RootedStore(backend)
    except BaseException:
        backend.close()
        raise


class KnownSpace:
    """The space that one who searches has asked for vectors of: a store may come to hold those of another model."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._space: str | None = None

    def become(self, space: str | None) -> None:
        """From now on it is this; None where nothing is known."""
        self._space = space

    def check(self, space: str | None) -> None:
        """Raise `SpaceMismatch` where the store is of another space than it was."""
        if self._space is None:
            self._space = space
        elif space != self._space:
            raise SpaceMismatch(
                f"store {self._url} has been embedded with another model since it was opened (space {space}, not "
                f"{self._space}): open it anew"
            )


def recipe_in_space(recipe: str, before: str, space: str) -> str:
    """A document's recipe with the id of another space; one that names none, or another, as it is."""
    return f"{space}-{recipe[len(before) + 1 :]}" if recipe.startswith(f"{before}-") else recipe


def not_a_second(what: str, first: str) -> StoreError:
    """The error where something else has the name of the second store."""
    return StoreError(
        f"{what} is no second space of the store {first}, which goes by that name while it is embedded anew: rename it"
    )


def nothing_to_swap(store: str) -> StoreError:
    """The error where there is no second store."""
    return StoreError(f"store {store} has no second space: `embedmill index --re-embed` fills one")
