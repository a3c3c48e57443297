"""Whether a second store is sound before it takes the place of the first; what is wrong of it is embedded anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

from embedmill.core.damage import NOT_TRUSTED, READ_ANEW, RECOMPUTABLE, USELESS, DamageKind, Finding
from embedmill.core.documents import WRITTEN
from embedmill.core.errors import StoreError
from embedmill.core.interfaces.reembedding import ReembeddableStore
from embedmill.core.vectors import Cause, Vector, Vectors

Embed = Callable[[Sequence[str]], tuple[Vectors, dict[int, Cause]]]
"""Vectors of texts, ``(len(texts), dimension)``, and why some have none."""

_MOST: Final = 100_000  # findings mended, some 30 MB; of a store with more of them little is left

_AT_ONCE: Final = 512  # vectors that are computed, and written, together

_ROUNDS: Final = 2  # what lies beneath values of another type shows when these are gone

_BARRED: Final = RECOMPUTABLE | {
    DamageKind.FILE,
    DamageKind.TYPE,
    DamageKind.BINDING,
    DamageKind.COUNT,
    DamageKind.TEXT,
    DamageKind.CHUNK_ORPHAN,
    DamageKind.VECTOR_ORPHAN,
}
"""What bars the swap: chunks and vectors that are not those which were embedded. What else may be wrong the second
store may have from the first, of which `verify` tells."""


def mended(second: ReembeddableStore, embed: Embed) -> set[str]:
    """Mend what an interrupted run has left; the ids of the documents that are to be stored again for it.

    A vector is computed from the text that is stored; chunks that are not those of their text go, and what is sound of
    their documents is found again by its hash.
    """
    again: set[str] = set()
    for _ in range(_ROUNDS):
        found = list(islice(second.verify(), _MOST))
        not_trusted = [each for each in found if each.kind in NOT_TRUSTED]
        without = _rewritten(second, [each for each in found if each.kind in RECOMPUTABLE], embed)
        if gone := [each for each in found if each.kind in USELESS or each in not_trusted]:
            second.discard(gone)
        again |= {_id(each) for each in (*found, *without) if each.kind in READ_ANEW or each in without}
        if all(each.kind is not DamageKind.TYPE for each in found):
            break
    return again


def refuse_unsound(first: str, second: ReembeddableStore, embed: Embed) -> None:
    """Compute vectors that are wrong anew; raises `StoreError` where something is wrong still that bars the swap."""
    found = list(islice(second.verify(), _MOST))
    if not any(each.kind in _BARRED for each in found):
        return
    _rewritten(second, [each for each in found if each.kind in RECOMPUTABLE], embed)
    if gone := [each for each in found if each.kind in USELESS]:
        second.discard(gone)
    left = [each for each in second.verify() if each.kind in _BARRED]
    if left:
        raise StoreError(
            f"store {first} stays as it is: what was embedded anew is not sound ({len(left):,} problems, the first: "
            f"{left[0]}): --re-embed mends it, `embedmill forget --re-embed` gives it up"
        )


def _rewritten(store: ReembeddableStore, found: Sequence[Finding], embed: Embed) -> list[Finding]:
    """Compute these vectors from their texts; the findings of texts that have none."""
    without: list[Finding] = []
    for some in _parts(list(dict.fromkeys(found))):
        chunks = store.read_chunks(some)
        known = [(each, chunk.input) for each, chunk in zip(some, chunks, strict=True) if chunk is not None]
        vectors, causes = embed([text for _, text in known])
        new: list[tuple[Finding, Vector]] = [
            (each, vectors[row]) for row, (each, _) in enumerate(known) if row not in causes
        ]
        store.rewrite(new)
        without += [known[row][0] for row in causes]
    return without


def _parts(found: Sequence[Finding]) -> Iterator[Sequence[Finding]]:
    for first in range(0, len(found), _AT_ONCE):
        yield found[first : first + _AT_ONCE]


def _id(found: Finding) -> str:
    """The id of the document that it is about: people know one that was written by another name."""
    return found.name if found.name.startswith(WRITTEN) else found.document
