"""What is known of an architecture whose graph is built here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedmill.models.architectures.encoder import Transformer
from embedmill.models.json_config import Config

if TYPE_CHECKING:
    from embedmill.models.architectures.layers import Inputs, Node, Tensors


@dataclass(frozen=True, slots=True)
class Architecture:
    """One that `build` makes a graph of, which its vectors are compared with a public reference for."""

    model_type: str  # as config.json names it
    classes: frozenset[str]  # names of the same in "architectures" of config.json
    unused_positions: int  # first rows of the position table that no token gets
    read: Callable[[Config, int], Transformer]
    """Its numbers, from config.json and the padding's id."""
    build: Callable[[Transformer, Tensors, Inputs], Node]
    """The tokens' hidden states, ``(batch, tokens, hidden_size)``. OpenVINO is imported only in there: a model's card
    is read, and its fingerprint told, without it."""
