"""``embedmill forget``."""

from __future__ import annotations

from typing import Annotated

from embedmill.api.settings import StoreOptions
from embedmill.cli import exit_codes, options, output, parser
from embedmill.core.errors import UsageError


@parser.command(
    "embedmill forget old-notes",
    "embedmill forget src/drafts notes.md --store sqlite:notes.db",
    "embedmill forget box:/data --store postgresql://ada@localhost/app",
    "embedmill forget --re-embed",
    notes="What is still there comes back with the next run that is given it. Vectors stay in the cache. "
    + options.STORE_NOTE,
)
def forget(
    *,
    paths: Annotated[
        list[str] | None,
        options.argument(
            "PATH",
            "Files and folders, gone or not; those of another machine as `embedmill status --roots` shows them.",
        ),
    ] = None,
    given: Annotated[StoreOptions, options.Given(schema=options.READ_SCHEMA)],
    re_embed: Annotated[
        bool,
        options.option("--re-embed", help="Give up what `index --re-embed` has begun, and not come to the end of."),
    ] = False,
    as_json: bool,
) -> int:
    """Take files and folders out of a store.

    For what has been moved, renamed or deleted as a whole, and for what is not wanted any more: its documents and
    failures go. The files themselves are not touched.
    """
    from embedmill.api.forget import forget as forgotten
    from embedmill.api.forget import forget_second
    from embedmill.cli.render.wording import counted

    if bool(paths) == re_embed:
        raise UsageError("give the PATH to take out, or --re-embed alone: both are given, or neither is")
    options.tell_store(given)
    removed = forget_second(**given) if re_embed else forgotten(paths or [], **given)
    if as_json:
        output.emit({"removed": removed})
    elif not output.quiet():
        where = "the second space, which is given up" if re_embed else "the store"
        output.say(f"{counted(removed, 'document')} taken out of {where}")
    return exit_codes.DONE
