"""Numbers, sizes and paths as people read them."""

from __future__ import annotations

import os
from collections.abc import Iterable


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, as in ``1 document`` and ``1,024 documents``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def amounts(numbers: Iterable[tuple[int, str]]) -> str:
    """Several numbers, as in ``12 embedded, 1 failed``; those that are 0 are left out."""
    return ", ".join(f"{number:,} {what}" for number, what in numbers if number)


def in_bytes(number: int) -> str:
    """A size, as in ``12.3 MB``: powers of 1,000, as disks are sold and files are listed."""
    value = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{number} bytes" if unit == "bytes" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} TB"


def in_time(seconds: float) -> str:
    """A length of time, as in ``0.3 s``, ``12 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def place(document: str, line: int = 0, *, page: int | None = None, beneath: str | None = None) -> str:
    """``path:line`` of a document, or ``path#page=3``, as in links, of one that has pages.

    Relative to the folder `beneath` where it lies below that (default: the current one).
    """
    from embedmill.runtime.paths import quote_path

    folder = _current_folder() if beneath is None else beneath
    inside = folder not in ("", "/") and document.startswith(folder + "/")
    path = quote_path(document[len(folder) + 1 :] if inside else document)
    if page is not None:
        return f"{path}#page={page}"
    return f"{path}:{line}" if line else path


def prompts(document: str | None, query: str | None) -> str:
    """What is put before texts, as in ``'passage: ' before documents, 'query: ' before queries``."""
    found = [(document, "documents"), (query, "queries")]
    return ", ".join(f"{text!r} before {what}" for text, what in found if text)


def table(rows: list[tuple[str, str]]) -> str:
    """Two columns, the second aligned; rows without a value are left out."""
    kept = [row for row in rows if row[1]]
    width = max((len(name) for name, _ in kept), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in kept)


def _current_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - text, as document ids are
    except OSError:  # it has been removed
        return ""
