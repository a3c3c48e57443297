"""How documents are cut. By itself, since a run over what has not changed cuts nothing: the rest is slow to import."""

from __future__ import annotations

from dataclasses import dataclass

from embedmill.core.checks import whole_number

_ALGORITHM = 3  # goes up with every change that moves a boundary or changes a context


@dataclass(frozen=True, slots=True)
class Chunking:
    """How documents are cut. Raises `UsageError` where the limit is below 1."""

    max_tokens: int  # hard limit of one chunk's input, prompt and special tokens included

    def __post_init__(self) -> None:
        whole_number("max_tokens", self.max_tokens)

    @property
    def key(self) -> str:
        """All that decides where documents are cut, as a short string: equal keys cut equal texts equally."""
        return f"structure{_ALGORITHM}-{self.max_tokens}"
