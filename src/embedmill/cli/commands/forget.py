"""``embedmill forget``."""

from __future__ import annotations

from typing import Annotated

from embedmill.api.settings import StoreOptions
from embedmill.cli import exit_codes, options, output, parser


@parser.command(
    "embedmill forget old-notes",
    "embedmill forget src/drafts notes.md --store sqlite:notes.db",
    "embedmill forget box:/data --store postgresql://ada@localhost/app",
    notes="What is still there comes back with the next run that is given it. Vectors stay in the cache. "
    + options.STORE_NOTE,
)
def forget(
    *,
    paths: Annotated[
        list[str],
        options.argument(
            "PATH",
            "Files and folders, gone or not; those of another machine as `embedmill status --roots` shows them.",
        ),
    ],
    given: StoreOptions,
    as_json: bool,
) -> int:
    """Take files and folders out of a store.

    For what has been moved, renamed or deleted as a whole, and for what is not wanted any more: its documents and
    failures go. The files themselves are not touched.
    """
    from embedmill.api.forget import forget as forgotten
    from embedmill.cli.render.wording import counted

    options.tell_store(given)
    removed = forgotten(paths, **given)
    if as_json:
        output.emit({"removed": removed})
    elif not output.quiet():
        output.say(f"{counted(removed, 'document')} taken out of the store")
    return exit_codes.DONE
