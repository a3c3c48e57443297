"""``embedmill status``."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any

import typer

from embedmill.cli import exits, options, output, parser
from embedmill.cli.ingest import Vector


def register(commands: typer.Typer) -> None:
    """Add the command."""
    parser.add(
        commands,
        "embedmill status",
        "embedmill status --failures",
        "embedmill status --store sqlite:notes.db --json",
        "embedmill status sentences --store postgresql://localhost/app",
        notes=options.SETTINGS_NOTE,
    )(status)


def status(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[TABLE]", help="A table that ingest fills, in place of a store.", show_default=False),
    ] = None,
    vector: Vector = None,
    store: options.Store = None,
    schema: options.Schema = None,
    failures: Annotated[
        bool, typer.Option("--failures", help="List what could not be read or embedded, and why.")
    ] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> int:
    """Show what a store holds, or how a table stands."""
    output.configure(quiet=quiet, verbose=verbose)
    if name is not None:
        return _of_table(
            name, vector, options.given(store=store, schema=schema), failures=failures, as_json=as_json, quiet=quiet
        )
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


def _of_table(
    name: str, vector: str | None, shared: dict[str, Any], *, failures: bool, as_json: bool, quiet: bool
) -> int:
    from embedmill.cli.tables import describe, standing
    from embedmill.cli.wording import counted
    from embedmill.ingestion import table_failures, table_status

    held = table_status(name, vector=vector, **shared)
    failed = list(table_failures(name, vector=vector, **shared)) if failures else []
    if as_json:
        listed = {"failed": [asdict(failure) for failure in failed]} if failures else {}
        output.emit(asdict(held) | listed)
        return exits.DONE
    output.say(standing(held))
    for failure in failed:
        tries = f" ({counted(failure.attempts, 'attempt')})"
        output.say(output.one_line(describe(name, failure)) + tries)
    if held.counts.failures and not quiet:
        output.complain(f"to try what failed again: embedmill retry-failed {name}")
    return exits.DONE
