"""What a model's files say about how a text becomes a vector.

The layout is that of sentence-transformers, old and new: modules.json lists the steps, config.json describes
the transformer, sentence_bert_config.json its length, config_sentence_transformers.json the prompts. A folder
without modules.json is a plain transformer, which is pooled by the mean, as sentence-transformers does.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from embedmill.core.errors import ModelError, UnsupportedModel
from embedmill.core.interfaces.embedder import Task
from embedmill.core.spaces import Space
from embedmill.models import files as layout
from embedmill.models.architectures import ARCHITECTURES, COVERED
from embedmill.models.architectures.encoder import Transformer
from embedmill.models.digest import file_sha256
from embedmill.models.files import ModelFiles, read_modules, safetensors_files
from embedmill.models.head import Dense, Pooling, read_head
from embedmill.models.json_config import Config
from embedmill.models.refusals import (
    OFFSET_POSITIONS,
    known_similarity,
    refuse_heads,
    refuse_other_kinds,
    refuse_other_uses,
    refuse_unknown_pooling,
    tokenizer_overrides,
)

log = logging.getLogger(__name__)

# The first serves all architectures; old versions of sentence-transformers named it after the architecture.
_NAMED_AFTER = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
LENGTH_FILES = tuple(f"sentence_{name}_config.json" for name in _NAMED_AFTER)


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The transformer's weights, in the format that will be read."""

    kind: Literal["safetensors", "openvino", "onnx"]
    paths: tuple[Path, ...]  # safetensors: one or more parts; else the graph, then the file with its constants


@dataclass(frozen=True, slots=True)
class Card:
    """How a text becomes a vector: transformer, pooling, dense layers, normalisation."""

    folder: Path  # where the transformer's own files lie, the tokenizer's among them
    architecture: str  # as config.json names it
    transformer: Transformer | None  # None where the architecture is not in COVERED
    weights: WeightFiles
    pooling: tuple[Pooling, ...]  # several are concatenated in this order
    dense: tuple[Dense, ...]
    normalize: bool  # L2, as the last step
    prompts: tuple[str, str]  # put before a document, before a query
    max_tokens: int  # special tokens included
    do_lower_case: bool  # before the tokenizer's own normalisation
    tokenizer_overrides: Mapping[str, Any]  # of the tokenizer's own settings
    pad_token_id: int
    hidden_size: int  # numbers that the transformer gives for each token
    vocab_size: int | None  # a token's id is below it; None where no file says
    dimension: int
    similarity: str  # "cosine", "dot" or "euclidean"

    @property
    def padding(self) -> int:
        """The id that stands behind a shorter text's tokens, where the mask says that there is none."""
        return self.pad_token_id if self.vocab_size is None or self.pad_token_id < self.vocab_size else 0

    def prompt(self, task: Task) -> str:
        """What is put before a text of this task; "" for nothing."""
        return self.prompts[task == "query"]

    def space(self, weights: str, tokenizer: str) -> Space:
        """The space of this model's vectors, from the digests of its weights and its tokenizer."""
        return Space(
            weights=weights,
            tokenizer=tokenizer,
            pooling="+".join(self.pooling),
            normalize=self.normalize,
            prompt=self.prompt("document"),
            max_tokens=self.max_tokens,
            dimension=self.dimension,
            query_prompt=self.prompt("query"),
            similarity=self.similarity,
        )


def weights_sha256(card: Card) -> str:
    """SHA-256 over all weights, and over the settings without which the same weights give other vectors.

    Large files are hashed once and remembered (see `digest`).
    """
    settings = asdict(card.transformer) if card.transformer else {}
    dense = [(layer.activation, file_sha256(layer.weights)) for layer in card.dense]
    parts = [[file_sha256(path) for path in card.weights.paths], settings, dense]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_card(files: ModelFiles, *, document_prompt: str | None = None, query_prompt: str | None = None) -> Card:
    """Read the model's configuration; no weights are loaded. Prompts that are given stand in place of the card's.

    Raises `ModelError` for incomplete or damaged files, `UnsupportedModel` for what cannot be computed here.
    """
    layout.check_complete(files.folder)
    modules = read_modules(files.folder)
    root = modules[0].folder if modules else files.folder
    config = Config.read(root / "config.json")
    architecture = _architecture(config)
    if not modules:
        refuse_heads(config, architecture)
    weights = weights_of(root, config)
    if not modules:
        refuse_unknown_pooling(files.folder, config, architecture)
        log.warning("%s has no modules.json: mean pooling, vectors not normalised", files.name)
    settings = Config.read_if_there(files.folder / "config_sentence_transformers.json")
    refuse_other_kinds(settings)
    hidden = config.integer(config.first("hidden_size", "dim", "d_model", "n_embd"), high=1 << 16)
    prompts = _prompts(settings)
    prompts = (
        prompts[0] if document_prompt is None else document_prompt,
        prompts[1] if query_prompt is None else query_prompt,
    )
    pooling, dense, normalize = read_head(modules, hidden, prompted=any(prompts))
    lengths = next((root / name for name in LENGTH_FILES if (root / name).exists()), root / LENGTH_FILES[0])
    length = Config.read_if_there(lengths)
    refuse_other_uses(length)
    default_pad = 1 if config.text("model_type", "") in OFFSET_POSITIONS else 0
    pad = config.integer("pad_token_id", default_pad, low=0)
    return Card(
        folder=root,
        architecture=architecture,
        transformer=_transformer(config, architecture, pad),
        weights=weights,
        pooling=pooling,
        dense=dense,
        normalize=normalize,
        prompts=prompts,
        max_tokens=_max_tokens(root, config, length, pad),
        do_lower_case=length.boolean("do_lower_case", False),
        tokenizer_overrides=tokenizer_overrides(length),
        pad_token_id=pad,
        hidden_size=hidden,
        vocab_size=config.integer("vocab_size") if config.has("vocab_size") else None,
        dimension=dense[-1].out_features if dense else hidden * len(pooling),
        similarity=known_similarity(settings),
    )


def _architecture(config: Config) -> str:
    names = config.value("architectures")
    if names is None:
        return config.text("model_type")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise config.wrong("architectures", "a list of names", names)
    return names[0]


def builds_graph(config: Config) -> bool:
    """Whether the graph can be built from safetensors, going by the model's config.json.

    Not where the repository brings code: that may compute something else under the same name.
    """
    return _architecture(config) in COVERED and not config.has("auto_map")


def weights_of(root: Path, config: Config) -> WeightFiles:
    """The format to read: safetensors where the graph can be built from them, else a ready graph.

    Raises `UnsupportedModel` where there is neither.
    """
    architecture = _architecture(config)
    parts = safetensors_files(root)
    if parts and builds_graph(config):
        if config.has("quantization_config"):
            raise UnsupportedModel(f"{config.path}: quantised weights are not supported; take files in ONNX format")
        return WeightFiles("safetensors", parts)
    for name in layout.OPENVINO:
        path = root / name
        if path.is_file():
            constants = path.with_suffix(".bin")
            if not constants.is_file():
                raise ModelError(f"{constants}: missing: fetch the model again")
            return WeightFiles("openvino", (path, constants))
    for name in layout.ONNX:
        path = root / name
        if path.is_file():
            return WeightFiles("onnx", layout.onnx_files(path))
    if config.has("auto_map"):
        raise UnsupportedModel(
            f"{config.path}: {architecture} needs Python code from the repository ('auto_map'), which is"
            " never run here; take a model that needs none, or files in ONNX or OpenVINO format"
        )
    raise UnsupportedModel(
        f"{config.path}: the architecture {architecture[:100]} is not covered; take one of"
        f" {', '.join(sorted(COVERED))}, or files in ONNX or OpenVINO format"
        " (onnx/model.onnx, openvino/openvino_model.xml)"
    )


def _transformer(config: Config, name: str, pad: int) -> Transformer | None:
    """The transformer's numbers; None where its graph is not built here."""
    if name not in COVERED:
        return None
    by_class = next(each for each in ARCHITECTURES.values() if name in each.classes)
    return ARCHITECTURES.get(config.text("model_type"), by_class).read(config, pad)


def _unused_positions(model_type: str, pad: int) -> int:
    """How many rows of the position table no token gets."""
    if model_type in ARCHITECTURES:
        return ARCHITECTURES[model_type].unused_positions
    return pad + 1 if model_type in OFFSET_POSITIONS else 0


def _prompts(settings: Config) -> tuple[str, str]:
    """For documents and for queries, under the names that sentence-transformers looks for."""
    prompts = settings.object("prompts")
    default_name = settings.text("default_prompt_name", "")
    default = prompts.text(default_name, "") if default_name else ""
    document = [prompts.text(name) for name in ("document", "passage", "corpus") if prompts.has(name)]
    return next((text for text in document if text), "" if document else default), prompts.text("query", default)


def _max_tokens(root: Path, config: Config, length: Config, pad: int) -> int:
    """The smallest limit that applies, special tokens included.

    sentence_bert_config.json's goes before the tokenizer's; since sentence-transformers 6 it is only with the
    tokenizer. No limit may exceed the table of positions.
    """
    tokenizer = Config.read_if_there(root / "tokenizer_config.json")
    arguments = length.object(length.first("processor_kwargs", "tokenizer_args"))
    asked = arguments.limit("model_max_length") or length.limit("max_seq_length") or tokenizer.limit("model_max_length")
    table = config.first("max_position_embeddings", "n_positions")
    if table == "n_positions" and not config.has("n_embd"):  # T5 counts distances, whatever that field says
        table = "max_position_embeddings"
    positions = config.limit(table) if config.value(table) != -1 else None
    if positions is not None:
        positions -= _unused_positions(config.text("model_type", ""), pad)
    limits = [limit for limit in (asked, positions) if limit is not None]
    if not limits:
        raise ModelError(f"{length.path}: 'max_seq_length' is missing, and no other file has the model's limit")
    if min(limits) < 3:
        raise ModelError(f"{length.path}: a limit of {min(limits)} tokens leaves no room for text")
    return min(limits)
