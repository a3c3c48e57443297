"""``embedmill verify``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

from embedmill.api.settings import RunOptions, StoreOptions
from embedmill.cli import exit_codes, options, output, parser
from embedmill.cli.render import hints, soundness
from embedmill.core.errors import UsageError

if TYPE_CHECKING:
    from embedmill.api.checking import Extent
    from embedmill.api.settings import Settings
    from embedmill.api.verify import Verdict
    from embedmill.core.damage import Finding
    from embedmill.engine.quality import Quality
    from embedmill.engine.quality_limits import Limit

_Sample = Annotated[
    str | None,
    options.option(
        "--sample",
        metavar="N",
        help="Vectors, chosen at random, that are computed again and compared; 0 for none. Default: 64.",
    ),
]
_ReadData = Annotated[
    bool,
    options.option("--read-data", help="Compute all vectors again, and read all documents, however long that takes."),
]
_Repair = Annotated[
    bool, options.option("--repair", help="Mend what is wrong, embedding again only that; tell what is left.")
]
_Limits = Annotated[
    list[str] | None,
    options.option(
        "--limit",
        metavar="NAME=NUMBER",
        help="What must not be exceeded: exact-duplicates, near-duplicates (shares, 0 to 1), mean-cosine, norm-max; or "
        "fallen short of: norm-min, effective-dimension. May be repeated.",
    ),
]


@parser.command(
    "embedmill verify",
    "embedmill verify --repair",
    "embedmill verify --store sqlite:notes.db --limit near-duplicates=0.05 --json",
    "embedmill verify --store postgresql://ada@localhost/app --schema docs --sample 1000",
    "embedmill verify sentences --store postgresql://ada@localhost/app --read-data --repair",
    notes="Exit code 0: all is well. 3: something is wrong, or left after --repair, or beyond a --limit, or vectors "
    "of a TABLE are of unknown origin, or --sample, --read-data or --model could compute nothing again. Each problem "
    "is a line, ten of each kind; -v shows all. Without --repair a run may write meanwhile. " + options.STORE_NOTE,
)
def verify(
    *,
    name: options.FilledTable = None,
    vector: options.FilledVector = None,
    given: Annotated[
        RunOptions, options.Given("store", "schema", "model", schema=options.EITHER_SCHEMA, model=options.NOTED_MODEL)
    ],
    sample: _Sample = None,
    read_data: _ReadData = False,
    repair: _Repair = False,
    limit: _Limits = None,
    as_json: bool,
) -> int:
    """Check that a store or table is sound, and mend it.

    Every document of a store has all the chunks that the ledger says, or a failure for what is missing; every chunk's
    text is the one that was embedded, and its vector finite, of the store's dimension and, where the model
    normalises, of length 1; nothing belongs to nothing; files are as they were when they were stored, and none is
    missing. Of an SQLite store the file itself and the matrix for searches are checked too. In a TABLE each row that
    was embedded has the vector that was written, of its present text; vectors of unknown origin, which others have
    written, are counted, and with --model computed again as well. Some vectors are computed again with the model,
    as far as that is on this machine: a sound vector may still be that of another text. What lies in folders that are
    gone, whole, is named, and is no problem. Without --repair nothing is changed, and nothing fetched.
    """
    from embedmill.api.read_settings import read_settings
    from embedmill.engine.quality_limits import parse_limits

    model = given.get("model")
    limits = parse_limits(limit or [])
    extent = _extent(sample, model, read_data=read_data, repair=repair)
    if name is None:
        options.check_store(options.given(vector=vector))
    place = options.store_options(given)
    chosen = read_settings({**place, **options.given(model=model)}, RunOptions if repair else StoreOptions)
    if name is None:
        options.tell_store(place)

    told: Counter[str] = Counter()

    def say(found: Finding) -> None:
        told[found.kind] += 1
        if not as_json and not output.quiet() and (told[found.kind] <= soundness.SHOWN or output.verbose()):
            output.say(output.one_line(str(found)))

    verdict = _run(name, vector, place, chosen, say, extent, repair=repair)
    asked = model is not None or read_data or sample is not None
    proven = not verdict.not_recomputed or not asked  # what was asked for was done
    code = _tell(verdict, name, _unmet(limits, verdict.quality), place, model, proven=proven, as_json=as_json)
    if verdict.documents == 0 and not output.quiet():
        hints.tell_tables("verify", place)
    return code


def _extent(sample: str | None, model: str | None, *, read_data: bool, repair: bool) -> Extent:
    """What is to be looked at; raises `UsageError` for what contradicts itself."""
    from embedmill.api.checking import LARGEST_SAMPLE, SAMPLE, Extent

    if read_data and sample is not None:
        raise UsageError("--read-data computes all vectors again, and --sample some: leave one out")
    number = SAMPLE if sample is None else options.whole_number(sample, "--sample", least=0)
    if number > LARGEST_SAMPLE:
        raise UsageError(f"--sample: at most {LARGEST_SAMPLE:,} vectors at once")
    if model is not None and not number and not repair:
        raise UsageError("--model is for vectors that are computed again, and --sample 0 wants none: leave one out")
    return Extent(None if read_data else number, read_data, model)


def _unmet(limits: Sequence[Limit], quality: Quality | None) -> list[str]:
    """Which limits are not kept, for people; one whose number cannot be measured is not."""
    if quality is None:
        names = ", ".join(each.name for each in limits)
        return [f"{names} cannot be measured: there is no sound vector"] if limits else []
    unmeasured = {"mean-cosine"} if quality.mean_cosine is None else set()
    lines = (
        f"{each.name} cannot be measured: there is one vector" if each.name in unmeasured else each.exceeded(quality)
        for each in limits
    )
    return [line for line in lines if line]


def _run(
    name: str | None,
    vector: str | None,
    place: Mapping[str, Any],
    chosen: Settings,
    say: Callable[[Finding], None],
    extent: Extent,
    *,
    repair: bool,
) -> Verdict:
    from embedmill.api.verify import verify_store, verify_table
    from embedmill.cli.progress import display_on
    from embedmill.cli.signals import StopOnSignal

    with StopOnSignal() as stopping, closing(display_on(output.for_progress(), None)) as display:
        watching: Any = {"on_start": stopping.watch, "on_progress": display.show}
        if name is None:
            return verify_store(place, chosen, say, extent, repair=repair, **watching)
        return verify_table(name, chosen, say, extent, vector=vector, repair=repair, **watching)


def _tell(
    verdict: Verdict,
    table: str | None,
    exceeded: Sequence[str],
    given: Mapping[str, Any],
    model: str | None,
    *,
    proven: bool,
    as_json: bool,
) -> int:
    from embedmill.api.stores import name_vanished

    if as_json:
        output.emit(soundness.facts(verdict, table, exceeded))
    elif not output.quiet():
        for line in soundness.summary(verdict, table):
            output.say(line)
    name_vanished(verdict.vanished, given)
    if verdict.interrupted:
        output.complain("interrupted: what was mended is stored, the same command goes on from there")
        return exit_codes.INTERRUPTED
    if verdict.not_recomputed and not verdict.problems:
        output.complain(f"{'' if proven else 'error: '}no vector was computed again: {verdict.not_recomputed}")
    if verdict.unproven and not (model is not None and verdict.not_recomputed):
        output.complain(soundness.unproven(verdict, table, model))
    for told in exceeded:
        output.complain(f"error: {told}: see --limit")
    if verdict.problems:
        output.complain(soundness.left(verdict, table))
    return exit_codes.DONE if verdict.sound and proven and not exceeded else exit_codes.SOME_FAILED
