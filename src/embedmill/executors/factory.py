"""Make an embedder from its factory, in a worker or here."""

from __future__ import annotations

from collections.abc import Callable

from embedmill.core.interfaces.embedder import TokenEmbedder

Factory = Callable[[int], TokenEmbedder]
"""Makes an embedder that is to use so many threads. Called in the worker, so it has to be picklable."""


def loaded(factory: Factory, threads: int) -> TokenEmbedder:
    """An embedder that is ready. Raises what the factory raises, and `ValueError` where no work can be given to it."""
    embedder = factory(threads)
    embedder.load()
    for name in ("dimension", "concurrency"):
        value = getattr(embedder, name)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"the embedder's {name} is {value!r}: expected a whole number from 1 up")
    return embedder
