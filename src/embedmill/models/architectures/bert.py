"""BERT (Devlin et al. 2018, arXiv:1810.04805)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedmill.models.architectures.architecture import Architecture
from embedmill.models.architectures.encoder import Transformer, read_encoder
from embedmill.models.json_config import Config

if TYPE_CHECKING:
    from embedmill.models.architectures.layers import Inputs, Node, Tensors


def _read(config: Config, pad: int) -> Transformer:
    return read_encoder(config, pad, type_vocab_size=config.integer("type_vocab_size", 2, low=0))


def _build(shape: Transformer, weights: Tensors, inputs: Inputs) -> Node:
    """Post-norm, absolute positions."""
    from openvino import opset15 as op

    from embedmill.models.architectures.layers import axes, constant, embeddings, encoder_layer, length

    width = shape.hidden_size
    positions = weights("embeddings.position_embeddings.weight", shape.max_positions, width)
    if shape.type_vocab_size:  # all texts are of the first type: one row, added once
        types = weights("embeddings.token_type_embeddings.weight", shape.type_vocab_size, width)
        positions = positions + types[0]
    here = op.slice(constant(positions), axes(0), length(inputs.ids), axes(1), axes(0))
    hidden = embeddings(shape, weights, inputs.ids, here)
    for index in range(shape.layers):
        layer = f"encoder.layer.{index}"
        parts = ("self.query", "self.key", "self.value", "output.dense", "output.LayerNorm")
        names = [f"{layer}.attention.{part}" for part in parts]
        hidden = encoder_layer(shape, weights, layer, names, hidden, inputs.bias)
    return hidden


BERT = Architecture("bert", frozenset({"BertModel", "BertForMaskedLM"}), 0, _read, _build)
