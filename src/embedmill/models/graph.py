"""From a model's weights to an OpenVINO graph: token ids in, finished vectors out.

A graph has two inputs of shape ``(batch, tokens)``, ``ids`` and ``mask`` (1 for a token, 0 for padding behind
it), and one output of shape ``(batch, dimension)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset15 as op

from embedmill.core.errors import ModelError, UnsupportedModel
from embedmill.models.onnx import without_links
from embedmill.models.refusals import MPNET_PADDING
from embedmill.models.weights import Tensor, Weights

if TYPE_CHECKING:
    from embedmill.models.card import Card, Transformer
    from embedmill.models.head import Dense

Node = Any
"""An `openvino.Node`: the package ships no types."""

_TOKEN_AXIS, _LAST_AXIS = 1, -1

_MASKED = 30_000.0
"""Far below any score, and finite in every precision: a text of nothing but padding would otherwise give NaN."""


def build(card: Card) -> ov.Model:
    """The whole graph of a model: transformer, pooling, dense layers and normalisation.

    Raises `UnsupportedModel` for an architecture without a builder here, and `ModelError` for files that
    are damaged or do not fit one another.
    """
    inputs = _Inputs()
    if card.weights.kind == "safetensors":
        hidden = _transformer(card, inputs)
    else:
        try:
            hidden = _read(card, inputs)
        except ModelError:
            raise
        except Exception as error:  # mostly RuntimeError, but what a damaged file meets in C++ may be anything
            reason = " ".join(str(error).strip().splitlines()[-1:])
            raise ModelError(f"{card.weights.paths[0]} cannot be read ({reason}): fetch the model again") from error
    return ov.Model([op.result(_head(card, hidden, inputs))], [inputs.ids, inputs.mask], card.architecture)


class _Inputs:
    """The graph's parameters, and what attention and pooling make of the mask."""

    def __init__(self) -> None:
        self.ids = _parameter("ids", ov.Type.i32)
        self.mask = _parameter("mask", ov.Type.f32)
        column = op.unsqueeze(self.mask, _axes(1, 2))
        self.bias = op.multiply(op.subtract(column, _float(1)), _float(_MASKED))
        """(batch, 1, 1, tokens): added to attention's scores, 0 for a token."""
        self.tokens = op.reduce_sum(self.mask, _axes(1), True)
        """(batch, 1): how many tokens each text has."""


# --- the transformer, from safetensors --------------------------------------------------------------


def _transformer(card: Card, inputs: _Inputs) -> Node:
    shape = card.transformer
    family = None if shape is None else _FAMILIES.get(shape.model_type)
    if shape is None or family is None:
        raise UnsupportedModel(
            f"{card.folder}: the architecture {card.architecture} has no graph builder (those of "
            f"{', '.join(sorted(_FAMILIES))} have): use a repository that ships ONNX or OpenVINO files"
        )
    return family(shape, _Prefixed(Weights(card.weights.paths), shape.model_type), inputs)


class _Prefixed:
    """Weights whose names may begin with the model type, as in checkpoints with a language-model head."""

    def __init__(self, weights: Weights, model_type: str) -> None:
        prefix = f"{model_type}."
        self._prefix = prefix if any(name.startswith(prefix) for name in weights) else ""
        self._weights = weights

    def __call__(self, name: str, *shape: int) -> Tensor:
        return self._weights.shaped(self._prefix + name, *shape)


def _bert(shape: Transformer, weights: _Prefixed, inputs: _Inputs) -> Node:
    """BERT (Devlin et al. 2018, arXiv:1810.04805), post-norm, absolute positions."""
    width = shape.hidden_size
    positions = weights("embeddings.position_embeddings.weight", shape.max_positions, width)
    if shape.type_vocab_size:  # all texts are of the first type: one row, added once
        types = weights("embeddings.token_type_embeddings.weight", shape.type_vocab_size, width)
        positions = positions + types[0]
    here = op.slice(_constant(positions), _axes(0), _length(inputs.ids), _axes(1), _axes(0))
    hidden = _embeddings(shape, weights, inputs.ids, here)
    for index in range(shape.layers):
        layer = f"encoder.layer.{index}"
        attention = f"{layer}.attention"
        names = [f"{attention}.self.{part}" for part in ("query", "key", "value")]
        names += [f"{attention}.output.dense", f"{attention}.output.LayerNorm"]
        hidden = _layer(shape, weights, layer, names, hidden, inputs.bias)
    return hidden


def _mpnet(shape: Transformer, weights: _Prefixed, inputs: _Inputs) -> Node:
    """MPNet (Song et al. 2020, arXiv:2004.09297): BERT's layers with a bias for the tokens' distance."""
    positions = weights("embeddings.position_embeddings.weight", shape.max_positions, shape.hidden_size)
    table = weights("encoder.relative_attention_bias.weight", shape.relative_buckets, shape.heads)
    bias = op.add(_relative_bias(table, len(positions) - MPNET_PADDING - 1, inputs.ids), inputs.bias)
    # Positions are counted from behind the padding's id, and a padding token that is written in a text has none.
    padding = op.constant(np.int32(MPNET_PADDING))
    text = op.convert(op.not_equal(inputs.ids, padding), ov.Type.i32)
    places = op.add(op.multiply(op.cum_sum(text, _scalar(_TOKEN_AXIS)), text), padding)
    hidden = _embeddings(shape, weights, inputs.ids, op.gather(_constant(positions), places, _scalar(0)))
    for index in range(shape.layers):
        layer = f"encoder.layer.{index}"
        attention = f"{layer}.attention"
        names = [f"{attention}.attn.{part}" for part in ("q", "k", "v", "o")] + [f"{attention}.LayerNorm"]
        hidden = _layer(shape, weights, layer, names, hidden, bias)
    return hidden


_FAMILIES: dict[str, Callable[[Transformer, _Prefixed, _Inputs], Node]] = {"bert": _bert, "mpnet": _mpnet}


def _embeddings(shape: Transformer, weights: _Prefixed, ids: Node, here: Node) -> Node:
    """Words and the positions `here`, normalised."""
    words = weights("embeddings.word_embeddings.weight", shape.vocab_size, shape.hidden_size)
    total = op.add(op.gather(_constant(words), ids, _scalar(0)), here)
    return _norm(shape, weights, "embeddings.LayerNorm", total)


def _layer(shape: Transformer, weights: _Prefixed, layer: str, names: Sequence[str], hidden: Node, bias: Node) -> Node:
    """One encoder layer; `names` are those of query, key, value, output and the norm behind them."""
    width, heads = shape.hidden_size, shape.heads
    split = op.constant(np.array([0, 0, heads, width // heads], np.int64))
    swap = op.constant(np.array([0, 2, 1, 3], np.int64))
    query, key, value = (
        op.transpose(op.reshape(_linear(weights, name, hidden, width, width), split, True), swap) for name in names[:3]
    )
    attended = op.scaled_dot_product_attention(query, key, value, bias)
    joined = op.reshape(op.transpose(attended, swap), op.constant(np.array([0, 0, width], np.int64)), True)
    output, norm = names[3:]
    hidden = _norm(shape, weights, norm, op.add(_linear(weights, output, joined, width, width), hidden))
    inner = _linear(weights, f"{layer}.intermediate.dense", hidden, width, shape.intermediate_size)
    outer = _linear(
        weights, f"{layer}.output.dense", _activate(inner, shape.activation), shape.intermediate_size, width
    )
    return _norm(shape, weights, f"{layer}.output.LayerNorm", op.add(outer, hidden))


def _linear(weights: _Prefixed, name: str, inputs: Node, width_in: int, width_out: int) -> Node:
    product = op.matmul(inputs, _constant(weights(f"{name}.weight", width_out, width_in)), False, True)
    return op.add(product, _constant(weights(f"{name}.bias", width_out)))


def _norm(shape: Transformer, weights: _Prefixed, name: str, inputs: Node) -> Node:
    normal = op.mvn(inputs, _axes(_LAST_AXIS), True, shape.layer_norm_eps, "inside_sqrt")
    scaled = op.multiply(normal, _constant(weights(f"{name}.weight", shape.hidden_size)))
    return op.add(scaled, _constant(weights(f"{name}.bias", shape.hidden_size)))


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


def _activate(inputs: Node, name: str) -> Node:
    try:
        return _ACTIVATIONS[name](inputs)
    except KeyError:
        raise UnsupportedModel(
            f"config.json asks for the activation {name!r}; covered are {', '.join(_ACTIVATIONS)}"
        ) from None


def _relative_bias(table: Tensor, positions: int, ids: Node) -> Node:
    """(1, heads, tokens, tokens): what each head adds for each distance between two tokens."""
    buckets = relative_buckets(positions, len(table))
    whole = np.ascontiguousarray(table[buckets].transpose(2, 0, 1))[np.newaxis]
    length = _length(ids)
    both = op.concat([length, length], 0)
    return op.slice(_constant(whole), _axes(0, 0), both, _axes(1, 1), _axes(2, 3))


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


# --- the transformer, from ONNX or OpenVINO files ---------------------------------------------------

_ROLES = {"input_ids", "attention_mask", "token_type_ids"}

_HIDDEN = ("last_hidden_state", "token_embeddings")
"""What exporters call the tokens' last hidden states: transformers and optimum, and sentence-transformers."""


def _read(card: Card, inputs: _Inputs) -> Node:
    """The tokens' hidden states of a graph that a repository ships, fed from our inputs."""
    path = card.weights.paths[0]
    model = _ready(card)
    _check_vocabulary(card, model)
    fed = set()
    for parameter in model.get_parameters():
        port = parameter.output(0)
        role = next((name for name in port.names if name in _ROLES), None)
        if role is None or role in fed:
            raise UnsupportedModel(f"{path} wants an input that is not covered: {_shown(port)}")
        fed.add(role)
        shape = parameter.partial_shape
        if shape.rank.is_static and (len(shape) != 2 or not (shape[0].is_dynamic and shape[1].is_dynamic)):
            raise UnsupportedModel(
                f"{path} takes {role} of the shape {shape} alone: export it again, for texts of any number and length"
            )
        kind = port.element_type
        match role:
            case "input_ids":
                feed = op.convert(inputs.ids, kind)
            case "attention_mask":
                feed = op.convert(inputs.mask, kind)
            case _:
                feed = op.broadcast(op.constant(0, kind), op.shape_of(inputs.ids))
        port.replace(feed.output(0))
    for role in ("input_ids", "attention_mask"):
        if role not in fed:
            # Without a mask, a text's vector would depend on the padding that longer texts bring.
            raise UnsupportedModel(f"{path} has no input {role!r}: export the model again, with it")
    hidden = _hidden_states(card, model)
    # What follows counts and sums in float32; graphs in float16 and bfloat16 are common.
    return op.convert(hidden, ov.Type.f32) if hidden.get_element_type() != ov.Type.f32 else hidden


def _check_vocabulary(card: Card, model: Any) -> None:
    """Raise `ModelError` where the graph's table of words has fewer rows than config.json says.

    OpenVINO takes zeros for a row that is not there, and a text would get a vector of something else.
    """
    for node in model.get_ops():
        if node.get_type_name() != "Gather" or card.vocab_size is None:
            continue
        table, index = node.input_value(0), node.input_value(1).get_node()
        while index.get_type_name() == "Convert":
            index = index.input_value(0).get_node()
        if index.get_type_name() == "Parameter" and "input_ids" in index.output(0).names:
            rows = table.partial_shape[0] if table.partial_shape.rank.is_static else None
            if rows is not None and rows.is_static and rows.get_length() < card.vocab_size:
                raise ModelError(
                    f"{card.weights.paths[0]}: has {rows.get_length()} words, config.json says {card.vocab_size}: "
                    "the files belong to different models, fetch them again"
                )


def _ready(card: Card) -> Any:
    path, *beside = card.weights.paths
    if card.weights.kind == "openvino":
        return ov.Core().read_model(path, beside[0])
    with without_links(path, beside) as graph:
        return ov.Core().read_model(graph)


def _hidden_states(card: Card, model: Any) -> Node:
    """The output with the tokens' hidden states, which must have the width that the rest of the model asks for."""
    path = card.weights.paths[0]
    named = [port for name in _HIDDEN for port in model.outputs if name in port.names]
    if not named:
        outputs = ", ".join(map(_shown, model.outputs))
        raise UnsupportedModel(
            f"{path} has no output {_HIDDEN[0]!r} (batch, tokens, width), it has {outputs[:200]}: "
            "export the model again, for feature extraction"
        )
    shape = named[0].partial_shape
    width = card.hidden_size
    if shape.rank.is_dynamic or len(shape) != 3 or (shape[2].is_static and shape[2].get_length() != width):
        raise UnsupportedModel(f"{path}: its output {_shown(named[0])} must be (batch, tokens, {width}), it is {shape}")
    return named[0].get_node().input_value(0)


def _shown(port: Any) -> str:
    return min(port.names, key=lambda name: (len(name), name), default="one without a name")[:100]


# --- from hidden states to a vector -----------------------------------------------------------------


def _mean(hidden: Node, inputs: _Inputs) -> Node:
    # No matrix product: OpenVINO computes all that follows the last one in float32, and so this sum.
    total = op.reduce_sum(op.multiply(hidden, op.unsqueeze(inputs.mask, _axes(2))), _axes(_TOKEN_AXIS))
    return op.divide(total, inputs.tokens)


def _max(hidden: Node, inputs: _Inputs) -> Node:
    return op.reduce_max(
        op.add(hidden, op.reshape(inputs.bias, op.constant(np.array([0, -1, 1], np.int64)), True)), _axes(_TOKEN_AXIS)
    )


def _cls(hidden: Node, inputs: _Inputs) -> Node:
    return op.gather(hidden, _scalar(0), _scalar(_TOKEN_AXIS))


def _last(hidden: Node, inputs: _Inputs) -> Node:
    where = op.convert(op.subtract(inputs.tokens, _float(1)), ov.Type.i64)
    return op.squeeze(op.gather(hidden, where, _scalar(_TOKEN_AXIS), batch_dims=1), _axes(1))


_POOLINGS: dict[str, Callable[[Node, _Inputs], Node]] = {"mean": _mean, "max": _max, "cls": _cls, "last": _last}


def _head(card: Card, hidden: Node, inputs: _Inputs) -> Node:
    pooled = [_POOLINGS[pooling](hidden, inputs) for pooling in card.pooling]
    vector = pooled[0] if len(pooled) == 1 else op.concat(pooled, _LAST_AXIS)
    for dense in card.dense:
        vector = _dense(dense, vector)
    if card.normalize:
        # 1e-12 is the floor of torch.nn.functional.normalize.
        length = op.sqrt(op.reduce_sum(op.multiply(vector, vector), _axes(_LAST_AXIS), True))
        vector = op.divide(vector, op.maximum(length, _float(1e-12)))
    return vector


def _dense(dense: Dense, vector: Node) -> Node:
    weights = Weights([dense.weights])
    matrix = weights.shaped("linear.weight", dense.out_features, dense.in_features)
    product = op.matmul(vector, _constant(matrix), False, True)
    if dense.bias:
        product = op.add(product, _constant(weights.shaped("linear.bias", dense.out_features)))
    return _activate(product, dense.activation)


# --- small nodes ------------------------------------------------------------------------------------


def _parameter(name: str, kind: ov.Type) -> Node:
    parameter = op.parameter(ov.PartialShape([-1, -1]), kind, name=name)
    parameter.output(0).set_names({name})
    return parameter


def _length(ids: Node) -> Node:
    """How many tokens each text of this call has, as a vector of one."""
    return op.gather(op.shape_of(ids), _axes(_TOKEN_AXIS), _scalar(0))


def _constant(array: Tensor) -> Node:
    return op.constant(np.ascontiguousarray(array))


def _axes(*values: int) -> Node:
    return op.constant(np.array(values, np.int64))


def _scalar(value: int) -> Node:
    return op.constant(np.int64(value))


def _float(value: float) -> Node:
    return op.constant(np.float32(value))
