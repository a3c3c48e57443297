"""One engine in a process of its own, so that several can take turns on the same texts.

    python engines.py NAME '{"model": FOLDER, "threads": 2, "limit": 256, ...}'

Runs with the Python that has the engine's packages. Loads, and says on stdout that it is ready; then answers each
line of JSON on stdin, ``{"texts": FILE, "batch": 32, "first": N or null, "save": FILE or null}``, with
``{"seconds": S}``: the time from a list of texts to an array of vectors, tokenising included.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

Encode = Callable[[Sequence[str], int], Any]
"""Texts and the batch's size, which an engine may choose by itself, to an array ``(texts, dimension)``."""


def embedmill(model: str, threads: int, limit: int, precision: str) -> Encode:
    from embedmill import load_embedder

    embedder = load_embedder(model, precision=precision, threads=threads)
    if embedder.max_tokens != limit:
        raise SystemExit(f"the model reads {embedder.max_tokens} tokens, not {limit}")
    embedder.load()
    return lambda texts, batch: embedder.embed(texts)


def sentence_transformers(model: str, threads: int, limit: int, backend: str, dtype: str | None = None) -> Encode:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    kwargs = {"dtype": getattr(torch, dtype)} if dtype else {}
    transformer = SentenceTransformer(model, device="cpu", backend=backend, model_kwargs=kwargs)
    transformer.max_seq_length = limit
    return lambda texts, batch: transformer.encode(list(texts), batch_size=batch, show_progress_bar=False)


def fastembed(model: str, threads: int, limit: int) -> Encode:
    from fastembed import TextEmbedding

    with tempfile.TemporaryDirectory() as folder:
        _onnx_model(Path(model), Path(folder), limit)
        name = "sentence-transformers/all-MiniLM-L6-v2"
        embedding = TextEmbedding(name, threads=threads, specific_model_path=folder, providers=["CPUExecutionProvider"])
    return lambda texts, batch: np.stack(list(embedding.embed(texts, batch_size=batch)))


def _onnx_model(model: Path, folder: Path, limit: int) -> None:
    """The same weights as ONNX, with the tokenizer's files and the same limit of tokens."""
    import torch
    from transformers import AutoModel

    transformer = AutoModel.from_pretrained(model).eval()

    class States(torch.nn.Module):  # type: ignore[misc]
        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
            return transformer(**inputs).last_hidden_state

    names = ("input_ids", "attention_mask", "token_type_ids")
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    torch.onnx.export(
        States(),
        tuple(torch.ones(2, 7, dtype=torch.int64) for _ in names),
        str(folder / "model.onnx"),
        input_names=names,
        output_names=["last_hidden_state"],
        dynamic_shapes=dict.fromkeys(names, free),
        external_data=False,
        dynamo=True,
    )
    for file in model.glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model_max_length": limit}))


ENGINES: dict[str, Callable[..., Encode]] = {
    "embedmill": embedmill,
    "sentence-transformers": sentence_transformers,
    "fastembed": fastembed,
}

_PACKAGES = ("sentence-transformers", "torch", "transformers", "optimum-intel", "openvino", "fastembed", "onnxruntime")


def main() -> None:
    # Libraries print to stdout as they like: the answers keep it for themselves.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    name, options = sys.argv[1:]
    started = time.perf_counter()
    encode = ENGINES[name](**json.loads(options))
    loaded = {"seconds": time.perf_counter() - started, "versions": _versions()}
    print(json.dumps(loaded), file=answers)
    for line in sys.stdin:
        order = json.loads(line)
        texts = json.loads(Path(order["texts"]).read_text())[: order["first"]]
        started = time.perf_counter()
        vectors = encode(texts, order["batch"])
        seconds = time.perf_counter() - started
        assert len(vectors) == len(texts)
        if order["save"]:
            np.save(order["save"], np.asarray(vectors, np.float32))
        print(json.dumps({"seconds": seconds}), file=answers)


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
