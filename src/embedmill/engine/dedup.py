"""Which texts need the model: those whose vector is neither known nor on its way."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from embedmill.core.spaces import Space
from embedmill.core.vectors import Batch, Cause, Embedded, TokenIds, Vector
from embedmill.engine.batching import Outstanding, batches
from embedmill.engine.validation import EmbeddingValidator

_RECENT = 8192
"""Vectors of this run that are remembered for equal texts; those further back are in the cache or the store."""


class Piece(Protocol):
    """What waits for a vector."""

    @property
    def hash(self) -> bytes:
        """Of the text: equal texts have one vector."""

    @property
    def input(self) -> str:
        """The text itself, as the model is given it."""

    @property
    def ids(self) -> TokenIds:
        """The text's token ids."""


P = TypeVar("P", bound=Piece)


class Matching(Generic[P]):
    """Gives each piece its vector: of this run, of what is known from before, or of the model.

    `found` is called with "embedded", "cached" or "duplicates", the piece and its ``(dimension,)`` vector; `failed`
    with a piece that has none, and why. Each piece is told of once, equal ones all together.
    """

    def __init__(
        self,
        space: Space,
        known: Callable[[Sequence[bytes]], Mapping[bytes, Vector]],
        found: Callable[[str, P, Vector], None],
        failed: Callable[[P, Cause], None],
    ) -> None:
        self._validator = EmbeddingValidator(space.dimension, space.normalize)
        self._known = known
        self._found = found
        self._failed = failed
        self._waiting: dict[bytes, list[P]] = {}  # hash -> the piece that is embedded, then its equals
        self._recent: OrderedDict[bytes, Vector] = OrderedDict()
        self._outstanding: Outstanding[list[P]] = Outstanding()

    def look_up(self, hashes: Sequence[bytes]) -> Mapping[bytes, Vector]:
        """What is known from before of texts that this run knows nothing of."""
        return self._known([key for key in hashes if key not in self._recent and key not in self._waiting])

    def needs_model(self, piece: P, known: Mapping[bytes, Vector]) -> bool:
        """Take a piece; True where it has to be embedded. `known` is what `look_up` has found for it."""
        if piece.hash in self._waiting:
            self._waiting[piece.hash].append(piece)
        elif piece.hash in self._recent:
            self._found("duplicates", piece, self._recent[piece.hash])
        elif piece.hash in known:
            self._found("cached", piece, known[piece.hash])
        else:
            self._waiting[piece.hash] = [piece]
            return True
        return False

    def calls(self, pieces: Iterator[P], *, most: int | None = None, patience: int | None = None) -> Iterator[Batch]:
        """The pieces that need the model, as batches of nearly one length (see `embedmill.engine.batching`)."""
        more = {} if patience is None else {"patience": patience}
        for group in batches(pieces, lambda piece: len(piece.ids), most=most, **more):
            batch = _as_batch(group)
            self._outstanding.add(batch, group)
            yield batch

    def settle(self, embedded: Embedded) -> Mapping[bytes, Vector]:
        """Give the pieces of a batch, and those equal to them, their vectors or their failures.

        Returns the new vectors, by hash. Raises `UsageError` for what answers no batch of `calls`.
        """
        group = self._outstanding.take(embedded)
        vectors = embedded.vectors
        causes = self._validator.check(vectors) | dict(embedded.causes)
        sound: dict[bytes, Vector] = {}
        for row, piece in enumerate(group):
            equals = self._waiting.pop(piece.hash)
            if row in causes:
                for same in equals:
                    self._failed(same, causes[row])
                continue
            vector = vectors[row].copy()  # a row of its own: a view would keep the whole batch
            sound[piece.hash] = vector
            for name, same in zip(itertools.chain(["embedded"], itertools.repeat("duplicates")), equals, strict=False):
                self._found(name, same, vector)
        self._recent.update(sound)
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return sound

    def check_complete(self) -> None:
        """Raise `UsageError` where the executor has ended, without having been told to, before it had answered all."""
        self._outstanding.check()

    def unsettled(self) -> int:
        """How many pieces still wait."""
        return sum(len(equals) for equals in self._waiting.values())


def _as_batch(group: Sequence[Piece]) -> Batch:
    """Pieces of nearly one length as a call to the model."""
    return Batch(tuple(piece.input for piece in group), tuple(piece.ids for piece in group))
