"""Inputs that several test files share."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

_WORDS = ["vector", "search", "document", "store", "index", "chunk", "batch", "token", "model", "graph", "thread"]


def prose(seed: int, paragraphs: int) -> str:
    """Paragraphs of 25 words, others for each seed."""
    random = np.random.default_rng(seed)
    return "\n\n".join(" ".join(random.choice(_WORDS, 25)) + "." for _ in range(paragraphs))


def copy_model(source: Path, target: Path) -> Path:
    """A model's folder under another name, to be renamed or damaged."""
    shutil.copytree(source, target)
    return target
