"""What a model's files may ask for that is not computed here: each is refused by name, before anything is embedded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embedmill.core.errors import ModelError, UnsupportedModel
from embedmill.models.json_config import Config


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SIMILARITIES = ("cosine", "dot", "euclidean")
"""By what vectors may be compared, as sentence-transformers names it."""

# Their position ids begin at padding id + 1, so that this many rows of the table are never used.
OFFSET_POSITIONS = _words("""
    camembert data2vec-text ibert layoutlmv3 lilt longformer luke mpnet roberta roberta-prelayernorm
    xlm-roberta xlm-roberta-xl xmod
""")

# Encoders, whose tokens all see the whole text. Without modules.json their mean is taken, as sentence-transformers
# does; a decoder's mean is no such convention.
_ENCODERS = OFFSET_POSITIONS | _words("""
    albert bert big_bird convbert deberta deberta-v2 distilbert electra ernie eurobert fnet funnel gte
    megatron-bert mobilebert modernbert mt5 neobert new nomic_bert nystromformer rembert roformer
    squeezebert t5 xlnet
""")

# Where and how to load, and by which kernels to compute: none of it changes what is computed.
_HARMLESS = _words("""
    attn_implementation cache_dir device_map dtype local_files_only low_cpu_mem_usage revision token
    torch_dtype trust_remote_code use_safetensors
""")


def refuse_heads(config: Config, architecture: str) -> None:
    """Without modules.json nothing but the architecture's name tells an embedding model from others."""
    for ending, what in (
        ("ForSequenceClassification", "a classifier or reranker"),
        ("ForTokenClassification", "a token classifier"),
        ("ForQuestionAnswering", "a question answerer"),
        ("ForCausalLM", "a text generator"),
        ("LMHeadModel", "a text generator"),
        ("ForConditionalGeneration", "a text generator"),
        ("ForMultipleChoice", "a classifier"),
        ("ForNextSentencePrediction", "a classifier"),
    ):
        if architecture.endswith(ending):
            raise UnsupportedModel(f"{config.path}: {architecture} is {what}, no embedding model; take another model")


def refuse_unknown_pooling(folder: Path, config: Config, architecture: str) -> None:
    """Without modules.json, the mean is only a convention for encoders; what says otherwise is not passed over."""
    for path in sorted(folder.glob("*_Pooling/config.json")):
        raise ModelError(f"{folder}: modules.json is missing, and {path.parent.name} is there: fetch the model again")
    kind = config.text("model_type", "")
    if kind not in _ENCODERS or config.boolean("is_decoder", False):
        raise UnsupportedModel(
            f"{folder}: no modules.json says how the tokens of {architecture} ({kind or 'no model_type'}) become one "
            "vector; take a model that sentence-transformers has saved"
        )


def refuse_other_uses(length: Config) -> None:
    """What the transformer's own settings may ask for beside its length: other outputs, other inputs, other weights."""
    task = length.text("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        raise UnsupportedModel(f"{length.path}: the task {task[:100]!r} is not supported")
    modality = length.object("modality_config")
    if modality.names():
        method, output = (modality.object("text").value(name) for name in ("method", "method_output_name"))
        if (method, output) not in (("forward", "last_hidden_state"), ("forward", ["last_hidden_state"])):
            raise UnsupportedModel(f"{length.path}: texts by {method!r} giving {output!r} are not supported")
    for name in ("processing_kwargs", "query_expansion", "query_length", "document_length"):
        if length.value(name):
            raise UnsupportedModel(f"{length.path}: {name!r} is not supported")
    for name in ("model_kwargs", "model_args", "config_kwargs", "config_args"):
        for setting in length.object(name).names():
            if setting not in _HARMLESS:
                raise UnsupportedModel(f"{length.path}: {setting[:100]!r} in {name!r} is not supported")


def refuse_other_kinds(settings: Config) -> None:
    """Models of sentence-transformers that do not give one dense vector of the transformer's own width."""
    kind = settings.text("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise UnsupportedModel(f"{settings.path}: a {kind} gives no single dense vector; take another model")
    if settings.has("truncate_dim"):
        raise UnsupportedModel(f"{settings.path}: 'truncate_dim' is not supported; take another model")


# Settings of the tokenizer that the transformer's own may override, and that are followed here.
_FOLLOWED = _words("""
    add_prefix_space do_lower_case model_max_length padding padding_side split_by_punct split_special_tokens
    strip_accents tokenize_chinese_chars truncation truncation_side use_fast
""")


def tokenizer_overrides(length: Config) -> dict[str, Any]:
    """Settings of the tokenizer beside its own: they go before those of tokenizer_config.json."""
    given = length.object(length.first("processor_kwargs", "tokenizer_args"))
    for name in given.names():
        if name not in _FOLLOWED | _HARMLESS:
            raise UnsupportedModel(f"{length.path}: the tokenizer's setting {name[:100]!r} is not supported")
    return {name: given.value(name) for name in given.names() if name in _FOLLOWED}


def known_similarity(settings: Config) -> str:
    """How the model's vectors are compared: one of `SIMILARITIES`."""
    similarity = settings.text("similarity_fn_name", "cosine")
    if similarity not in SIMILARITIES:
        raise UnsupportedModel(
            f"{settings.path}: vectors that are compared by {similarity[:100]!r} are not supported, "
            f"only by {', '.join(SIMILARITIES)}"
        )
    return similarity
