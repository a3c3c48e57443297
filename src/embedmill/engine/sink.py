"""What goes into the embed loop, and where it comes out."""

from __future__ import annotations

from typing import Literal, Protocol, TypeVar

from embedmill.core.vectors import Cause, TokenIds, Vector

Origin = Literal["embedded", "cached", "duplicates"]
"""Where a vector comes from: of the model, of what is known from before, of an equal text of the same run."""


class Item(Protocol):
    """What waits for a vector."""

    @property
    def input(self) -> str:
        """The text, as the model is given it."""

    @property
    def ids(self) -> TokenIds:
        """The text's token ids."""


class HashedItem(Item, Protocol):
    """An item whose vector may be known already."""

    @property
    def hash(self) -> bytes:
        """Of the text: equal texts have one vector."""


I_contra = TypeVar("I_contra", contravariant=True)


class Sink(Protocol[I_contra]):
    """Where results go: each item once, in no certain order, and all from the thread that runs the loop."""

    def accept(self, item: I_contra, vector: Vector, origin: Origin) -> None:
        """An item has its vector, ``(dimension,)``; one that is embedded is a view of its batch: copy what is kept."""

    def reject(self, item: I_contra, cause: Cause) -> None:
        """An item has none, and why."""
