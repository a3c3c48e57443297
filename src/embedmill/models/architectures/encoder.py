"""The numbers of an encoder: what config.json says of its shape."""

from __future__ import annotations

from dataclasses import dataclass

from embedmill.core.errors import ModelError, UnsupportedModel
from embedmill.models.json_config import Config


@dataclass(frozen=True, slots=True)
class Transformer:
    """The numbers of a BERT-like encoder, as config.json names them."""

    model_type: str  # as config.json names it
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    activation: str  # as in "hidden_act": "gelu", "gelu_new", "relu" ...
    layer_norm_eps: float
    vocab_size: int
    max_positions: int  # rows of the position table
    type_vocab_size: int  # 0: no token types
    pad_token_id: int
    relative_buckets: int  # MPNet's relative position bias; 0 for none


def read_encoder(config: Config, pad: int, *, type_vocab_size: int = 0, relative_buckets: int = 0) -> Transformer:
    """The numbers of an encoder whose config.json has BERT's names; defaults are those of transformers' BertConfig.

    Raises `ModelError` for damaged files, `UnsupportedModel` for what is not computed here.
    """
    positions = config.text("position_embedding_type", "absolute")
    if positions != "absolute":
        raise UnsupportedModel(f"{config.path}: position embeddings of type {positions!r} are not supported")
    if config.value("pruned_heads"):
        raise UnsupportedModel(f"{config.path}: 'pruned_heads' is not supported")
    for name in ("is_decoder", "add_cross_attention"):
        if config.boolean(name, False):
            raise UnsupportedModel(f"{config.path}: {name!r} is set: a decoder is no embedding model")
    transformer = Transformer(
        model_type=config.text("model_type"),
        hidden_size=config.integer("hidden_size", high=1 << 16),
        layers=config.integer("num_hidden_layers", high=512),
        heads=config.integer("num_attention_heads", high=1 << 12),
        intermediate_size=config.integer("intermediate_size", high=1 << 18),
        activation=config.text("hidden_act", "gelu"),
        layer_norm_eps=config.number("layer_norm_eps", 1e-12),
        vocab_size=config.integer("vocab_size"),
        max_positions=config.integer("max_position_embeddings", 512),
        type_vocab_size=type_vocab_size,
        pad_token_id=pad,
        relative_buckets=relative_buckets,
    )
    if transformer.hidden_size % transformer.heads:
        raise ModelError(
            f"{config.path}: 'hidden_size' {transformer.hidden_size} is not a multiple of"
            f" 'num_attention_heads' {transformer.heads}"
        )
    if pad >= transformer.vocab_size:
        raise config.wrong("pad_token_id", f"below 'vocab_size' {transformer.vocab_size}", pad)
    return transformer
