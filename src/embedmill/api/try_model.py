"""Whether a model embeds on this machine as it ought to: texts of the golden set are embedded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import numpy as np

from embedmill.api.golden import different_fields
from embedmill.core.errors import EmbedmillError
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.engine.validation import VectorValidator
from embedmill.models import locate, read_card
from embedmill.quality.agreement import TOLERANCE, compare
from embedmill.quality.golden_file import GoldenSet

_FEW: Final = 3
"""Texts that are embedded where no full check is wanted: some hundredths of a second."""

_LARGEST_DISTANCE: Final = 0.2
"""Between a text's vectors alone and among others, relative to their length: quantised graphs differ a little."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How a model that was tried has done."""

    texts: int  # that have been embedded; 0 where the model cannot
    lowest_cosine: float | None  # to the vectors known of these texts; None for a model of which none are known
    seconds: float  # the model's loading included
    problems: Sequence[str]


def try_model(model: str, folder: str, precision: str, golden: GoldenSet, *, check: bool = False) -> Trial:
    """Embed texts of a golden set, one of them alone too: ``embedmill doctor``, with that of the default model.

    `model` is the name, for people, of what lies in the folder.

    The vectors have to be sound and the same alone and among others, and those of the set's model what is known of
    them. `check` takes all texts of the golden set, and a model of which nothing is known does not pass.
    """
    started = time.perf_counter()
    problems: list[str] = []
    try:
        card = read_card(locate(folder, fetch=False))
        with closing(OpenVINOEmbedder(model, card, precision=precision)) as embedder:
            space = embedder.fingerprint.space
            differs = different_fields(golden.fingerprint.space, space)
            texts = golden.texts if check and not differs else golden.texts[:_FEW]
            alone = embedder.embed(texts[-1:])
            vectors = embedder.embed(texts)
    except (EmbedmillError, RuntimeError, ValueError) as error:
        return Trial(0, None, time.perf_counter() - started, [f"the model cannot embed: {error}"])
    refused = VectorValidator.of(space).check(vectors)
    problems += [f"the model gave an unsound vector: {cause.message}" for cause in list(refused.values())[:1]]
    if not refused and np.linalg.norm(alone - vectors[-1:]) > _LARGEST_DISTANCE * np.linalg.norm(alone):
        problems.append("the model gives a text another vector where others come with it: pip install -U openvino")
    lowest = None
    if not differs:
        agreement = compare(golden.vectors[: len(texts)], vectors)
        lowest = float(agreement.cosines.min())
        if agreement.apart.any():
            problems.append(
                f"{model} gives other vectors than it ought to ({agreement.apart.sum()} of {len(texts)} "
                f"texts below a cosine of {TOLERANCE}): pip install -U openvino"
            )
    elif model == golden.model:
        problems.append(f"{model} is not as it ought to be (other {', '.join(differs)}): fetch it again")
    elif check:
        problems.append(
            f"{model} cannot be checked, the golden set of embedmill is of {golden.model}: make one with "
            "`embedmill golden record`, where the model is known to be right"
        )
    return Trial(len(texts), lowest, time.perf_counter() - started, problems)
