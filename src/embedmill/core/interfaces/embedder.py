"""What makes vectors of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol, runtime_checkable

from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Batch, TokenIds, Vectors

Task = Literal["document", "query"]
TASKS: Final = ("document", "query")


class HasFingerprint(Protocol):
    """What vectors can be known by."""

    @property
    def name(self) -> str:
        """The model's name, for people."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides the vectors. Known without loading the model."""


class Embedder(HasFingerprint, Protocol):
    """Text in, vectors out, wherever they are computed."""

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""

    @property
    def max_tokens(self) -> int:
        """Tokens the model reads of one text, prompt and special tokens included."""

    def embed(self, texts: Sequence[str], *, task: Task = "document") -> Vectors:
        """``(len(texts), dimension)``, in the texts' order."""

    def close(self) -> None:
        """Give the memory back; may be called twice."""


class TokenEmbedder(Embedder, Protocol):
    """An embedder whose texts are tokenised here, once, and embedded in batches: what executors run.

    A remote service is none: it has no token ids.
    """

    @property
    def workers(self) -> int:
        """How many calls of the model run at once."""

    @property
    def concurrency(self) -> int:
        """How many threads should call `infer` at once to keep the workers busy."""

    def load(self) -> None:
        """Load the model now; otherwise the first `infer` does."""

    def encode(self, texts: Sequence[str], *, task: Task = "document", truncate: bool = True) -> list[TokenIds]:
        """Each text's token ids, prompt and special tokens included; cut to `max_tokens` unless told not."""

    def infer(self, batch: Batch) -> Vectors:
        """One model call: ``(len(batch.ids), dimension)``. Safe to call from several threads."""


@runtime_checkable
class KnowsTokens(Protocol):
    """What an embedder may be beside: one that can tell what it does not know of a text."""

    def unknown_tokens(self, ids: TokenIds, *, task: Task = "document") -> tuple[int, int]:
        """How many tokens of a text stand for what the model does not know, and how many it has without the prompt."""
