"""What is said of files and folders that are gone, and still in a store."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from typing import Any, Final

from embedmill.runtime.paths import quote_path

log = logging.getLogger("embedmill")

_NAMED: Final = 5  # one by one


def name_vanished(vanished: Mapping[str, int], given: Mapping[str, Any]) -> None:
    """Say what is gone and still in the store, with commands that can be pasted.

    Of the options `given` just now they repeat which store is meant; what the environment or the file says holds for
    the next command too.
    """
    where = _where(given) if vanished else ""
    for path, number in list(vanished.items())[:_NAMED]:
        documents = "1 document" if number == 1 else f"{number:,} documents"
        hint = f"embedmill forget {shlex.quote(path)}{where}"
        log.warning("%s is gone, and the store has %s of it: `%s` takes them out", quote_path(path), documents, hint)
    if len(vanished) > _NAMED:
        number = len(vanished) - _NAMED
        log.warning("%s more that are gone are listed by `embedmill status --roots%s`", f"{number:,}", where)


def _where(given: Mapping[str, Any]) -> str:
    from embedmill.storage.registry import redact_url

    words = {name: given[name] for name in ("store", "schema") if given.get(name)}
    if "store" in words:
        words["store"] = redact_url(words["store"])
    return "".join(f" --{name} {shlex.quote(str(value))}" for name, value in words.items())
