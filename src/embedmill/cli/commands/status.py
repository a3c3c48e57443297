"""``embedmill status``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmill.api.settings import StoreOptions
from embedmill.cli import exit_codes, options, output, parser
from embedmill.cli.render import hints
from embedmill.cli.render.wording import counted, prompts, table
from embedmill.core.errors import UsageError
from embedmill.runtime.paths import quote_path

if TYPE_CHECKING:
    from embedmill.core.documents import Failure, RootStatus, StoreStatus
    from embedmill.core.interfaces.store import Store
    from embedmill.core.rows import RowFailure


@parser.command(
    "embedmill status",
    "embedmill status --failures",
    "embedmill status --roots",
    "embedmill status --store sqlite:notes.db --json",
    "embedmill status sentences --store postgresql://localhost/app",
    notes=options.STORE_NOTE,
)
def status(
    *,
    name: options.FilledTable = None,
    vector: options.FilledVector = None,
    given: Annotated[StoreOptions, options.Given("store", "schema", schema=options.EITHER_SCHEMA)],
    failures: Annotated[
        bool, typer.Option("--failures", help="List what could not be read or embedded, and why.")
    ] = False,
    roots: Annotated[bool, typer.Option("--roots", help="List what was given, where it is, and whether.")] = False,
    as_json: bool,
) -> int:
    """Show what a store holds, or how a table stands.

    Without TABLE, the tables that ingest has filled in the same database are listed as well.
    """
    options.check_quiet("the status", as_json=as_json)
    if name is None:
        options.check_store(options.given(vector=vector))
    elif roots:
        raise UsageError("--roots is about files and folders: leave TABLE out")
    standing = _of_store(given, failures, roots) if name is None else _of_table(name, vector, given, failures)
    if as_json:
        listed = {"failed": [asdict(failure) for failure, _ in standing.failed]} if failures else {}
        output.emit(standing.facts | listed)
        return exit_codes.DONE
    output.say(table([(what, output.one_line(how)) for what, how in standing.rows]))
    if roots:
        output.say(table([(output.one_line(quote_path(each.path)), _standing_of(each)) for each in standing.roots]))
    for failure, described in standing.failed:
        output.say(f"{output.one_line(described)} ({counted(failure.attempts, 'attempt')})")
    for hint in standing.hints:
        output.complain(hint)
    return exit_codes.DONE


@dataclass(frozen=True, slots=True)
class _Standing:
    """What is to be told."""

    facts: dict[str, Any]  # for programs
    rows: list[tuple[str, str]]  # for people: what, and how it is
    failed: Sequence[tuple[Failure | RowFailure, str]]  # each with a line for people
    hints: list[str]
    roots: Sequence[RootStatus] = ()


def _standing_of(root: RootStatus) -> str:
    where = {"here": "", "gone": ", gone", "elsewhere": ", on another machine"}[root.state]
    return counted(root.documents, "document") + where


def _of_store(given: Mapping[str, Any], failures: bool, roots: bool) -> _Standing:
    from embedmill.api.read_settings import read_settings
    from embedmill.api.stores import name_vanished, open_chosen_store, status_of_second
    from embedmill.cli.render.summary import describe
    from embedmill.cli.render.tables import listing
    from embedmill.cli.render.wording import in_bytes
    from embedmill.core.documents import source_file_of
    from embedmill.core.errors import StoreError
    from embedmill.storage.registry import list_tables, redact_url

    chosen = read_settings(given, StoreOptions)
    tables = list_tables(chosen.store, schema=chosen.schema, lock_timeout=chosen.db_timeout)
    url, held, failed = output.masked(redact_url(chosen.store)), None, []
    second: StoreStatus | None = None
    listed_roots: list[RootStatus] = []
    vanished: dict[str, int] = {}
    again = False
    try:
        with closing(open_chosen_store(chosen, write=False)) as opened:
            url, held = output.masked(opened.url), opened.status()
            if failures:
                failed = [
                    (replace(each, document=source_file_of(each.document)), describe(each))
                    for each in opened.failures()
                ]
            listed_roots, vanished = opened.root_list() if roots else [], opened.vanished()
            second = status_of_second(opened)
            again = held.failures > 0 and _can_retry(opened)
    except StoreError:
        if not tables:
            raise
    facts, rows, tips = {} if held is None else asdict(held), [("store", url)], []
    if held is not None and (held.space or held.failures or not tables):  # something, or nothing else
        rows = [("store", f"{url} ({in_bytes(held.bytes)})"), *_rows(held)]
    if held is not None and again:
        tips.append(f"to try what failed again: {hints.with_model(held.model, 'retry-failed', given=given)}")
    name_vanished(vanished, given)
    facts |= {"store": url, "vanished": vanished} if held is not None else {"store": url}
    if second is not None:
        facts["second"] = asdict(second)
        rows.append(("second space", f"{counted(second.documents, 'document')} of {second.model or 'no model yet'}"))
        told, kept = {**given, "model": second.model}, ("model", *hints.WHERE)
        line = hints.with_model(second.model, "index", "PATH...", "--re-embed", given=told, kept=kept)
        tips.append(f"to go on: {line}")
        tips.append(f"to give it up: {hints.command('forget', '--re-embed', given=given)}")
    facts |= {"roots": [asdict(each) for each in listed_roots]} if roots else {}
    if tables:
        facts["tables"] = [asdict(each) for each in tables]
        rows += listing(tables)
        first = tables[0]
        given = {**given, **hints.of_column(first.vector)}
        tips.append(f"to see one: {hints.command('status', first.table, given=given)}")
    return _Standing(facts, rows, failed, tips, listed_roots)


def _can_retry(store: Store) -> bool:
    from embedmill.api.retry import can_retry  # brings with it what runs need

    return can_retry(store)


def _rows(held: StoreStatus) -> list[tuple[str, str]]:
    return [
        ("documents", f"{held.documents:,}"),
        ("chunks", f"{held.chunks:,}"),
        ("failures", f"{held.failures:,}"),
        ("model", held.model or "none yet"),
        ("space", f"{held.space}, {counted(held.dimension or 0, 'dimension')}" if held.space else ""),
        ("precision", ", ".join(held.precision)),
        ("prompts", prompts(held.document_prompt, held.query_prompt)),
    ]


def _of_table(name: str, vector: str | None, given: Mapping[str, Any], failures: bool) -> _Standing:
    from embedmill.api.ingest import table_failures, table_status
    from embedmill.cli.render.tables import describe, standing

    held = table_status(name, vector=vector, **given)
    found = table_failures(name, vector=vector, **given) if failures else ()
    tips = []
    if held.counts.failures:
        again = hints.with_model(held.model, "retry-failed", name, given={**given, "vector": vector})
        tips.append(f"to try what failed again: {again}")
    return _Standing(asdict(held), standing(held), [(failure, describe(name, failure)) for failure in found], tips)
