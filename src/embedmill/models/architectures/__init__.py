"""Architectures whose graph is built here, a file each; all others need ONNX or OpenVINO files."""

from __future__ import annotations

from typing import Final

from embedmill.models.architectures.architecture import Architecture
from embedmill.models.architectures.bert import BERT
from embedmill.models.architectures.mpnet import MPNET

ARCHITECTURES: Final = {each.model_type: each for each in (BERT, MPNET)}
"""By the model type that config.json names."""

COVERED: Final = frozenset().union(*(each.classes for each in ARCHITECTURES.values()))
"""The same as names in "architectures" of config.json."""

__all__ = ["ARCHITECTURES", "COVERED", "Architecture"]
