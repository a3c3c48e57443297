"""MPNet (Song et al. 2020, arXiv:2004.09297)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedmill.models.architectures.architecture import Architecture
from embedmill.models.architectures.encoder import Transformer, read_encoder
from embedmill.models.json_config import Config

if TYPE_CHECKING:
    from embedmill.models.architectures.layers import Inputs, Node, Tensors
    from embedmill.models.safetensors import Tensor

_PADDING = 1
"""The padding's id for the positions, whatever config.json says."""


def _read(config: Config, pad: int) -> Transformer:
    return read_encoder(config, pad, relative_buckets=config.integer("relative_attention_num_buckets", 32, low=2))


def _build(shape: Transformer, weights: Tensors, inputs: Inputs) -> Node:
    """BERT's layers, with a bias for the tokens' distance."""
    import openvino as ov
    from openvino import opset15 as op

    from embedmill.models.architectures.layers import TOKEN_AXIS, constant, embeddings, encoder_layer, scalar

    positions = weights("embeddings.position_embeddings.weight", shape.max_positions, shape.hidden_size)
    table = weights("encoder.relative_attention_bias.weight", shape.relative_buckets, shape.heads)
    bias = op.add(_relative_bias(table, len(positions) - _PADDING - 1, inputs.ids), inputs.bias)
    # Positions are counted from behind the padding's id, and a padding token that is written in a text has none.
    padding = op.constant(np.int32(_PADDING))
    text = op.convert(op.not_equal(inputs.ids, padding), ov.Type.i32)
    places = op.add(op.multiply(op.cum_sum(text, scalar(TOKEN_AXIS)), text), padding)
    hidden = embeddings(shape, weights, inputs.ids, op.gather(constant(positions), places, scalar(0)))
    for index in range(shape.layers):
        layer = f"encoder.layer.{index}"
        names = [f"{layer}.attention.{part}" for part in ("attn.q", "attn.k", "attn.v", "attn.o", "LayerNorm")]
        hidden = encoder_layer(shape, weights, layer, names, hidden, bias)
    return hidden


def _relative_bias(table: Tensor, positions: int, ids: Node) -> Node:
    """(1, heads, tokens, tokens): what each head adds for each distance between two tokens."""
    from openvino import opset15 as op

    from embedmill.models.architectures.layers import axes, constant, length

    buckets = relative_buckets(positions, len(table))
    whole = np.ascontiguousarray(table[buckets].transpose(2, 0, 1))[np.newaxis]
    tokens = length(ids)
    both = op.concat([tokens, tokens], 0)
    return op.slice(constant(whole), axes(0, 0), both, axes(1, 1), axes(2, 3))


def relative_buckets(positions: int, buckets: int, max_distance: int = 128) -> NDArray[np.int64]:
    """The bucket of each pair of positions, as T5 defines them (Raffel et al. 2020, arXiv:1910.10683).

    Half of the buckets are for keys that come later. Of each half, the first half is one distance a bucket, the
    rest grow logarithmically up to `max_distance` (128 is MPNet's fixed value). Shape ``(positions, positions)``.
    """
    distance = np.arange(positions)[np.newaxis, :] - np.arange(positions)[:, np.newaxis]
    half = buckets // 2
    exact = half // 2
    later = (distance > 0) * half
    distance = np.abs(distance)
    # In float32, as the model was trained: at bucket edges a float64 logarithm may fall on the other side.
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact)) / np.float32(
        np.log(max_distance / exact)
    )
    far = np.minimum(exact + (ratio * np.float32(half - exact)).astype(np.int64), half - 1)
    return np.asarray(later + np.where(distance < exact, distance, far), np.int64)


MPNET = Architecture("mpnet", frozenset({"MPNetModel", "MPNetForMaskedLM"}), _PADDING + 1, _read, _build)
