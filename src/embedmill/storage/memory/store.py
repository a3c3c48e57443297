"""A store in this process's memory: small, and gone when the process ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Final

import numpy as np

from embedmill.core.documents import DocumentState, Failure, Hit, Record, Replacement, StoredChunk, StoreStatus
from embedmill.core.errors import StoreBusy, StoreError, StoreNotFound
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Vector
from embedmill.storage.integrity import Held, check_binding, check_chunks
from embedmill.storage.memory.contents import Contents, Version, inside
from embedmill.storage.memory.roots import MemoryRoots
from embedmill.storage.roots import Anchor
from embedmill.storage.scores import Block, nearest, score_of
from embedmill.storage.space_checks import check_shape, finite, mismatch

_STORES: Final[dict[str, Contents]] = {}  # of this process, by URL

_PAGE: Final = 1000  # names given out at once


class MemoryStore:
    """The backend of a store (see `embedmill.storage.rooted`) that all who open the same URL share."""

    anchor: Anchor | None = None  # it lies in no folder

    def __init__(self, url: str, *, write: bool = True, create: bool = True) -> None:
        self.url = url
        self.writable = write
        if url not in _STORES and not (write and create):
            raise StoreNotFound(f"no store at {url}: run `embedmill index` first, in this process")
        self._contents = _STORES.setdefault(url, Contents(url))
        self._open = True
        self._seen: set[str] = set()
        self._staged: dict[str, Version] = {}  # by this run
        self.roots = MemoryRoots(self._reading, self._writing)
        with self._contents.lock:
            if write and self._contents.has_writer:
                raise StoreBusy(f"another run is writing to the store {url}: wait until it has ended")
            self._contents.has_writer |= write

    def bind(self, fingerprint: Fingerprint, model: str) -> None:
        """See `Store`, as for what follows."""
        space = fingerprint.space
        with self._writing() as held:
            if held.bound is not None and held.bound[0].id == space.id:
                model = held.bound[1]
            elif held.bound is not None and any(each.records for each in (*held.documents.values(), *held.staged)):
                before, name = held.bound
                raise mismatch(self.url, name, before.id, asdict(before), space, model)
            held.bound = space, model

    def states(self, ids: Sequence[str]) -> dict[str, DocumentState]:  # noqa: D102
        with self._reading() as held:
            found = {name: held.documents[name].state for name in ids if name in held.documents}
        return {name: state for name, state in found.items() if state is not None}

    def vectors(self, hashes: Sequence[bytes], precision: str) -> dict[bytes, Vector]:  # noqa: D102
        wanted = set(hashes)
        with self._reading() as held:
            versions = [each for each in (*held.documents.values(), *held.staged) if each.precision == precision]
            return {row.hash: row.vector for each in versions for row in each.records if row.hash in wanted}

    def stage(self, document: str, records: Sequence[Record], precision: str) -> None:  # noqa: D102
        with self._writing() as held:
            version = self._staged.get(document, Version(document, precision, []))
            held.check(records, version.records)
            if document not in self._staged:
                self._staged[document] = version
                held.staged.append(version)
            version.records += records
            self._seen.add(document)

    def replace(self, replacements: Sequence[Replacement]) -> None:  # noqa: D102
        latest = {new.state.id: new for new in replacements}
        with self._writing() as held:
            for name, new in latest.items():
                staged = self._staged.get(name)
                if staged is not None and staged.precision != new.precision:
                    raise ValueError(f"{name} was staged in another precision: this is a bug")
                held.check(new.records, staged.records if staged else ())
            held.staged = [version for version in held.staged if version.name not in latest]
            for name, new in latest.items():
                before = {key: failure for key, failure in held.failures.items() if key[0] == name}
                held.remove([name])
                parts = self._staged.pop(name).records if name in self._staged else []
                held.documents[name] = Version(name, new.precision, [*parts, *new.records], new.state)
                held.fail(new.failures, before)
            self._seen.update(latest)

    def fail(self, document: str, failures: Sequence[Failure]) -> None:  # noqa: D102
        with self._writing() as held:
            held.fail([replace(failure, document=document) for failure in failures], held.failures)
            self._seen.add(document)

    def update_stats(self, states: Sequence[DocumentState]) -> None:  # noqa: D102
        with self._writing() as held:
            for state in states:
                version = held.documents.get(state.id)
                if version and version.state and version.state.content_hash == state.content_hash:
                    version.state = replace(state, recipe=version.state.recipe)
                held.failures.pop((state.id, -1), None)
                self._seen.add(state.id)

    def mark_seen(self, ids: Sequence[str]) -> None:  # noqa: D102
        with self._writing():
            self._seen.update(ids)

    def remove_unseen(self, scopes: Sequence[str], keep: Sequence[str] = ()) -> int:  # noqa: D102
        with self._writing() as held:
            gone = self._unseen(held, scopes, keep)
            held.remove(gone)
            own = {id(version) for version in self._staged.values()}
            held.staged = [
                each
                for each in held.staged
                if id(each) in own or not inside(each.name, scopes) or inside(each.name, keep)
            ]
            return len(gone)

    def unseen(self, scopes: Sequence[str], keep: Sequence[str] = ()) -> Iterator[Sequence[str]]:  # noqa: D102
        with self._writing() as held:
            gone = sorted(self._unseen(held, scopes, keep))
        for first in range(0, len(gone), _PAGE):
            yield gone[first : first + _PAGE]

    def _unseen(self, held: Contents, scopes: Sequence[str], keep: Sequence[str]) -> set[str]:
        return {name for name in held.names() - self._seen if inside(name, scopes) and not inside(name, keep)}

    def failures(self) -> Iterator[Failure]:  # noqa: D102
        with self._reading() as held:
            found = sorted(held.failures.items(), key=lambda each: each[0])
        yield from (failure for _, failure in found)

    def failed_documents(self) -> list[str]:  # noqa: D102
        with self._reading() as held:
            return sorted({name for name, _ in held.failures})

    def status(self) -> StoreStatus:  # noqa: D102
        with self._reading() as held:
            space, model = held.bound or (None, None)
            rows, _ = held.matrix()
            return StoreStatus(
                documents=len(held.documents),
                chunks=len(rows),
                failures=len(held.failures),
                model=model,
                space=space.id if space else None,
                precision=tuple(sorted({version.precision for version, _ in rows})),
                dimension=space.dimension if space else None,
                bytes=sum(row.vector.nbytes + len(row.chunk.text) for _, row in rows),
                document_prompt=space.prompt if space else None,
                query_prompt=space.query_prompt if space else None,
            )

    def search(  # noqa: D102
        self, vector: Vector, k: int, fits: Callable[[str], bool] | None = None, *, exact: bool = False
    ) -> list[Hit]:
        query = finite(vector)
        with self._reading() as held:
            if held.bound is None or k < 1:
                return []
            check_shape(query, held.bound[0].dimension)
            (rows, vectors), score = held.matrix(), score_of(asdict(held.bound[0]))
        if not rows:
            return []
        fit = None if fits is None else {name for name in {version.name for version, _ in rows} if fits(name)}
        mask = None if fit is None else np.array([version.name in fit for version, _ in rows])
        ids, scores = nearest([Block(np.arange(len(rows)), vectors, mask)], query, k, score)
        return [_hit(rows[row], value) for row, value in zip(ids.tolist(), scores.tolist(), strict=True)]

    def prepare_search(self) -> None:  # noqa: D102
        with self._reading() as held:
            held.matrix()

    def finish_within(self, seconds: float) -> None:
        """Nothing is waited for here."""

    def verify(self, look: Callable[[StoredChunk], None], shown: Callable[[str], str]) -> Iterator[str]:  # noqa: D102
        with self._reading() as held:
            (rows, _), space = held.matrix(), held.bound[0] if held.bound else None
        fields, dimension = (asdict(space), space.dimension) if space else (None, None)
        yield from check_binding(space.id if space else None, fields, dimension, bool(rows))
        chunks = (
            Held(shown(version.name), c.index, row.hash, c.context, c.text, row.vector, version.precision)
            for version, row in rows
            for c in (row.chunk,)
        )
        yield from check_chunks(chunks, dimension, bool(space and space.normalize), look)

    def close(self) -> None:  # noqa: D102
        with self._contents.lock:
            if self._open and self.writable:
                self._contents.has_writer = False
            self._open = False

    @contextmanager
    def _reading(self) -> Iterator[Contents]:
        with self._contents.lock:
            if not self._open:
                raise StoreError(f"store {self.url} is closed")
            yield self._contents

    @contextmanager
    def _writing(self) -> Iterator[Contents]:
        with self._reading() as held:
            if not self.writable:
                raise StoreError(f"store {self.url} was opened for reading")
            yield held


def _hit(found: tuple[Version, Record], score: float) -> Hit:
    name, c = found[0].name, found[1].chunk
    return Hit(name, c.index, c.start, c.end, c.line, c.end_line, score, c.text, c.context, c.page)
