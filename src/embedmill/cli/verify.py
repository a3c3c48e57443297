"""``embedmill verify``."""

from __future__ import annotations

from contextlib import closing
from typing import Final

import typer

from embedmill.cli import exits, options, output, parser

_LISTED: Final = 1000
"""Problems that the JSON object lists; it counts all."""


def register(commands: typer.Typer) -> None:
    """Add the command."""
    parser.add(
        commands,
        "embedmill verify",
        "embedmill verify --store sqlite:notes.db --json",
        "embedmill verify --store postgresql://ada@localhost/app --schema docs",
        notes="Exit code 0: all is well. 1: it is not; each problem is a line. A run may write meanwhile. "
        + options.PLACE_NOTE,
    )(verify)


def verify(
    store: options.Store = None,
    schema: options.Schema = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> int:
    """Check that a store is sound.

    Every document has all the chunks that the ledger says, or a failure for what is missing; every chunk's
    text is the one that was embedded, and its vector finite, of the store's dimension and, where the model
    normalises, of length 1; nothing belongs to nothing. Of an SQLite store the file itself and the matrix for searches
    are checked too. Nothing is changed.
    """
    output.configure(quiet=quiet, verbose=verbose)
    from embedmill.cli.wording import counted
    from embedmill.config import PlaceOptions, settings
    from embedmill.stores import open_store

    chosen = settings(options.given(store=store, schema=schema), only=PlaceOptions.__annotations__)
    listed: list[str] = []
    number = 0
    with closing(open_store(chosen.store, write=False, schema=chosen.schema, db_timeout=chosen.db_timeout)) as opened:
        url = output.masked(opened.url)
        for problem in opened.verify():
            number += 1
            if not as_json:
                output.say(output.one_line(problem))
            elif number <= _LISTED:
                listed.append(problem)
        held = None if number else opened.status()  # of a damaged store it may not be known
    if as_json:
        output.emit({"store": url, "sound": not number, "count": number, "problems": listed})
    elif held is not None and not quiet:
        output.say(f"sound: {counted(held.documents, 'document')}, {counted(held.chunks, 'chunk')} in {url}")
    if number:
        remedy = "put back a backup, or index into a new store"
        output.complain(f"error: {counted(number, 'problem')} in the store {url}: {remedy}")
        return exits.ERROR
    return exits.DONE
