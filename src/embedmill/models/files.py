"""A folder of model files: its modules, and whether it has all that a model needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from embedmill.core.errors import ModelError, UnsupportedModel
from embedmill.models import safetensors
from embedmill.models.json_config import Config, read_json
from embedmill.models.onnx import external_files

SAFETENSORS = "model.safetensors"
ADAPTER = "adapter_config.json"
SAFETENSORS_INDEX = "model.safetensors.index.json"
OPENVINO = ("openvino/openvino_model.xml", "openvino_model.xml")
ONNX = ("onnx/model.onnx", "model.onnx")
TOKENIZERS = ("tokenizer.json", "vocab.txt")
_LONGEST_NAME = 255  # bytes, of a file's name in common file systems
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")  # never read: unpickling runs code


class NotThere(ModelError):
    """A place has nothing under the model's name, or was not asked."""


class Unreachable(NotThere):
    """A place on the network does not answer, or must not be asked."""


class BrokenOff(ModelError):
    """A place on the network has the model, and it could not be fetched to the end."""


class Forbidden(ModelError):
    """A place has the model, and does not give it to this user."""


class NoSpace(ModelError):
    """The model could be fetched, and there is no room for it."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model's files lie."""

    name: str  # for people and for `locate` at a later time: a repository's id or an absolute path
    folder: Path
    origin: str  # "path", "package", "model cache", "hugging face cache", "hub" or "package index"


@dataclass(frozen=True, slots=True)
class Module:
    """One step of a sentence-transformers model."""

    kind: str  # "Transformer", "Pooling", "Dense", "Normalize" or "Dropout"
    folder: Path  # of its own files


def read_modules(folder: Path) -> tuple[Module, ...]:
    """The steps that modules.json lists; none where the folder has no such file.

    Raises `ModelError` for a damaged file, `UnsupportedModel` for a step that is not known here.
    """
    path = folder / "modules.json"
    if not path.exists():
        return ()
    entries = read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ModelError(f"{path}: must hold a list of objects")
    modules = []
    for entry in entries:
        config = Config(path, entry)
        modules.append(Module(_kind(path, config.text("type")), _below(folder, path, config.text("path", ""))))
    if not modules or modules[0].kind != "Transformer":
        raise UnsupportedModel(f"{path}: the first module must be a Transformer; take another model")
    return tuple(modules)


def check_complete(folder: Path) -> None:
    """Raise `ModelError` where a folder lacks what a usable model needs, or a weights file is cut short."""
    modules = read_modules(folder)
    root = modules[0].folder if modules else folder
    for module in modules:
        if module.kind in ("Pooling", "Dense") and not (module.folder / "config.json").is_file():
            raise ModelError(f"{module.folder}: config.json is missing: this is no complete model")
        if module.kind == "Dense" and (module.folder / SAFETENSORS).is_file():
            safetensors.tensors(module.folder / SAFETENSORS)
    for place in {root, folder}:
        if (place / ADAPTER).is_file():
            raise UnsupportedModel(
                f"{place / ADAPTER}: an adapter (LoRA) that would change the weights is not applied here: "
                "merge it into them with peft's merge_and_unload, save the model, and remove the adapter's files"
            )
    if not (root / "config.json").is_file():
        raise ModelError(f"{root}: config.json is missing: this is no complete model")
    if not any((root / name).is_file() for name in TOKENIZERS):
        raise ModelError(f"{root}: tokenizer.json is missing: this is no complete model")
    parts = safetensors_files(root)
    for part in parts:
        safetensors.tensors(part)
    if not parts and not any((root / name).is_file() for name in (*OPENVINO, *ONNX)):
        if any((root / name).is_file() for name in PICKLED):
            raise UnsupportedModel(
                f"{root}: {SAFETENSORS} is missing; its pytorch_model.bin is pickled, which is never read: "
                "take a model with safetensors, or files in ONNX or OpenVINO format"
            )
        raise ModelError(f"{root}: {SAFETENSORS} is missing: this is no complete model")


def onnx_files(graph: Path) -> tuple[Path, ...]:
    """An ONNX graph and the files beside it that have its weights.

    Raises `ModelError` for a damaged graph, and for one that names a file which is not there.
    """
    beside = [path for ending in ("_data", ".data") if (path := graph.with_name(graph.name + ending)).is_file()]
    for name in external_files(graph):
        path = _below(graph.parent, graph, name)
        if not path.is_file():
            raise ModelError(f"{path}: missing, {graph.name} keeps weights in it: fetch the model again")
        if path not in beside:
            beside.append(path)
    return (graph, *beside)


def safetensors_files(root: Path) -> tuple[Path, ...]:
    """The safetensors files in the transformer's folder: one, the parts that the index names, or none."""
    if (root / SAFETENSORS).is_file():
        return (root / SAFETENSORS,)
    index = root / SAFETENSORS_INDEX
    if not index.is_file():
        return ()
    weights = Config.read(index).object("weight_map")
    names = sorted({weights.text(name) for name in weights.names()})
    if not names:
        raise ModelError(f"{index}: names no files: fetch the model again")
    return tuple(_below(root, index, name) for name in names)


def _kind(path: Path, name: str) -> str:
    """The known module that a class path means; both old and new packages of sentence-transformers."""
    known = re.fullmatch(r"sentence_transformers\.(?:\w+\.)*(\w+)", name)
    kind = known[1] if known else ""
    if kind in ("Transformer", "Pooling", "Dense", "Normalize", "Dropout"):
        return kind
    shown = name if len(name) <= 100 else name[:100] + "..."
    if not known:
        raise UnsupportedModel(
            f"{path}: the module {shown!r} needs Python code from the repository, which is never run here;"
            " take another model"
        )
    raise UnsupportedModel(f"{path}: the module {shown!r} is not supported; take another model")


def _below(folder: Path, source: Path, name: str) -> Path:
    """A path inside the folder. Raises `ModelError` for one that leads out of it."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in parts:
        raise ModelError(f"{source}: the path {name[:100]!r} leads out of the model's folder")
    if len(name.encode(errors="replace")) > _LONGEST_NAME:
        raise ModelError(f"{source}: the path {name[:20]!r}... is longer than any file's")
    return folder.joinpath(*parts)
