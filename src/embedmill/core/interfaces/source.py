"""Where documents come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from embedmill.core.documents import Document, Entry


class Source(Protocol):
    """Where documents come from."""

    scopes: Sequence[str]
    """Document ids that are equal to a scope, or begin with it where it ends in "/", belong to this source:
    such a document in the store that `entries` does not list has vanished."""

    skipped: Mapping[str, int]
    """What `entries` and `read` left out: reason -> how many."""

    def entries(self) -> Iterator[Entry]:
        """List the units in a stable order, in bounded memory, without reading them."""

    def read(self, entry: Entry) -> Document | None:
        """Read one unit; None where it is left out after all (counted in `skipped`).

        Raises `SourceError` where it ought to be readable and is not.
        """

    def amount(self) -> int:
        """About how many bytes of text there are in all, to tell progress by; lists everything."""

    def finish_within(self, seconds: float) -> None:
        """From now on, `read` gives up what takes longer; for signal handlers. The run ends, nothing of it is kept."""

    def unlisted(self) -> Sequence[str]:
        """Scopes below `scopes` that could not be listed: documents there have not vanished."""

    def deselected(self, sizes: Mapping[str, int]) -> Sequence[str]:
        """Those of the documents, given with the size that the store has noted, that `entries` left out by an option.

        They are still there, and an earlier run with other options took them. `sizes` is in bytes.
        """
