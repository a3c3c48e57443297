"""Vectors computed again, and whether those that are stored are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from embedmill.api.embedders import make_embedder, native_precision
from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import StoreStatus
from embedmill.core.errors import EmbedmillError, ModelError, ModelUnusable
from embedmill.core.rows import Noted
from embedmill.core.vectors import Cause, Vector, Vectors
from embedmill.embedders.local import LocalEmbedder
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.embedders.testing import is_test_model
from embedmill.engine.lists import embed_list
from embedmill.executors.threads import ThreadExecutor
from embedmill.models import locate, read_card
from embedmill.runtime.closing import Closing

_MOST: Final = 0.0447
"""How far a vector may lie from the one computed now, relative to its length: where both are of length 1 a cosine of
0.999. Another precision or processor comes to 0.01; the vectors of most other texts lie at 1."""

_MOST_READ: Final = 0.2
"""The same for a graph that is read as it is: it may be quantised, which processors compute differently."""


@dataclass(frozen=True, slots=True)
class StoredText:
    """A text with the vector that is stored for it."""

    document: str  # its id, or table and key, for people
    index: int | None  # of the chunk
    name: str  # as in `Finding`
    text: str
    vector: Vector  # of any shape
    precision: str = "auto"  # that it was computed in, where that is noted

    def damage(self, kind: DamageKind, detail: str) -> Finding:
        """What is wrong with it."""
        return Finding(kind, detail, self.document, self.index, self.name)


class Recomputation(Closing):
    """The model of a store or table, as far as it is on this machine; loaded when it is first asked."""

    def __init__(self, held: Callable[[], StoreStatus | Noted], model: str | None) -> None:
        """`held` says whose vectors they are; `model` is where that lies, if not where its name leads."""
        self._held = held
        self._model = model
        self._embedders: dict[str, LocalEmbedder] = {}  # by precision
        self._most = _MOST
        self.done = 0  # vectors that were compared
        self.reason = ""  # why no vector can be computed; "" as long as none was asked for, and where they can

    def compare(self, stored: Sequence[StoredText]) -> Iterator[Finding]:
        """Which of the vectors are not those of their texts; nothing where the model is not here (see `reason`)."""
        for texts in _by_precision(stored):
            computed = self.embed([each.text for each in texts], texts[0].precision)
            if computed is None:
                return
            vectors, causes = computed
            self.done += len(texts)
            yield from (
                each.damage(DamageKind.VECTOR_WRONG, detail)
                for row, each in enumerate(texts)
                if (detail := self._difference(each.vector, vectors[row], causes.get(row)))
            )

    def _difference(self, stored: Vector, computed: Vector, cause: Cause | None) -> str:
        if cause is not None:
            return f"it has a vector, and the model gives none now: {cause.message}"
        if stored.shape != computed.shape:  # of unknown origin: nobody has looked at it
            return f"its vector has {stored.size} numbers, the model's have {computed.size}"
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            length, now = np.linalg.norm(stored), np.linalg.norm(computed)
            if np.isfinite(length) and np.linalg.norm(stored - computed) <= self._most * now:
                return ""
            cosine = stored @ computed / (length * now)
        return f"its vector is not that of its text (cosine {cosine:.4f} to the one computed now)"

    def embed(self, texts: Sequence[str], precision: str) -> tuple[Vectors, dict[int, Cause]] | None:
        """Vectors of texts, ``(len(texts), dimension)``, and why some have none; None where the model is not here.

        Raises `ModelUnusable`.
        """
        if self.reason:
            return None
        try:
            embedder = self._embedder(precision)
            return embed_list(texts, embedder.fingerprint.space, embedder.encode, ThreadExecutor(embedder).run)
        except ModelUnusable:
            raise
        except EmbedmillError as error:
            self.reason = str(error)
            return None

    def _embedder(self, precision: str) -> LocalEmbedder:
        if precision not in ("f32", "bf16") or (precision == "bf16" and native_precision() != "bf16"):
            precision = "f32" if precision == "bf16" else native_precision()
        if precision not in self._embedders:
            held = self._held()
            embedder = self._make(self._model or held.model or "", held.document_prompt or None, precision)
            self._embedders[precision] = embedder
            space = embedder.fingerprint.space.id
            if space != held.space:
                remedy = "give the --model that they were made with" if self._model else "give --model"
                raise ModelError(f"{embedder.name} is of space {space}, the vectors are of {held.space}: {remedy}")
        return self._embedders[precision]

    def _make(self, model: str, prompt: str | None, precision: str) -> LocalEmbedder:
        if is_test_model(model):
            return make_embedder(model, precision="auto", document_prompt=prompt)
        files = locate(model, fetch=False)
        card = read_card(files, document_prompt=prompt)
        self._most = _MOST if card.weights.kind == "safetensors" else _MOST_READ
        return OpenVINOEmbedder(files.name, card, precision=precision)

    def close(self) -> None:
        """Let go of the model."""
        for embedder in self._embedders.values():
            embedder.close()
        self._embedders.clear()


def _by_precision(stored: Sequence[StoredText]) -> Iterator[list[StoredText]]:
    for precision in sorted({each.precision for each in stored}):
        yield [each for each in stored if each.precision == precision]
