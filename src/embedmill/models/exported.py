"""Graphs that a repository ships, in ONNX or OpenVINO's format: token ids in, the tokens' hidden states out."""

from __future__ import annotations

from typing import Any

import openvino as ov
from openvino import opset15 as op

from embedmill.core.errors import ModelError, UnsupportedModel
from embedmill.models.architectures.layers import Inputs, Node
from embedmill.models.card import Card
from embedmill.models.onnx import without_links

_ROLES = {"input_ids", "attention_mask", "token_type_ids"}

_HIDDEN = ("last_hidden_state", "token_embeddings")
"""What exporters call the tokens' last hidden states: transformers and optimum, and sentence-transformers."""


def hidden_states(card: Card, inputs: Inputs) -> Node:
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
        if role == "token_type_ids":
            feed = op.broadcast(op.constant(0, kind), op.shape_of(inputs.ids))
        else:
            feed = op.convert(inputs.ids if role == "input_ids" else inputs.mask, kind)
        port.replace(feed.output(0))
    for role in ("input_ids", "attention_mask"):
        if role not in fed:
            # Without a mask, a text's vector would depend on the padding that longer texts bring.
            raise UnsupportedModel(f"{path} has no input {role!r}: export the model again, with it")
    hidden = _output(card, model)
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


def _output(card: Card, model: Any) -> Node:
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
