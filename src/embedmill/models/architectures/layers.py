"""What graphs of transformers are made of: OpenVINO's nodes, for what architectures have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as op

from embedmill.core.errors import UnsupportedModel
from embedmill.models.architectures.encoder import Transformer
from embedmill.models.safetensors import Tensor, Weights

Node = Any
"""An `openvino.Node`: the package ships no types."""

TOKEN_AXIS, LAST_AXIS = 1, -1

_MASKED = 30_000.0
"""Far below any score, and finite in every precision: a text of nothing but padding would otherwise give NaN."""


class Inputs:
    """The graph's parameters, and what attention and pooling make of the mask."""

    def __init__(self) -> None:
        self.ids = parameter("ids", ov.Type.i32)
        self.mask = parameter("mask", ov.Type.f32)
        column = op.unsqueeze(self.mask, axes(1, 2))
        self.bias = op.multiply(op.subtract(column, number(1)), number(_MASKED))
        """(batch, 1, 1, tokens): added to attention's scores, 0 for a token."""
        self.tokens = op.reduce_sum(self.mask, axes(1), True)
        """(batch, 1): how many tokens each text has."""


class Tensors:
    """Weights whose names may begin with the model type, as in checkpoints with a language-model head."""

    def __init__(self, weights: Weights, model_type: str) -> None:
        prefix = f"{model_type}."
        self._prefix = prefix if any(name.startswith(prefix) for name in weights.names) else ""
        self._weights = weights

    def __call__(self, name: str, *shape: int) -> Tensor:
        """The tensor of this name, which must have this shape; raises `ModelError` for another."""
        return self._weights.shaped(self._prefix + name, *shape)


def embeddings(shape: Transformer, weights: Tensors, ids: Node, here: Node) -> Node:
    """Words and the positions `here`, normalised."""
    words = weights("embeddings.word_embeddings.weight", shape.vocab_size, shape.hidden_size)
    total = op.add(op.gather(constant(words), ids, scalar(0)), here)
    return norm(shape, weights, "embeddings.LayerNorm", total)


def encoder_layer(
    shape: Transformer, weights: Tensors, layer: str, names: Sequence[str], hidden: Node, bias: Node
) -> Node:
    """One encoder layer; `names` are those of query, key, value, output and the norm behind them."""
    width, heads = shape.hidden_size, shape.heads
    split = op.constant(np.array([0, 0, heads, width // heads], np.int64))
    swap = op.constant(np.array([0, 2, 1, 3], np.int64))
    query, key, value = (
        op.transpose(op.reshape(linear(weights, name, hidden, width, width), split, True), swap) for name in names[:3]
    )
    attended = op.scaled_dot_product_attention(query, key, value, bias)
    joined = op.reshape(op.transpose(attended, swap), op.constant(np.array([0, 0, width], np.int64)), True)
    output, behind = names[3:]
    hidden = norm(shape, weights, behind, op.add(linear(weights, output, joined, width, width), hidden))
    inner = linear(weights, f"{layer}.intermediate.dense", hidden, width, shape.intermediate_size)
    outer = linear(weights, f"{layer}.output.dense", activate(inner, shape.activation), shape.intermediate_size, width)
    return norm(shape, weights, f"{layer}.output.LayerNorm", op.add(outer, hidden))


def linear(weights: Tensors, name: str, inputs: Node, width_in: int, width_out: int) -> Node:
    """A dense layer: the weights are ``(out, in)``, as torch has them."""
    product = op.matmul(inputs, constant(weights(f"{name}.weight", width_out, width_in)), False, True)
    return op.add(product, constant(weights(f"{name}.bias", width_out)))


def norm(shape: Transformer, weights: Tensors, name: str, inputs: Node) -> Node:
    """Normalised over the last axis, then scaled and shifted."""
    normal = op.mvn(inputs, axes(LAST_AXIS), True, shape.layer_norm_eps, "inside_sqrt")
    scaled = op.multiply(normal, constant(weights(f"{name}.weight", shape.hidden_size)))
    return op.add(scaled, constant(weights(f"{name}.bias", shape.hidden_size)))


_ACTIVATIONS: dict[str, Callable[[Node], Node]] = {
    "gelu": lambda x: op.gelu(x, "erf"),
    "gelu_python": lambda x: op.gelu(x, "erf"),
    "gelu_new": lambda x: op.gelu(x, "tanh"),
    "gelu_fast": lambda x: op.gelu(x, "tanh"),
    "gelu_pytorch_tanh": lambda x: op.gelu(x, "tanh"),
    "relu": op.relu,
    "silu": op.swish,
    "swish": op.swish,
    "tanh": op.tanh,
    "sigmoid": op.sigmoid,
    "identity": lambda x: x,
}


def activate(inputs: Node, name: str) -> Node:
    """The activation of this name; raises `UnsupportedModel` for one that is not covered."""
    try:
        return _ACTIVATIONS[name](inputs)
    except KeyError:
        raise UnsupportedModel(
            f"config.json asks for the activation {name!r}; covered are {', '.join(_ACTIVATIONS)}"
        ) from None


def parameter(name: str, kind: ov.Type) -> Node:
    """An input of the graph, ``(batch, tokens)``."""
    parameter = op.parameter(ov.PartialShape([-1, -1]), kind, name=name)
    parameter.output(0).set_names({name})
    return parameter


def length(ids: Node) -> Node:
    """How many tokens each text of this call has, as a vector of one."""
    return op.gather(op.shape_of(ids), axes(TOKEN_AXIS), scalar(0))


def constant(array: Tensor) -> Node:
    """An array in the graph; what is mapped from a file is not copied."""
    return op.constant(np.ascontiguousarray(array))


def axes(*values: int) -> Node:
    """Axes, or sizes, as a vector."""
    return op.constant(np.array(values, np.int64))


def scalar(value: int) -> Node:
    """A whole number."""
    return op.constant(np.int64(value))


def number(value: float) -> Node:
    """A number in float32."""
    return op.constant(np.float32(value))
