"""From a model's name to an embedder, in this process or in a worker."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embedmill.api.setting_values import prompt
from embedmill.api.settings import DEVICES, PRECISIONS
from embedmill.core.checks import one_of, whole_number
from embedmill.core.defaults import DEFAULT_MODEL
from embedmill.core.errors import UsageError
from embedmill.core.interfaces.embedder import Task
from embedmill.embedders.local import LocalEmbedder
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.embedders.testing import HashEmbedder, is_test_model
from embedmill.models import locate, read_card
from embedmill.models.families import known_prompts
from embedmill.runtime import machine

log = logging.getLogger(__name__)


def load_embedder(
    model: str = DEFAULT_MODEL,
    *,
    precision: str = "auto",
    device: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    streams: int | None = None,
    threads: int | None = None,
    document_prompt: str | None = None,
    query_prompt: str | None = None,
) -> LocalEmbedder:
    """Find a model and make it ready; its files are read at the first use.

    `model` is the name of a repository or a path, or, for tests, such as "test:384", which loads nothing and gives
    vectors of so many numbers that mean nothing. `precision` is "f32", "bf16" or "auto": bf16 where the
    processor computes it natively. `streams` calls of the model run at once over `threads` threads, both by
    default the cores that this process may use; one stream answers a single text soonest. `device` is "cpu", or "auto".
    `cache_dir` is where a model is looked for and kept that has to be fetched; by default embedmill's and the hub's
    own caches.
    `document_prompt` and `query_prompt` are put before each text of that task, as they are, instead of the model's
    own.

    Raises `ModelNotFound` where no place has the model, `UnsupportedModel` where its architecture is not
    covered, `ModelError` where its files are damaged, and `UsageError` for other values than these.
    """
    if device not in (None, *DEVICES):
        raise UsageError(f"device {device!r} is not covered: leave it out, or give 'cpu'")
    embedder = make_embedder(
        model,
        precision=precision,
        streams=streams,
        threads=threads,
        document_prompt=document_prompt,
        query_prompt=query_prompt,
        cache=cache_path(cache_dir),
    )
    hint_prompts(embedder)
    return embedder


def make_embedder(
    model: str,
    *,
    precision: str,
    streams: int | None = None,
    threads: int | None = None,
    document_prompt: str | None = None,
    query_prompt: str | None = None,
    fetch: bool = True,
    cache: Path | None = None,
) -> LocalEmbedder:
    """As `load_embedder`, without a word about prompts that are missing; `fetch` and `cache` are those of `locate`."""
    _check_model(model)
    one_of("precision", precision, PRECISIONS)
    for name, number in (("streams", streams), ("threads", threads)):
        if number is not None:
            whole_number(name, number, 1, machine.most_workers())
    for name, text in (("document_prompt", document_prompt), ("query_prompt", query_prompt)):
        if text is not None:
            try:
                prompt(text)
            except ValueError as error:
                raise UsageError(f"{name} is {text!r}: {error}") from None
    prompts = {"document_prompt": document_prompt, "query_prompt": query_prompt}
    embedder: LocalEmbedder
    if is_test_model(model):
        embedder = HashEmbedder(model, precision=precision, **prompts, streams=streams, threads=threads)
    else:
        files = locate(model, fetch=fetch, cache=cache)
        precision = native_precision() if precision == "auto" else precision
        card = read_card(files, **prompts)
        embedder = OpenVINOEmbedder(files.name, card, precision=precision, streams=streams, threads=threads)
    if document_prompt is not None:
        _check_room("document", embedder)
    if query_prompt is not None:
        _check_room("query", embedder)
    return embedder


def _check_model(model: object) -> None:
    if not isinstance(model, str) or not model:
        raise UsageError(f"model is {model!r}: give a repository's name or a path, as text")


def cache_path(cache_dir: object) -> Path | None:
    """A folder that a caller gives for models. Raises `UsageError` for what is no path."""
    if cache_dir is None:
        return None
    if not isinstance(cache_dir, str | os.PathLike) or not isinstance(path := os.fspath(cache_dir), str) or not path:
        raise UsageError(f"cache_dir is {cache_dir!r}: give a folder, as text or pathlib.Path")
    return Path(path).expanduser().absolute()


def _check_room(task: Task, embedder: LocalEmbedder) -> None:
    tokens = embedder.encode([""], task=task, truncate=False)[0].size
    if tokens >= embedder.max_tokens:
        raise UsageError(
            f"{task}_prompt has {tokens:,} tokens, and {embedder.name} reads {embedder.max_tokens:,} in all: nothing "
            "is left for the text; give a shorter one"
        )


def hint_prompts(embedder: LocalEmbedder) -> None:
    """Name, once in a process, the prompts that the model's family was trained with, where it goes without."""
    space = embedder.fingerprint.space
    known = known_prompts(embedder.name)
    if known is None:
        return
    lacking = {"document": "" if space.prompt else known.document, "query": "" if space.query_prompt else known.query}
    if wanted := " and ".join(f"--{task}-prompt {text!r}" for task, text in lacking.items() if text):
        _say(f"{embedder.name} was trained with prompts that its files do not have: for its best, give {wanted}")


@functools.cache
def _say(line: str) -> None:
    log.warning(line)


def native_precision() -> str:
    """The precision that "auto" stands for on this machine."""
    return "bf16" if machine.computes_bf16() else "f32"


def worker_factory(
    model: str = DEFAULT_MODEL,
    precision: str = "auto",
    *,
    document_prompt: str | None = None,
    query_prompt: str | None = None,
    cache: Path | None = None,
) -> Callable[[int], LocalEmbedder]:
    """What makes the embedder of a worker process: as `load_embedder`, with a stream for each thread.

    The model is looked for here, so that no worker has to. Raises what `load_embedder` raises where it is not found.
    """
    _check_model(model)
    return functools.partial(
        _worker_embedder,
        model if is_test_model(model) else str(locate(model, cache=cache).folder),
        precision=precision,
        document_prompt=document_prompt,
        query_prompt=query_prompt,
    )


def _worker_embedder(model: str, threads: int, **how: Any) -> LocalEmbedder:
    return make_embedder(model, streams=threads, threads=threads, **how)
