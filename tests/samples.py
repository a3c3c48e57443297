"""Inputs that several test files share."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from embedmill.core.interfaces.embedder import Task, TokenEmbedder
from embedmill.core.vectors import Cause, Vectors
from embedmill.engine.lists import embed_list
from embedmill.executors.threads import ThreadExecutor
from embedmill.quality.golden_file import read_golden, write_golden

_WORDS = ["vector", "search", "document", "store", "index", "chunk", "batch", "token", "model", "graph", "thread"]


def prose(seed: int, paragraphs: int) -> str:
    """Paragraphs of 25 words, others for each seed."""
    random = np.random.default_rng(seed)
    return "\n\n".join(" ".join(random.choice(_WORDS, 25)) + "." for _ in range(paragraphs))


def asked_of_all(
    embedder: TokenEmbedder, texts: Sequence[str], task: Task = "document"
) -> tuple[Vectors, dict[int, Cause]]:
    """What the model itself makes of each text, of blank ones and of equal ones too; and why some have no vector."""
    encode = partial(embedder.encode, task=task)
    return embed_list(texts, embedder.fingerprint.space, encode, ThreadExecutor(embedder).run)


def vectors_of_all(embedder: TokenEmbedder, texts: Sequence[str], task: Task = "document") -> Vectors:
    """The vectors that the model itself gives, where it gives one for each text."""
    vectors, causes = asked_of_all(embedder, texts, task)
    assert not causes
    return vectors


def copy_model(source: Path, target: Path) -> Path:
    """A model's folder under another name, to be renamed or damaged."""
    shutil.copytree(source, target)
    return target


Tensor = tuple[str, list[int], bytes]
"""Type, shape and numbers, as safetensors has them."""


def resave(model: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], **metadata: str) -> None:
    """Write a model's weights anew, changed; the file lies at `model.safetensors`, or lay there as a link."""
    path = model / "model.safetensors"
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    head = json.loads(raw[8 : 8 + size])
    head.pop("__metadata__", None)
    body = raw[8 + size :]
    tensors = change({name: (e["dtype"], e["shape"], body[slice(*e["data_offsets"])]) for name, e in head.items()})
    new: dict[str, object] = {"__metadata__": metadata}
    first = 0
    for name, (kind, shape, numbers) in tensors.items():
        new[name] = {"dtype": kind, "shape": shape, "data_offsets": [first, first + len(numbers)]}
        first += len(numbers)
    text = json.dumps(new).encode()
    path.unlink()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(each[2] for each in tensors.values()))


def in_half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights rounded to 16 bits."""
    return {
        name: ("F16", shape, np.frombuffer(numbers, "<f4").astype("<f2").tobytes())
        if kind == "F32"
        else (kind, shape, numbers)
        for name, (kind, shape, numbers) in tensors.items()
    }


def off_by(share: float) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """What makes another model of one: each weight is off by some such share."""

    def change(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        chance = np.random.default_rng(5)
        return {
            name: (
                kind,
                shape,
                (np.frombuffer(numbers, "<f4") * (1 + share * chance.standard_normal(len(numbers) // 4)))
                .astype("<f4")
                .tobytes(),
            )
            for name, (kind, shape, numbers) in tensors.items()
            if kind == "F32"
        } | {name: each for name, each in tensors.items() if each[0] != "F32"}

    return change


def turn_a_little(golden: Path) -> None:
    """Change the vectors of a golden set by less than the default tolerance, as another processor may compute them."""
    recorded = read_golden(golden)
    turned = recorded.vectors + np.float32(1e-3)
    write_golden(golden, replace(recorded, vectors=turned / np.linalg.norm(turned, axis=1, keepdims=True)))
