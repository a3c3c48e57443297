"""Whether a model embeds on this machine as it ought to: a text is embedded whose vector is known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import numpy as np

from embedmill.core.errors import EmbedmillError
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.engine.validation import EmbeddingValidator
from embedmill.models import locate, read_card

_KNOWN_TEXT: Final = "The quick brown fox jumps over the lazy dog."
_KNOWN_WEIGHTS: Final = "621cd32a7fd395f9923adf03b6718c0c8ecf6f33867ec6bfaf4cf9d319678584"  # all-MiniLM-L6-v2
_KNOWN_VECTOR: Final = (
    0.04393, 0.05893, 0.04818, 0.07755, 0.02674, -0.03763, -0.00261, -0.05994,
    -0.0025, 0.02207, 0.04803, 0.05576, -0.03895, -0.02662, 0.00769, -0.02624,
)  # fmt: skip
"""The first numbers of the text's vector of these weights, in f32; sentence-transformers gives the same."""

_LARGEST_DISTANCE: Final = 0.2
"""Between a text's vectors alone and among others, relative to their length: quantised graphs differ a little."""

_KNOWN_WITHIN: Final = 0.003
"""bf16 comes to 0.0006."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How a model that was tried has done."""

    embedded: bool
    compared: bool  # with a vector that is known
    seconds: float  # the model's loading included
    problems: Sequence[str]


def try_model(folder: str, precision: str) -> Trial:
    """Embed a known text twice, alone and among others: ``embedmill doctor``.

    Both vectors have to be sound and the same, and that of the default model what is known of it.
    """
    started = time.perf_counter()
    problems: list[str] = []
    known = False
    try:
        files = locate(folder, fetch=False)
        card = read_card(files)
        with closing(OpenVINOEmbedder(files.name, card, precision=precision)) as embedder:
            space = embedder.fingerprint.space
            known = space.weights == _KNOWN_WEIGHTS and not space.prompt
            alone = embedder.embed([_KNOWN_TEXT])
            among = embedder.embed(["One more text, and a longer one.", _KNOWN_TEXT, "Another."])[1:2]
    except (EmbedmillError, RuntimeError, ValueError) as error:
        return Trial(False, False, time.perf_counter() - started, [f"the model cannot embed: {error}"])
    refused = EmbeddingValidator(space.dimension, space.normalize).check(alone)
    problems += [f"the model gave an unsound vector: {cause.message}" for cause in refused.values()]
    if not refused and np.linalg.norm(alone - among) > _LARGEST_DISTANCE * np.linalg.norm(alone):
        problems.append("the model gives a text another vector where others come with it: pip install -U openvino")
    if known and np.abs(alone[0, : len(_KNOWN_VECTOR)] - _KNOWN_VECTOR).max() > _KNOWN_WITHIN:
        problems.append("the default model gives another vector than it ought to: pip install -U openvino")
    return Trial(True, known, time.perf_counter() - started, problems)
