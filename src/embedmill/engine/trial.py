"""Whether an embedder does what embedders do: one text is embedded, before any that count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from embedmill.core.checks import whole_number
from embedmill.core.errors import ModelError, ModelValidationError, UsageError
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Batch, Cause, Vectors
from embedmill.engine.run import RunBatches
from embedmill.engine.validation import VectorValidator, given_vectors

_TEXT: Final = "The quick brown fox jumps over the lazy dog."

_NUMBERS: Final = ("dimension", "max_tokens", "workers", "concurrency")
_ATTRIBUTES: Final = ("name", "fingerprint", *_NUMBERS)
_METHODS: Final = ("load", "encode", "infer", "embed", "close")


def check_embedder(embedder: object) -> None:
    """Raise `ModelValidationError` where an embedder lacks something, or says of itself what cannot be."""
    missing = [name for name in _METHODS if not callable(getattr(embedder, name, None))]
    missing += [name for name in _ATTRIBUTES if not hasattr(embedder, name)]
    if missing:
        raise ModelValidationError(
            f"a {type(embedder).__name__} is no embedder, it lacks {', '.join(missing)}: see embedmill.TokenEmbedder"
        )
    if wrong := next(_wrong(embedder), None):
        raise ModelValidationError(f"a {type(embedder).__name__} is no embedder, {wrong}: see embedmill.TokenEmbedder")


def _wrong(embedder: Any) -> Iterator[str]:
    """What an embedder says of itself that no embedder is."""
    if not isinstance(embedder.name, str):
        yield f"its name is {embedder.name!r}, not text"
    for name in _NUMBERS:
        try:
            whole_number(f"its {name}", getattr(embedder, name))
        except UsageError as error:
            yield str(error)
    if not isinstance(embedder.fingerprint, Fingerprint):
        yield f"its fingerprint is a {type(embedder.fingerprint).__name__}, not an embedmill.Fingerprint"
    elif embedder.fingerprint.space.dimension != embedder.dimension:
        yield f"its dimension is {embedder.dimension}, and {embedder.fingerprint.space.dimension} in its fingerprint"


def try_embedder(embedder: TokenEmbedder) -> None:
    """Load an embedder, and embed one text.

    Raises `ModelValidationError` where it lacks a method, fails on a plain text, or gives something else than a
    sound vector of its own dimension; and what its loading raises.
    """
    check_embedder(embedder)
    try:
        embedder.load()
    except SystemExit as error:
        raise ModelValidationError(f"{embedder.name} ends the program while it is loaded ({error})") from error
    try:
        vectors = given_vectors(embedder.infer(_batch(embedder)))
    except ModelError:
        raise
    except (Exception, SystemExit) as error:  # whatever an embedder raises; Ctrl-C is not its doing
        raise _failing(embedder, Cause.of(error)) from error
    _check(embedder, vectors)


def try_executor(embedder: TokenEmbedder, run: RunBatches) -> None:
    """As `try_embedder`, of a model that an executor has loaded elsewhere; `embedder` tokenises for it.

    Raises `ModelValidationError`, and what the executor's `run` raises.
    """
    for embedded in run([_batch(embedder)]):
        for cause in embedded.causes.values():
            raise _failing(embedder, cause)
        _check(embedder, embedded.vectors)


def _batch(embedder: TokenEmbedder) -> Batch:
    (ids,) = embedder.encode([_TEXT])
    return Batch((_TEXT,), (ids,))


def _failing(embedder: TokenEmbedder, cause: Cause) -> ModelValidationError:
    return ModelValidationError(
        f"{embedder.name} fails on a plain text ({cause.type}: {cause.message}): fetch it again, or take another"
    )


def _check(embedder: TokenEmbedder, vectors: Vectors) -> None:
    """Raise `ModelValidationError` for another array than that of one sound vector."""
    space = embedder.fingerprint.space
    if vectors.shape != (1, space.dimension):
        raise ModelValidationError(
            f"{embedder.name} gives one text an array of shape {vectors.shape}, and its files say (1, "
            f"{space.dimension}): they belong to different models, fetch them again"
        )
    for cause in VectorValidator.of(space).check(vectors).values():
        raise ModelValidationError(
            f"{embedder.name} gives no sound vector, {cause.message}: its weights are damaged, fetch them again"
        )
