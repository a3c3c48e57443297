"""A store in this process's memory: small, and gone when the process ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Final

import numpy as np

from embedmill.core.attributes import attributes_of, read_attributes
from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import (
    Chunk,
    DocumentState,
    Failure,
    Hit,
    Provenance,
    Record,
    Replacement,
    StoredChunk,
    StoreStatus,
)
from embedmill.core.errors import StoreBusy, StoreError, StoreNotFound
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Vector
from embedmill.runtime.paths import within
from embedmill.storage.catalog import store_mismatch
from embedmill.storage.checksums import is_altered
from embedmill.storage.memory.contents import Contents, Version
from embedmill.storage.memory.inspection import problems
from embedmill.storage.memory.second_space import MemorySecondSpace
from embedmill.storage.rooted import Rearrangement
from embedmill.storage.roots import Anchor, Root
from embedmill.storage.scores import Block, check_shape, finite, nearest, score_of
from embedmill.storage.second_space import SECOND, KnownSpace

_PAGE: Final = 1000  # names given out at once


_STORES: Final[dict[str, Contents]] = {}  # of this process, by URL


class MemoryStore:
    """The backend of a store (see `embedmill.storage.rooted`) that all who open the same URL share; and its roots."""

    anchor: Anchor | None = None  # it lies in no folder

    def __init__(self, url: str, *, write: bool = True, create: bool = True, contents: Contents | None = None) -> None:
        """`contents` are those of this URL, unless they are given."""
        self.url = url
        self.writable = write
        if contents is None:
            if url not in _STORES and not (write and create):
                raise StoreNotFound(f"no store at {url}: run `embedmill index` first, in this process")
            contents = _STORES.setdefault(url, Contents())
        self._contents = contents
        self._known = KnownSpace(url)
        self.second_space = MemorySecondSpace(url, self._reading, self._writing, self._known, self._opened)
        self._open = True
        self._seen: set[str] = set()
        self._staged: dict[str, Version] = {}  # by this run
        with self._contents.lock:
            if write and self._contents.has_writer:
                raise StoreBusy(f"another run is writing to the store {url}: wait until it has ended")
            self._contents.has_writer |= write
            self._known.become(contents.bound[0].id if contents.bound else None)

    def _opened(self, second: Contents) -> MemoryStore:
        return MemoryStore(self.url + SECOND, write=self.writable, contents=second)

    def bind(self, fingerprint: Fingerprint, model: str) -> None:
        """See `Store`, as for what follows."""
        space = fingerprint.space
        with self._writing() as held:
            versions = (*held.documents.values(), *(version for _, version in held.staged))
            if held.bound is not None and held.bound[0].id == space.id:
                model = held.bound[1]
            elif held.bound is not None and any(version.records for version in versions):
                before, name = held.bound
                raise store_mismatch(self.url, name, before.id, asdict(before), space, model)
            held.bound = space, model
            self._known.become(space.id)

    def states(self, ids: Sequence[str]) -> dict[str, DocumentState]:
        with self._reading() as held:
            found = {name: held.documents[name].state for name in ids if name in held.documents}
        return {name: replace(state, id=name) for name, state in found.items() if state is not None}

    def vectors(self, hashes: Sequence[bytes], precision: str) -> dict[bytes, Vector]:
        wanted = set(hashes)
        with self._reading() as held:
            versions = (*held.documents.values(), *(version for _, version in held.staged))
            records = [
                row
                for each in versions
                if each.precision == precision
                for row in each.records
                if row.hash in wanted
                and not is_altered(each.checksums.get(row.chunk.chunk_index), row.hash, row.vector)
            ]
        return {record.hash: record.vector for record in records}

    def stage(self, document: str, records: Sequence[Record], precision: str) -> None:
        with self._writing() as held:
            version = self._staged.get(document, Version(precision))
            held.check(records, version.records, self.url)
            if document not in self._staged:
                self._staged[document] = version
                held.staged.append((document, version))
            version.add(records)
            self._seen.add(document)

    def replace(self, replacements: Sequence[Replacement]) -> None:
        latest = {new.state.id: new for new in replacements}
        with self._writing() as held:
            for name, new in latest.items():
                staged = self._staged.get(name, Version(new.precision))
                if staged.precision != new.precision:
                    raise ValueError(f"{name} was staged in another precision: this is a bug")
                held.check(new.records, staged.records, self.url)
            before = held.failures
            held.remove(latest)
            held.staged = [(name, version) for name, version in held.staged if name not in latest]
            for name, new in latest.items():
                version = held.documents[name] = self._staged.pop(name, Version(new.precision))
                version.add(new.records)
                version.state = new.state
                held.fail(name, new.failures, before)
            self._seen.update(latest)

    def fail(self, document: str, failures: Sequence[Failure]) -> None:
        with self._writing() as held:
            held.fail(document, failures, held.failures)
            self._seen.add(document)

    def update_stats(self, states: Sequence[DocumentState]) -> None:
        with self._writing() as held:
            for state in states:
                version = held.documents.get(state.id)
                if version and version.state and version.state.content_hash == state.content_hash:
                    version.state = replace(state, recipe=version.state.recipe)
                held.failures.pop((state.id, -1), None)
                self._seen.add(state.id)

    def mark_seen(self, ids: Sequence[str]) -> None:
        with self._writing():
            self._seen.update(ids)

    def forget_seen(self) -> None:
        with self._writing():
            self._seen.clear()

    def remove_unseen(self, scopes: Sequence[str], keep: Sequence[str] = ()) -> int:
        with self._writing() as held:
            gone = self._unseen(held, scopes, keep)
            held.remove(gone)
            own = self._staged.values()
            held.staged = [
                (name, version)
                for name, version in held.staged
                if version in own or not within(name, scopes) or within(name, keep)
            ]
            return len(gone)

    def unseen(self, scopes: Sequence[str], keep: Sequence[str] = ()) -> Iterator[Sequence[str]]:
        with self._writing() as held:
            gone = sorted(self._unseen(held, scopes, keep))
        for first in range(0, len(gone), _PAGE):
            yield gone[first : first + _PAGE]

    def _unseen(self, held: Contents, scopes: Sequence[str], keep: Sequence[str]) -> set[str]:
        return {name for name in held.names() - self._seen if within(name, scopes) and not within(name, keep)}

    def failures(self) -> Iterator[Failure]:
        with self._reading() as held:
            found = sorted(held.failures.items(), key=lambda each: each[0])
        yield from (replace(failure, document=name) for (name, _), failure in found)

    def failed_documents(self) -> list[str]:
        with self._reading() as held:
            return sorted({name for name, _ in held.failures})

    def status(self) -> StoreStatus:
        with self._reading() as held:
            space, model = held.bound or (None, None)
            rows, _ = held.matrix()
            return StoreStatus(
                documents=len(held.documents),
                chunks=len(rows),
                failures=len(held.failures),
                model=model,
                space=space.id if space else None,
                precision=tuple(sorted({precision for _, precision, _ in rows})),
                dimension=space.dimension if space else None,
                bytes=sum(row.vector.nbytes + len(row.chunk.text) for *_, row in rows),
                document_prompt=space.prompt if space else None,
                query_prompt=space.query_prompt if space else None,
            )

    def search(
        self, vector: Vector, k: int, fits: Callable[[str], bool] | None = None, *, exact: bool = False
    ) -> list[Hit]:
        query = finite(vector)
        with self._reading() as held:
            self._known.check(held.bound[0].id if held.bound else None)
            if held.bound is None or k < 1:
                return []
            check_shape(query, held.bound[0].dimension)
            (rows, vectors), score = held.matrix(), score_of(asdict(held.bound[0]))
        if not rows:
            return []
        fit = None if fits is None else {name for name in {name for name, *_ in rows} if fits(name)}
        mask = None if fit is None else np.array([name in fit for name, *_ in rows])
        ids, scores = nearest([Block(np.arange(len(rows)), vectors, mask)], query, k, score)
        found = [(rows[row][0], rows[row][2].chunk, value) for row, value in zip(ids, scores.tolist(), strict=True)]
        return [_hit(name, chunk, value) for name, chunk, value in found]

    def prepare_search(self) -> bool:
        with self._reading() as held:
            built = held.rows is None and held.bound is not None
            held.matrix()
        return built

    def has_index(self) -> bool:
        with self._reading() as held:
            return held.rows is not None and held.bound is not None

    def finish_within(self, seconds: float) -> None:
        """Nothing is waited for here."""

    def chunks(self) -> Iterator[StoredChunk]:
        with self._reading() as held:
            rows, _ = held.matrix()
        for name, precision, row in rows:
            chunk = row.chunk
            place = chunk.token_count, chunk.line
            yield StoredChunk(name, chunk.chunk_index, chunk.input, row.vector, precision, *place)

    def read(self, documents: Sequence[str] | None = None) -> Iterator[Chunk]:
        with self._reading() as held:
            bound = held.bound
            names = sorted(held.documents if documents is None else held.documents.keys() & set(documents))
            found = [(name, held.documents[name].precision, list(held.documents[name].records)) for name in names]
        for name, precision, records in found:
            for record in sorted(records, key=lambda each: each.chunk.chunk_index):
                assert bound is not None  # as every store with records is
                origin = Provenance(Fingerprint(bound[0], precision), bound[1], record.hash)
                yield replace(record.chunk, source_file=name, embedding=record.vector.copy(), provenance=origin)

    def verify(self, look: Callable[[StoredChunk], None], shown: Callable[[str], str]) -> Iterator[Finding]:
        with self._reading() as held:
            return problems(held, look, shown)

    def ledger(self) -> Iterator[DocumentState]:
        with self._reading() as held:
            states = [version.state for _, version in sorted(held.documents.items())]
        yield from (state for state in states if state is not None)

    def not_cut(self) -> list[str]:
        with self._reading() as held:
            failed = {name for name, _ in held.failures}
            return sorted(
                name
                for name, version in held.documents.items()
                if not version.records and version.state is not None and version.state.size and name not in failed
            )

    def read_chunks(self, found: Sequence[Finding]) -> list[StoredChunk | None]:
        with self._reading() as held:
            return [held.chunk(each) for each in found]

    def rewrite(self, vectors: Sequence[tuple[Finding, Vector]]) -> None:
        with self._writing() as held:
            for found, vector in vectors:
                held.put(found, vector)

    def discard(self, found: Sequence[Finding]) -> None:
        with self._writing() as held:
            for each in found:
                if each.kind is DamageKind.FAILURE_STRAY and each.index is not None:
                    held.failures.pop((each.name, each.index), None)
                elif each.kind is DamageKind.OPTIONS:
                    held.given.pop(each.name, None)
                elif each.kind is DamageKind.ROOT_MISSING:
                    held.remove({each.name})
                elif each.index is not None:
                    held.put(each, None)

    def written_by_others(self) -> bool:
        with self._reading() as held:
            return held.has_writer and not self.writable

    def close(self) -> None:
        with self._contents.lock:
            if self._open and self.writable:
                self._contents.has_writer = False
            self._open = False

    # Roots: see `embedmill.storage.rooted.RootRows`

    @property
    def roots(self) -> MemoryStore:
        return self

    def all(self) -> list[Root]:
        with self._reading() as held:
            return list(held.roots.values())

    def given(self) -> dict[str, str]:
        with self._reading() as held:
            return dict(held.given)

    def add(self, root: Root) -> int:
        with self._writing() as held:
            held.last_root += 1
            held.roots[held.last_root] = replace(root, number=held.last_root)
            return held.last_root

    def rearrange(self, changes: Rearrangement) -> None:
        with self._writing() as held:
            for scope in changes.ungiven:
                held.given.pop(scope, None)
            for old, new in changes.renamed:
                held.rename(old, new)
            for number in changes.dropped:
                held.roots.pop(number, None)
            dropped = [f"{number}/" for number in changes.dropped]
            held.given = {scope: text for scope, text in held.given.items() if not within(scope, dropped)}
            held.roots.update({root.number: root for root in changes.updated})
            held.given.update(changes.given)

    def remove(self, scopes: Sequence[str]) -> int:
        with self._writing() as held:
            gone = {name for name in held.names() if within(name, scopes)}
            removed = len(gone & held.documents.keys())
            held.remove(gone)
            held.staged = [(name, version) for name, version in held.staged if not within(name, scopes)]
            return removed

    def count(self, scope: str) -> int:
        with self._reading() as held:
            return sum(within(name, [scope]) for name in held.names())

    def sample(self, scope: str, limit: int) -> list[tuple[str, int]]:
        with self._reading() as held:
            states = {name: version.state for name, version in held.documents.items() if within(name, [scope])}
        found = sorted((name, state.size) for name, state in states.items() if state is not None)
        return found if len(found) <= limit else found[: limit // 2] + found[-(limit // 2) :]

    def rootless(self) -> None:
        """No older version has written here."""

    def folders(self) -> set[str]:
        """As `rootless`."""
        return set()

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


def _hit(name: str, chunk: Chunk, score: float) -> Hit:
    place = chunk.chunk_index, chunk.start, chunk.end, chunk.line, chunk.end_line
    more = read_attributes(attributes_of(chunk))
    return Hit(name, *place, score, chunk.text, chunk.context, chunk.page, **more)
