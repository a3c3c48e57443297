"""Roots of a store in memory, and what of its documents is asked for by names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from embedmill.storage.memory.contents import Contents, inside
from embedmill.storage.rooted import Rearrangement
from embedmill.storage.roots import Root


class MemoryRoots:
    """`RootRows` of a store in memory."""

    def __init__(
        self,
        reading: Callable[[], AbstractContextManager[Contents]],
        writing: Callable[[], AbstractContextManager[Contents]],
    ) -> None:
        self._reading = reading
        self._writing = writing

    def all(self) -> list[Root]:
        """The roots, by number."""
        with self._reading() as held:
            return list(held.roots.values())

    def given(self) -> dict[str, str]:
        """How what was given was taken: scope -> options."""
        with self._reading() as held:
            return dict(held.given)

    def add(self, root: Root) -> int:
        """Keep a new root; its number is given out here, and never twice."""
        with self._writing() as held:
            held.last_root += 1
            held.roots[held.last_root] = replace(root, number=held.last_root)
            return held.last_root

    def rearrange(self, changes: Rearrangement) -> None:
        """Make these changes, all of them or none. Of two documents with one name the one that has it stays."""
        with self._writing() as held:
            for scope in changes.ungiven:
                held.given.pop(scope, None)
            for old, new in changes.renamed:
                held.rename(old, new)
            for number in changes.dropped:
                held.given = {scope: text for scope, text in held.given.items() if not inside(scope, [f"{number}/"])}
                held.roots.pop(number, None)
            held.roots.update({root.number: root for root in changes.updated})
            held.given.update(changes.given)

    def remove(self, scopes: Sequence[str]) -> int:
        """Remove all documents, failures and staged versions of these scopes; how many documents went."""
        with self._writing() as held:
            gone = [name for name in held.documents if inside(name, scopes)]
            held.remove({*gone, *(name for name, _ in held.failures if inside(name, scopes))})
            held.staged = [version for version in held.staged if not inside(version.name, scopes)]
            return len(gone)

    def count(self, scope: str) -> int:
        """How many documents, or failures to read one, a scope has."""
        with self._reading() as held:
            return sum(inside(name, [scope]) for name in held.names())

    def sample(self, scope: str, limit: int) -> list[tuple[str, int]]:
        """Names and sizes of some documents of a scope, its first and its last."""
        with self._reading() as held:
            found = sorted((name, version.size) for name, version in held.documents.items() if inside(name, [scope]))
        return found if len(found) <= limit else found[: limit // 2] + found[-(limit // 2) :]

    def rootless(self) -> None:
        """No older version has written here."""

    def folders(self) -> set[str]:
        """As `rootless`."""
        return set()
