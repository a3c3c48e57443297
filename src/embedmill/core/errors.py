"""Everything embedmill raises on purpose.

    EmbedmillError
    ├── UsageError              the call itself is wrong (exit code 2)
    │   └── ManifestError
    ├── ModelError
    │   ├── ModelNotFound
    │   ├── UnsupportedModel
    │   ├── ModelLoadError      of a ModelLoader
    │   ├── ModelValidationError
    │   └── ModelUnusable
    ├── SourceError
    ├── StoreError
    │   ├── StoreNotFound
    │   ├── SpaceMismatch
    │   ├── StoreBusy
    │   ├── RowsRefused
    │   ├── ChunksRefused
    │   └── Stopped
    ├── CacheError
    ├── EmbeddingError
    ├── EmbeddingGenerationError
    ├── LimitReached
    └── MissingExtra

Each docstring says what happened and what to do about it. Messages are one line: what is wrong,
in which input, what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedmill.core.documents import Chunk
    from embedmill.core.vectors import Cause


class EmbedmillError(Exception):
    """The work cannot go on; the message says what is wrong, where, and what to do."""


class UsageError(EmbedmillError):
    """An argument or setting is wrong: correct it as the message says."""


class ManifestError(UsageError):
    """Manifests of a batch have mistakes, and no job was started: mend all that the error lists."""

    mistakes: Sequence[str] = ()
    """A line for each, in the order of files and lines: where it is, what is wrong, what to do."""

    @classmethod
    def of(cls, mistakes: Sequence[str]) -> ManifestError:
        """The error for these mistakes, one at least; its message is the first, and says how many more there are."""
        more = f" (and {len(mistakes) - 1:,} more)" if len(mistakes) > 1 else ""
        error = cls(mistakes[0] + more)
        error.mistakes = tuple(mistakes)
        return error


class ModelError(EmbedmillError):
    """The model cannot be used: its files are damaged or incomplete; fetch it again."""


class ModelNotFound(ModelError):
    """No place that was tried has the model: give a path, or a name that one of the named places has."""


class UnsupportedModel(ModelError):
    """The architecture is not covered: take one that is, or files in ONNX or OpenVINO format."""


LoadKind = Literal["network", "disk", "permission", "files", "architecture"]
"""What may keep a model from being loaded."""


class ModelLoadError(ModelError):
    """A `ModelLoader` cannot load its model: `kind` says what to look at, the message what is wrong there."""

    def __init__(self, message: str, kind: LoadKind = "files") -> None:
        super().__init__(message)
        self.kind: LoadKind = kind
        """"network": a place does not answer, or must not be asked; "disk": it is full or fails; "permission": a file,
        or a repository, is closed to this user; "files": they are damaged, incomplete or nowhere under that name;
        "architecture": they are sound, and cannot be computed here."""


class ModelValidationError(ModelError):
    """A model does not do as it should, or the device is none that works here: see the message."""


class ModelUnusable(ModelError):
    """The model cannot compute any more, whatever the text: memory is short, or its library fails; see the message."""


class SourceError(EmbedmillError):
    """An input cannot be listed or read: check that it exists and may be read."""


class StoreError(EmbedmillError):
    """The store cannot be read or written: check the path, the space left on the disk and the permissions."""


class StoreNotFound(StoreError):
    """There is no store where the URL says: index into it first, or correct the URL."""


class SpaceMismatch(StoreError):
    """The store holds vectors of another model, which cannot be compared with these: use another store."""


class StoreBusy(StoreError):
    """Another run is writing to this store: wait until it has ended."""


class RowsRefused(StoreError):
    """The database refuses the data of one row or more, by a constraint or a trigger: mend the row or the rule."""


class ChunksRefused(StoreError):
    """Chunks were given that a store cannot keep, and none was written: mend those that the error names."""

    def __init__(self, message: str, causes: Mapping[int, Cause]) -> None:
        super().__init__(message)
        self.causes = causes
        """Number of the chunk among those given, counted from 0 -> why it cannot be stored; of all such."""


class Stopped(StoreError):
    """The run was stopped, and what the database was doing just then was given up: run again, it is done then."""


class CacheError(EmbedmillError):
    """The cache of vectors cannot be used: clear it or move it with EMBEDMILL_CACHE_DIR."""


class EmbeddingError(EmbedmillError):
    """Some of the texts given have no vector; those of the others are kept in the error."""

    def __init__(self, message: str, vectors: NDArray[np.float32], causes: Mapping[int, Cause], first: int = 0) -> None:
        super().__init__(message)
        self.vectors = vectors
        """All vectors, ``(n, dimension)``; NaN in the rows of the texts that failed."""
        self.causes = causes
        """Row -> why it has none."""
        self.first = first
        """The number of the text, counted from 0, that the first row is of; not 0 where texts came one by one."""


class EmbeddingGenerationError(EmbedmillError):
    """Chunks could not be embedded as a whole: the cause is the error's `__cause__`, or stands in its message."""

    chunks: Sequence[Chunk] = ()
    """The chunks given, in their order, with the vectors that they had when the error came."""


class LimitReached(EmbedmillError):
    """A limit of this machine ends the run, and no text is to blame: raise it, or take fewer workers."""


class MissingExtra(EmbedmillError):
    """An optional package is not installed: the message has the exact pip line."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional package: pip install 'embedmill[{extra}]'")


def told(name: str, message: str) -> EmbedmillError | None:
    """The error of this name, as another process has told it; None where it is not one of these."""
    known = globals().get(name)
    if isinstance(known, type) and issubclass(known, EmbedmillError):
        return known.__new__(known, message)  # its message is all that can be told of it
    return None
