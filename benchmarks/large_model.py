"""A model of all-mpnet-base-v2's shape, with random weights: what speed and memory depend on, without the download."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from embedmill.models import locate

_LAYERS, _WIDTH, _INNER, _HEADS = 12, 768, 3072, 12
_VOCABULARY, _POSITIONS, _BUCKETS = 30_527, 514, 32
_DEVIATION = 0.02  # of the weights, as BERT's are initialised

_CONFIG = {
    "architectures": ["MPNetModel"],
    "model_type": "mpnet",
    "hidden_act": "gelu",
    "hidden_size": _WIDTH,
    "intermediate_size": _INNER,
    "num_attention_heads": _HEADS,
    "num_hidden_layers": _LAYERS,
    "max_position_embeddings": _POSITIONS,
    "relative_attention_num_buckets": _BUCKETS,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "vocab_size": _VOCABULARY,
}


def make(folder: Path, max_tokens: int = 384) -> Path:
    """Write the model's 440 MB; texts are tokenised as for the default model, whose vocabulary is smaller."""
    tokens = locate("all-MiniLM-L6-v2").folder
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "modules.json"):
        shutil.copy(tokens / name, folder / name)
    shutil.copytree(tokens / "1_Pooling", folder / "1_Pooling")
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    pooling["word_embedding_dimension"] = _WIDTH
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "config.json").write_text(json.dumps(_CONFIG))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": max_tokens}))
    _write(folder / "model.safetensors", dict(_shapes()))
    return folder


def _shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    def dense(name: str, outputs: int, inputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from ((f"{name}.weight", (outputs, inputs)), (f"{name}.bias", (outputs,)))

    def norm(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from ((f"{name}.LayerNorm.weight", (_WIDTH,)), (f"{name}.LayerNorm.bias", (_WIDTH,)))

    yield "embeddings.word_embeddings.weight", (_VOCABULARY, _WIDTH)
    yield "embeddings.position_embeddings.weight", (_POSITIONS, _WIDTH)
    yield from norm("embeddings")
    yield "encoder.relative_attention_bias.weight", (_BUCKETS, _HEADS)
    for number in range(_LAYERS):
        layer = f"encoder.layer.{number}"
        for part in "qkvo":
            yield from dense(f"{layer}.attention.attn.{part}", _WIDTH, _WIDTH)
        yield from norm(f"{layer}.attention")
        yield from dense(f"{layer}.intermediate.dense", _INNER, _WIDTH)
        yield from dense(f"{layer}.output.dense", _WIDTH, _INNER)
        yield from norm(f"{layer}.output")


def _write(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Safetensors: the length of the header, 8 bytes; the header, JSON; the tensors, one after another."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    chance = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for name, shape in shapes.items():
            values = chance.standard_normal(shape, np.float32) * np.float32(_DEVIATION)
            file.write((values + 1 if name.endswith("LayerNorm.weight") else values).astype("<f4").tobytes())
