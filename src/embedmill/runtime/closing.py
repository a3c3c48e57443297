"""What `with` needs of anything that is closed."""

from __future__ import annotations

from typing import Self


class Closing:
    """Closes at the end of a ``with`` block, whatever happens in it."""

    def close(self) -> None:
        """Release what is held; may be called twice."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
