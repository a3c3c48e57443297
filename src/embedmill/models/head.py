"""What a model's files say of what follows the transformer: pooling, dense layers, normalising (see `graph`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedmill.core.errors import ModelError, UnsupportedModel
from embedmill.models.files import SAFETENSORS, Module
from embedmill.models.json_config import Config

Pooling = Literal["cls", "max", "mean", "last"]

# In sentence-transformers' order of concatenation (`_LEGACY_POOLING_MODE_KWARGS` in its Pooling module).
_POOLING_FLAGS: dict[str, str] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLINGS: dict[str, Pooling] = {"cls": "cls", "max": "max", "mean": "mean", "lasttoken": "last"}

_ACTIVATIONS = {
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
}


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer on the pooled vector, followed by its activation."""

    in_features: int
    out_features: int
    bias: bool
    activation: Literal["tanh", "identity", "relu", "gelu", "sigmoid"]
    weights: Path  # safetensors with "linear.weight" (out, in) and, with a bias, "linear.bias"


def read_head(
    modules: Sequence[Module], hidden: int, *, prompted: bool
) -> tuple[tuple[Pooling, ...], tuple[Dense, ...], bool]:
    """What comes after the transformer: one pooling, then dense layers, then perhaps normalisation."""
    if not modules:
        return ("mean",), (), False
    pooling: tuple[Pooling, ...] = ()
    dense: list[Dense] = []
    normalize = False
    width = hidden
    for module in modules[1:]:
        path = module.folder / "config.json"
        if module.kind == "Dropout":  # does nothing once a model is trained
            continue
        if module.kind == "Normalize" and pooling:
            _refuse_other_values(Config.read_if_there(path))
            normalize = True
        elif module.kind == "Pooling" and not pooling:
            pooling = _pooling(Config.read(path), hidden, prompted=prompted)
            width *= len(pooling)
        elif module.kind == "Dense" and pooling and not normalize:
            dense.append(_dense(Config.read(path), width))
            width = dense[-1].out_features
        else:
            raise UnsupportedModel(f"{module.folder}: a {module.kind} module at this place is not supported")
    if not pooling:
        raise UnsupportedModel(f"{modules[0].folder}: modules.json has no Pooling: it gives no vector for a text")
    return pooling, tuple(dense), normalize


def _pooling(config: Config, hidden: int, *, prompted: bool) -> tuple[Pooling, ...]:
    modes = config.value("pooling_mode")
    if modes is None:
        modes = [mode for flag, mode in _POOLING_FLAGS.items() if config.boolean(flag, False)] or ["mean"]
    elif isinstance(modes, str):
        modes = [modes]
    if not isinstance(modes, list) or not modes or not all(isinstance(mode, str) for mode in modes):
        raise config.wrong("pooling_mode", "a name or a list of names", modes)
    for mode in modes:
        if mode not in _POOLINGS:
            raise UnsupportedModel(f"{config.path}: pooling by {mode!r} is not supported; take another model")
    if prompted and not config.boolean("include_prompt", True):
        raise UnsupportedModel(f"{config.path}: pooling without the prompt's tokens is not supported")
    width = config.first("embedding_dimension", "word_embedding_dimension")
    if config.integer(width) != hidden:
        raise config.wrong(width, f"the transformer's hidden size {hidden}", config.value(width))
    return tuple(_POOLINGS[mode] for mode in modes)


def _dense(config: Config, width: int) -> Dense:
    _refuse_other_values(config)
    if config.boolean("use_residual", False):
        raise UnsupportedModel(f"{config.path}: a Dense module with a residual is not supported")
    activation = config.text("activation_function", "torch.nn.modules.activation.Tanh")
    if activation not in _ACTIVATIONS:
        raise UnsupportedModel(f"{config.path}: the activation {activation[:100]!r} is not supported")
    weights = config.path.parent / SAFETENSORS
    if not weights.is_file():
        raise ModelError(f"{weights}: missing (pickled weights are never read): fetch the model again")
    layer = Dense(
        in_features=config.integer("in_features"),
        out_features=config.integer("out_features"),
        bias=config.boolean("bias", True),
        activation=_ACTIVATIONS[activation],  # type: ignore[arg-type]
        weights=weights,
    )
    if layer.in_features != width:
        raise config.wrong("in_features", f"the {width} numbers that the step before gives", layer.in_features)
    return layer


def _refuse_other_values(config: Config) -> None:
    """Modules may be pointed at values other than the pooled vector, which no model here has."""
    for name in ("module_input_name", "module_output_name"):
        if config.text(name, "sentence_embedding") != "sentence_embedding":
            raise UnsupportedModel(f"{config.path}: {name!r} {config.text(name)[:100]!r} is not supported")
