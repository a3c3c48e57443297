"""``embedmill status``."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from embedmill.cli import exits, options, output, parser


def register(commands: typer.Typer) -> None:
    """Add the command."""
    parser.add(
        commands,
        "embedmill status",
        "embedmill status --failures",
        "embedmill status --store sqlite:notes.db --json",
        notes=options.SETTINGS_NOTE,
    )(status)


def status(
    store: options.Store = None,
    schema: options.Schema = None,
    failures: Annotated[
        bool, typer.Option("--failures", help="List what could not be read or embedded, and why.")
    ] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> int:
    """Show what a store holds."""
    output.configure(quiet=quiet, verbose=verbose)
    from embedmill.cli.summary import describe
    from embedmill.cli.wording import counted, in_bytes, table
    from embedmill.config import settings
    from embedmill.stores import open_store

    chosen = settings(options.given(store=store, schema=schema))
    with closing(open_store(chosen.store, write=False, schema=chosen.schema)) as opened:
        url, held = output.masked(opened.url), opened.status()
        failed = list(opened.failures()) if failures else []
    if as_json:
        listed = {"failed": [asdict(failure) for failure in failed]} if failures else {}
        output.emit(asdict(held) | {"store": url} | listed)
        return exits.DONE
    space = f"{held.space}, {counted(held.dimension or 0, 'dimension')}" if held.space else ""
    rows = [
        ("store", f"{url} ({in_bytes(held.bytes)})"),
        ("documents", f"{held.documents:,}"),
        ("chunks", f"{held.chunks:,}"),
        ("failures", f"{held.failures:,}"),
        ("model", held.model or "none yet"),
        ("space", space),
        ("precision", ", ".join(held.precision)),
    ]
    output.say(table(rows))
    for failure in failed:
        tries = f" ({counted(failure.attempts, 'attempt')})"
        output.say(output.one_line(describe(failure)) + tries)
    if held.failures and not quiet:
        output.complain("to try what failed again: embedmill retry-failed")
    return exits.DONE
