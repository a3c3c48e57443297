"""``embedmill cache``: the vectors that all runs share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from embedmill.cli import clearing, exit_codes, options, output, parser
from embedmill.core.errors import UsageError

if TYPE_CHECKING:
    from embedmill.storage.cache.cache import PersistentCache

_AGE = re.compile(r"(\d{1,6})\s*([dw]?)")


@parser.command("embedmill cache stats", "embedmill cache stats --json")
def stats(*, as_json: bool) -> int:
    """Show what the cache holds, and where."""
    from embedmill.cli.render.cache import model_rows, models
    from embedmill.cli.render.wording import in_bytes, table

    options.check_quiet("the figures", as_json=as_json)
    with _opened() as opened:
        held = opened.stats()
    if as_json:
        output.emit(
            {
                "path": str(held.path),
                "entries": held.entries,
                "bytes": held.bytes,
                "max_bytes": held.max_bytes,
                "fingerprints": dict(held.fingerprints),
                "models": models(held),
            }
        )
        return exit_codes.DONE
    rows = [
        ("cache", str(held.path)),
        ("vectors", f"{held.entries:,}"),
        ("size", f"{in_bytes(held.bytes)}, at most {in_bytes(held.max_bytes)}"),
    ]
    output.say(table([*rows, *model_rows(held)]))
    return exit_codes.DONE


@parser.command("embedmill cache prune --max-size 500M", "embedmill cache prune --older-than 30d")
def prune(
    *,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="SIZE", help="Remove what was not used for longest down to this, as in 1G."),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Remove what was not used for so long, as in 30d or 4w."),
    ] = None,
    as_json: bool,
) -> int:
    """Remove vectors not used for long."""
    if max_size is None and older_than is None:
        raise UsageError("nothing to prune by: give --max-size or --older-than")
    most = None if max_size is None else _size(max_size)
    days = None if older_than is None else _days(older_than)
    with _opened() as opened:
        removed = opened.prune(max_bytes=most, days=days)
        left = opened.stats().bytes
    if as_json:
        output.emit({"removed": removed, "bytes": left})
    else:
        clearing.tell_removed(removed, left)
    return exit_codes.DONE


@parser.command(
    "embedmill cache clear",
    "embedmill cache clear --yes",
    notes="How large the cache is, and of which models, is said before.",
)
def clear(*, yes: clearing.Yes = False, as_json: bool) -> int:
    """Remove all vectors from the cache.

    Stores and models are left alone.
    """
    return clearing.clear_cache(yes=yes, as_json=as_json)


cache = parser.group(
    *(stats, prune, clear), name="cache", help="Look after the vectors that all runs share.", no_args_is_help=True
)


def _opened() -> PersistentCache:
    from embedmill.storage.cache.cache import PersistentCache

    return PersistentCache()


def _size(text: str) -> int:
    from embedmill.api.setting_values import size

    try:
        return size(text)
    except ValueError as error:
        raise UsageError(f"--max-size: {text!r} does not fit: {error}") from None


def _days(text: str) -> int:
    match = _AGE.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"--older-than: {text!r} does not fit: expected days or weeks, as in 30d or 4w")
    return int(match[1]) * (7 if match[2] == "w" else 1)
