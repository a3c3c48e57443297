"""Emptying the cache of vectors, by whichever command: first it is said what is in it, then asked."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from embedmill.cli import exit_codes, output
from embedmill.core.errors import UsageError

Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask whether to empty the cache.")]

ClearCache = Annotated[
    bool,
    typer.Option("--clear-cache", help="Remove all vectors from the cache, as `embedmill cache clear`; no INPUT."),
]


def clear_cache(*, yes: bool, as_json: bool) -> int:
    """Remove all vectors from the user's cache; gives the exit code."""
    from embedmill.cli.render import cache as render
    from embedmill.storage.cache.cache import PersistentCache

    with PersistentCache() as cache:
        held = cache.stats()
        if not yes and not output.is_terminal(sys.stdin):
            raise UsageError("nobody to ask whether to remove everything: give --yes")
        if not as_json and not output.quiet():
            for line in render.contents(held):
                output.say(line)
        if not yes and not _agreed(f"Remove {held.entries:,} vectors from {held.path}?"):
            output.complain("nothing was removed")
            return exit_codes.ERROR
        removed = cache.clear()
        left = cache.stats().bytes
    if as_json:
        was = {
            "path": str(held.path),
            "entries": held.entries,
            "bytes_before": held.bytes,
            "models": render.models(held),
        }
        output.emit(was | {"removed": removed, "bytes": left})
    else:
        tell_removed(removed, left)
    return exit_codes.DONE


def tell_removed(removed: int, left: int) -> None:
    """Say how many vectors went and how many bytes are left."""
    from embedmill.cli.render.wording import counted, in_bytes

    if not output.quiet():
        output.say(f"{counted(removed, 'vector')} removed, {in_bytes(left)} left")


def _agreed(question: str) -> bool:
    output.flush()
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
