"""Vectors, and what they are computed from, in batches: frozen values that the stages hand to one another."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""Shape ``(n, dimension)``, C-contiguous."""

Vector = NDArray[np.float32]
"""Shape ``(dimension,)``."""

EmbeddingVector = np.ndarray[tuple[int], np.dtype[np.float32]]
"""A `Vector`, as type checkers tell it from several."""

EmbeddingMatrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]
"""The same of `Vectors`."""

TokenIds = NDArray[np.int32]
"""Shape ``(tokens,)``: one text's token ids, special tokens included."""

EMPTY_TEXT: Final = "EmptyText"
"""`Cause.type` of a text of nothing but white space, which no run embeds."""

_LONGEST_MESSAGE = 1_000  # characters of an error's message that are kept: some repeat the whole text
_LONGEST_TRACE = 20_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts that one model call embeds, with their token ids."""

    texts: tuple[str, ...]
    ids: tuple[TokenIds, ...]

    @property
    def tokens(self) -> int:
        """True tokens, padding not counted."""
        return sum(len(ids) for ids in self.ids)

    def part(self, start: int, stop: int) -> Batch:
        """The texts from `start` on, `stop` not included."""
        return Batch(self.texts[start:stop], self.ids[start:stop])


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something has no vector: the error's type and its message, on one line and not without end."""

    type: str
    message: str
    trace: str = field(default="", compare=False, repr=False)  # as Python prints it; not stored

    @classmethod
    def of(cls, error: BaseException) -> Cause:
        """The cause that an exception stands for."""
        try:
            message = " ".join(str(error).split())
            trace = "".join(traceback.format_exception(error))[-_LONGEST_TRACE:]
        except Exception:  # whoever defines an exception may err in how it is told
            message, trace = "its message cannot be told", ""
        if len(message) > _LONGEST_MESSAGE:
            message = message[:_LONGEST_MESSAGE] + "..."
        return cls(type(error).__name__, message or "no message", trace)


@dataclass(frozen=True, slots=True)
class Embedded:
    """What an executor made of one batch."""

    batch: Batch
    vectors: Vectors  # (len(batch.texts), dimension); the rows of failed texts are NaN
    causes: Mapping[int, Cause] = field(default_factory=dict)  # row -> why it has no vector
