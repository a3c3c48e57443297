"""``embedmill evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from embedmill.api.settings import RunOptions
from embedmill.cli import exit_codes, options, output, parser

if TYPE_CHECKING:
    from embedmill.api.evaluate import StoreEvaluation

_MEASURES: Final = ("recall", "mrr", "ndcg")

_AtLeast = Annotated[
    list[str] | None,
    options.option(
        "--at-least",
        metavar="NAME=VALUE",
        help="Exit with 3 where recall, mrr or ndcg of --store is lower, as in recall=0.9; may be repeated.",
    ),
]


@parser.command(
    "embedmill evaluate questions.jsonl",
    "embedmill evaluate questions.jsonl -k 5 --at-least recall=0.9 --at-least mrr=0.7",
    "embedmill evaluate questions.jsonl --store sqlite:one.db --against sqlite:other.db",
    'echo \'{"question": "how is bread made", "documents": ["kitchen.md"]}\' >> questions.jsonl',
    notes="To compare two models, index the same files into two stores, each with its --model. Exit code 0: all was "
    "measured. 3: --at-least is not met. " + options.STORE_NOTE,
)
def evaluate(
    *,
    questions: Annotated[
        str,
        options.argument(
            "QUESTIONS", 'JSON Lines, each with a "question" and the "documents" that answer it, as paths.'
        ),
    ],
    limit: Annotated[
        str, options.option("-k", "--limit", metavar="N", help="Documents of a search that count. Default: 10.")
    ] = "10",
    at_least: _AtLeast = None,
    against: Annotated[
        str | None, options.option("--against", metavar="URL", help="A second store, shown beside the first.")
    ] = None,
    given: Annotated[
        RunOptions,
        options.Given(
            *("model", "query_prompt", "store", "schema"),
            model=options.STORE_MODEL,
            query_prompt=options.STORE_PROMPT,
            schema=options.READ_SCHEMA,
        ),
    ],
    as_json: bool,
) -> int:
    """Measure how well a search finds the answers to questions.

    Shown are recall (which share of the documents that answer is among the first N), MRR (how far up the first of them
    stands) and nDCG (how far up all stand), means over all questions from 0 to 1, and the questions of which no
    document was found. A path may be relative to this folder or to that of QUESTIONS, absolute, or the end of a path.
    """
    count = options.whole_number(limit, "-k/--limit")
    wanted = [options.gate(text, _MEASURES) for text in at_least or ()]
    from embedmill.api.evaluate import evaluate as evaluated
    from embedmill.cli.progress import shown_list
    from embedmill.cli.render import evaluation as render

    options.tell_store(given)
    with shown_list(output.for_progress(), "searches") as on_progress:
        found = evaluated(
            questions,
            store=given.get("store"),
            against=against,
            k=count,
            on_progress=on_progress,
            schema=given.get("schema"),
            model=given.get("model"),
            query_prompt=given.get("query_prompt"),
        )
    if as_json:
        output.emit(found.to_dict())
    elif not output.quiet():
        output.say(render.for_people(found))
    return _judge(found.stores[0], wanted)


def _judge(store: StoreEvaluation, wanted: list[tuple[str, float]]) -> int:
    lower = [
        f"{name} is {value:.4f}, wanted is at least {least:g}"
        for name, least in wanted
        if (value := getattr(store, name)) < least
    ]
    if lower:
        output.complain(f"error: {'; '.join(lower)}")
    return exit_codes.SOME_FAILED if lower else exit_codes.DONE
