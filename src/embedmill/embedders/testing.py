"""``test:N``: an embedder without a model, for the tests of programs that use embedmill.

It loads nothing, and gives a text the same N numbers in every process, on every machine, with every version of Python
and NumPy: words become numbers by SHA-3 and BLAKE2, all sums are of whole numbers, and the division and the root at
the end are rounded as IEEE 754 prescribes. Texts that share words are near to one another.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedmill.core.checks import one_of
from embedmill.core.errors import UsageError
from embedmill.core.interfaces.embedder import TASKS, Task
from embedmill.core.spaces import Fingerprint, Space
from embedmill.core.vectors import Batch, TokenIds, Vectors
from embedmill.embedders.local import LocalEmbedder
from embedmill.runtime import machine

PREFIX: Final = "test:"

MAX_TOKENS: Final = 256
"""As many as the default model reads."""

_MOST_NUMBERS: Final = 16_384
_VERSION: Final = b"embedmill test embedder 1"  # another one where vectors change: they are of another space then

# Words end at white space and ASCII punctuation, neither of which depends on the version of Unicode.
_WORDS: Final = re.compile(r"[^\s!-/:-@\[-`{-~]{1,16}|[!-/:-@\[-`{-~]")
_BEGIN: Final = 1  # the id before each text's own, so that an empty one has one too
_WORDS_WEIGH: Final = 8  # against the order of the words: even, so that no sum is 0


def is_test_model(model: object) -> bool:
    """Whether a model's name is of this kind."""
    return isinstance(model, str) and model.startswith(PREFIX)


class HashEmbedder(LocalEmbedder):
    """The embedder of a name such as "test:384".

    A vector is the sum of its words' vectors, and a little of one of their order, at length 1.
    """

    def __init__(
        self,
        model: str,
        *,
        precision: str = "auto",
        document_prompt: str | None = None,
        query_prompt: str | None = None,
        streams: int | None = None,
        threads: int | None = None,
    ) -> None:
        """`streams` and `threads` are those of `load_embedder`; a call takes one thread.

        Raises `UsageError` for another name, and for another precision than "f32" and "auto", which means it.
        """
        if precision not in ("auto", "f32"):
            raise UsageError(f"precision is {precision!r}: {model} computes in f32; leave it out")
        number = model.removeprefix(PREFIX)
        if not re.fullmatch("[0-9]{1,5}", number) or not 1 <= int(number) <= _MOST_NUMBERS:
            raise UsageError(
                f"model is {model!r}: give {PREFIX}N for vectors of N numbers, from 1 to {_MOST_NUMBERS:,}, as in "
                f"{PREFIX}384"
            )
        self.dimension = int(number)
        self.name = f"{PREFIX}{self.dimension}"
        self.normalized = True
        self.max_tokens = MAX_TOKENS
        self.workers = self.concurrency = min(streams or machine.cores(), threads or machine.cores())
        self._prompts = (document_prompt or "", query_prompt or "")

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides the vectors."""
        space = Space(
            weights=hashlib.sha256(_VERSION).hexdigest(),
            tokenizer=hashlib.sha256(_VERSION + _WORDS.pattern.encode()).hexdigest(),
            pooling="mean",
            normalize=self.normalized,
            prompt=self._prompts[0],
            max_tokens=self.max_tokens,
            dimension=self.dimension,
            query_prompt=self._prompts[1],
        )
        return Fingerprint(space, "f32")

    @property
    def loaded(self) -> bool:
        """Always: there is nothing to load."""
        return True

    def load(self) -> None:
        """Nothing: there is nothing to load."""

    def encode(self, texts: Sequence[str], *, task: Task = "document", truncate: bool = True) -> list[TokenIds]:
        """Each text's token ids, one for each word and sign. Raises `UsageError` for another task."""
        one_of("task", task, TASKS)
        prompt = self._prompts[task == "query"]
        return [_ids(prompt + text)[: self.max_tokens if truncate else None] for text in texts]

    def infer(self, batch: Batch) -> Vectors:
        """The batch's vectors, ``(n, dimension)``."""
        vectors = np.empty((len(batch.ids), self.dimension), np.float32)
        for row, ids in enumerate(batch.ids):
            order = _numbers([ids.astype("<i4").tobytes()], self.dimension)
            words = _numbers([word.to_bytes(4, "little") for word in ids[1:].tolist()], self.dimension)
            numbers = order + _WORDS_WEIGH * words
            vectors[row] = numbers / math.sqrt(int(numbers @ numbers))
        return vectors

    def close(self) -> None:
        """Nothing: it holds nothing."""


def _ids(text: str) -> TokenIds:
    words = (word.lower() if word.isascii() else word for word in _WORDS.findall(text))
    return np.array([_BEGIN, *map(_id, words)], np.int32)


def _id(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "little") & 0x7FFFFFFF


def _numbers(seeds: Sequence[bytes], dimension: int) -> NDArray[np.int64]:
    """The sum of odd numbers from -255 to 255, ``(dimension,)`` for each seed."""
    digests = b"".join(hashlib.shake_256(_VERSION + seed).digest(dimension) for seed in seeds)
    sums = np.frombuffer(digests, np.uint8).reshape(len(seeds), dimension).sum(axis=0, dtype=np.int64)
    numbers: NDArray[np.int64] = 2 * sums - 255 * len(seeds)
    return numbers
