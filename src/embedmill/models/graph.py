"""From a model's weights to an OpenVINO graph: token ids in, finished vectors out.

A graph has two inputs of shape ``(batch, tokens)``, ``ids`` and ``mask`` (1 for a token, 0 for padding behind
it), and one output of shape ``(batch, dimension)``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
from openvino import opset15 as op

from embedmill.core.errors import ModelError, UnsupportedModel
from embedmill.models.architectures import ARCHITECTURES
from embedmill.models.architectures.layers import (
    LAST_AXIS,
    TOKEN_AXIS,
    Inputs,
    Node,
    Tensors,
    activate,
    axes,
    constant,
    number,
    scalar,
)
from embedmill.models.card import Card
from embedmill.models.exported import hidden_states
from embedmill.models.head import Dense
from embedmill.models.safetensors import Weights


def build(card: Card) -> ov.Model:
    """The whole graph of a model: transformer, pooling, dense layers and normalisation.

    Raises `UnsupportedModel` for an architecture without a builder here, and `ModelError` for files that
    are damaged or do not fit one another.
    """
    inputs = Inputs()
    if card.weights.kind == "safetensors":
        hidden = _transformer(card, inputs)
    else:
        try:
            hidden = hidden_states(card, inputs)
        except ModelError:
            raise
        except Exception as error:  # mostly RuntimeError, but what a damaged file meets in C++ may be anything
            reason = " ".join(str(error).strip().splitlines()[-1:])
            raise ModelError(f"{card.weights.paths[0]} cannot be read ({reason}): fetch the model again") from error
    return ov.Model([op.result(_head(card, hidden, inputs))], [inputs.ids, inputs.mask], card.architecture)


def _transformer(card: Card, inputs: Inputs) -> Node:
    shape = card.transformer
    if shape is None or (architecture := ARCHITECTURES.get(shape.model_type)) is None:
        raise UnsupportedModel(
            f"{card.folder}: the architecture {card.architecture} has no graph builder (those of "
            f"{', '.join(sorted(ARCHITECTURES))} have): use a repository that ships ONNX or OpenVINO files"
        )
    return architecture.build(shape, Tensors(Weights(card.weights.paths), shape.model_type), inputs)


def _mean(hidden: Node, inputs: Inputs) -> Node:
    # No matrix product: OpenVINO computes all that follows the last one in float32, and so this sum.
    total = op.reduce_sum(op.multiply(hidden, op.unsqueeze(inputs.mask, axes(2))), axes(TOKEN_AXIS))
    return op.divide(total, inputs.tokens)


def _max(hidden: Node, inputs: Inputs) -> Node:
    return op.reduce_max(
        op.add(hidden, op.reshape(inputs.bias, op.constant(np.array([0, -1, 1], np.int64)), True)), axes(TOKEN_AXIS)
    )


def _cls(hidden: Node, inputs: Inputs) -> Node:
    return op.gather(hidden, scalar(0), scalar(TOKEN_AXIS))


def _last(hidden: Node, inputs: Inputs) -> Node:
    where = op.convert(op.subtract(inputs.tokens, number(1)), ov.Type.i64)
    return op.squeeze(op.gather(hidden, where, scalar(TOKEN_AXIS), batch_dims=1), axes(1))


_POOLINGS: dict[str, Callable[[Node, Inputs], Node]] = {"mean": _mean, "max": _max, "cls": _cls, "last": _last}


def _head(card: Card, hidden: Node, inputs: Inputs) -> Node:
    pooled = [_POOLINGS[pooling](hidden, inputs) for pooling in card.pooling]
    vector = pooled[0] if len(pooled) == 1 else op.concat(pooled, LAST_AXIS)
    for dense in card.dense:
        vector = _dense(dense, vector)
    if card.normalize:
        # 1e-12 is the floor of torch.nn.functional.normalize.
        length = op.sqrt(op.reduce_sum(op.multiply(vector, vector), axes(LAST_AXIS), True))
        vector = op.divide(vector, op.maximum(length, number(1e-12)))
    return vector


def _dense(dense: Dense, vector: Node) -> Node:
    weights = Weights([dense.weights])
    matrix = weights.shaped("linear.weight", dense.out_features, dense.in_features)
    product = op.matmul(vector, constant(matrix), False, True)
    if dense.bias:
        product = op.add(product, constant(weights.shaped("linear.bias", dense.out_features)))
    return activate(product, dense.activation)
