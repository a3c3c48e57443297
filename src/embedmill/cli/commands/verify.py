"""``embedmill verify``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

from embedmill.api.settings import RunOptions, StoreOptions
from embedmill.cli import exit_codes, options, output, parser
from embedmill.cli.render import hints
from embedmill.core.errors import UsageError

if TYPE_CHECKING:
    from embedmill.api.verify import Verdict

_LISTED: Final = 1000
"""Problems that the JSON object lists; it counts all."""


@parser.command(
    "embedmill verify",
    "embedmill verify --store sqlite:notes.db --json",
    "embedmill verify --store postgresql://ada@localhost/app --schema docs --sample 1000",
    "embedmill verify sentences --store postgresql://ada@localhost/app",
    notes="Exit code 0: all is well. 1: it is not; each problem is a line. A run may write meanwhile. "
    + options.STORE_NOTE,
)
def verify(
    *,
    name: options.FilledTable = None,
    vector: options.FilledVector = None,
    given: Annotated[
        RunOptions, options.Given("store", "schema", "model", schema=options.EITHER_SCHEMA, model=options.NOTED_MODEL)
    ],
    sample: Annotated[
        str,
        options.option(
            "--sample",
            metavar="N",
            help="Vectors, chosen at random, that are computed again and compared; 0 for none. Default: 64.",
        ),
    ] = "64",
    as_json: bool,
) -> int:
    """Check that a store or table is sound.

    Every document of a store has all the chunks that the ledger says, or a failure for what is missing; every chunk's
    text is the one that was embedded, and its vector finite, of the store's dimension and, where the model
    normalises, of length 1; nothing belongs to nothing. Of an SQLite store the file itself and the matrix for searches
    are checked too. Some vectors, of a store or of TABLE, are computed again with its model, as far as that is on this
    machine: a sound vector may still be that of another text. What lies in files and folders that are gone is named,
    and is no problem. Nothing is changed, and nothing fetched.
    """
    from embedmill.api.read_settings import read_settings
    from embedmill.api.verify import LARGEST_SAMPLE, verify_store, verify_table

    model = given.get("model")
    number = options.whole_number(sample, "--sample", least=0)
    if number > LARGEST_SAMPLE:
        raise UsageError(f"--sample: at most {LARGEST_SAMPLE:,} vectors at once")
    if model is not None and not number:
        raise UsageError("--model is for vectors that are computed again, and --sample 0 wants none: leave one out")
    if name is None:
        options.check_store(options.given(vector=vector))
    place = options.store_options(given)
    chosen = read_settings(place, StoreOptions)
    listed: list[str] = []
    if name is None:
        options.tell_store(place)

    def say(problem: str) -> None:
        if not as_json:
            output.say(output.one_line(problem))
        elif len(listed) < _LISTED:
            listed.append(problem)

    if name is None:
        verdict = verify_store(chosen, say, sample=number, model=model)
    else:
        verdict = verify_table(name, chosen, say, vector=vector, sample=number, model=model)
    code = _tell(verdict, name, listed, place, as_json=as_json)
    if verdict.documents == 0 and not output.quiet():
        hints.tell_tables("verify", place)
    return code


def _tell(verdict: Verdict, table: str | None, listed: list[str], given: Mapping[str, Any], *, as_json: bool) -> int:
    from embedmill.api.stores import name_vanished
    from embedmill.cli.render.wording import counted

    url, number = output.masked(verdict.store), verdict.problems
    if as_json:
        facts = {"store": url, "sound": not number, "count": number, "problems": listed}
        facts |= {"vanished": verdict.vanished} if table is None and not number else {}
        again = {"recomputed": verdict.recomputed, "not_recomputed": verdict.not_recomputed or None}
        output.emit(facts | ({"table": table} if table else {}) | again)
    elif not number and not output.quiet():
        what = f"{counted(verdict.documents or 0, 'document')}, {counted(verdict.chunks or 0, 'chunk')}"
        if table is not None:
            what = f"{counted(verdict.chunks or 0, 'row')} of {table}"
        output.say(f"sound: {what} in {url}; {counted(verdict.recomputed, 'vector')} computed again")
    name_vanished(verdict.vanished, given)
    if verdict.not_recomputed and not number:
        output.complain(f"no vector was computed again: {verdict.not_recomputed}")
    if number:
        where, remedy = f"the store {url}", "index into a new store"
        if table is not None:
            where, remedy = f"{table} in {url}", "set these rows' vectors to NULL and ingest again"
        output.complain(f"error: {counted(number, 'problem')} in {where}: put back a backup, or {remedy}")
        return exit_codes.ERROR
    return exit_codes.DONE
