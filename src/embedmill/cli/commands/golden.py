"""``embedmill golden``: vectors that are kept, to be compared with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from embedmill.api.settings import GoldenOptions
from embedmill.cli import exit_codes, options, output, parser
from embedmill.core.errors import UsageError
from embedmill.storage.registry import DEFAULT_URL, known_urls

if TYPE_CHECKING:
    from embedmill.api.golden import GoldenCheck


_Texts = Annotated[
    str | None,
    options.option(
        "--texts",
        metavar="INPUT",
        help='A file with a text in each line, or JSON Lines with a "text" each; - is standard input. Default: '
        "chunks of the store.",
    ),
]


@parser.command(
    "embedmill golden record golden.jsonl",
    "embedmill golden record golden.jsonl --store sqlite:notes.db --sample 200",
    "embedmill golden record golden.jsonl --texts samples.txt",
    "embedmill golden record golden.jsonl --texts samples.jsonl --model BAAI/bge-small-en-v1.5",
    "head -100 corpus.txt | embedmill golden record golden.jsonl --texts - --overwrite",
    notes="Texts of your own should be like those you embed: some dozens, long and short. --precision, "
    "--document-prompt and the store, and with --texts the model, are also read from the environment (EMBEDMILL_STORE) "
    "and from ./embedmill.toml.",
)
def record(
    *,
    file: Annotated[str, options.argument("FILE", "The file to write, as in golden.jsonl.")],
    texts: _Texts = None,
    sample: Annotated[
        str | None, options.option("--sample", metavar="N", help="So many chunks of the store. Default: 64.")
    ] = None,
    given: Annotated[
        GoldenOptions,
        options.Given(
            *("model", "precision", "document_prompt", "store", "schema"),
            model={"help": "The model. Default: the store's; with --texts all-MiniLM-L6-v2."},
            store={"help": f"The store that texts are taken from: {known_urls()}. Default: {DEFAULT_URL}."},
            schema=options.READ_SCHEMA,
            precision={"help": "What the model computes in. Default: f32, which all processors compute alike."},
            document_prompt={
                "help": r"What is put before each text, as in 'passage: '; \n is a line break. Default: what the "
                "store has noted, else what the model's files say."
            },
        ),
    ],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace FILE if it is there, and a golden set.")
    ] = False,
    as_json: bool,
) -> int:
    """Embed texts and keep their vectors in FILE.

    FILE is JSON Lines: what the vectors are of, then each text with its vector. Whatever changes later, the model's
    files, a library or the machine, `golden check` tells.
    """
    from embedmill.api.golden import golden_record
    from embedmill.cli.progress import shown_list
    from embedmill.cli.render.wording import counted

    number = None if sample is None else options.whole_number(sample, "--sample")
    if texts is None:
        options.tell_store(given)
    with shown_list(output.for_progress(), "texts") as on_progress:
        golden = golden_record(
            file,
            None if texts is None else _texts(texts),
            sample=number,
            overwrite=overwrite,
            on_progress=on_progress,
            **given,
        )
    space, precision = golden.fingerprint.space.id, golden.fingerprint.precision
    if as_json:
        facts = {"file": file, "texts": len(golden.texts), "model": golden.model, "space": space}
        output.emit(facts | {"precision": precision, "dimension": golden.fingerprint.space.dimension})
    elif not output.quiet():
        told = f"{counted(len(golden.texts), 'text')} with their vectors in {file}: {golden.model}, {precision}"
        output.say(output.one_line(told))
    return exit_codes.DONE


def _texts(place: str) -> Iterator[str]:
    from embedmill.quality.texts import read_texts, texts_of_stream

    if place != "-":
        return read_texts(place)
    if sys.stdin is None:
        raise UsageError("the texts are to come from standard input, which is closed")
    return texts_of_stream(sys.stdin.buffer, "standard input")


@parser.command(
    "embedmill golden check golden.jsonl",
    "embedmill golden check golden.jsonl --precision f32 --tolerance 0.99999",
    "embedmill golden check --json",
    notes="Exit code 0: the same model and vectors. 3: they are not; the last line says whether the model has changed "
    "or the arithmetic. --precision is also read from the environment (EMBEDMILL_PRECISION) and from ./embedmill.toml.",
)
def check(
    *,
    file: Annotated[
        str | None,
        options.argument("FILE", "What `golden record` wrote. Default: the set of the default model in this package."),
    ] = None,
    tolerance: Annotated[
        str | None,
        options.option(
            "--tolerance", metavar="COSINE", help="The lowest cosine that counts as the same vector. Default: 0.999."
        ),
    ] = None,
    given: Annotated[
        GoldenOptions,
        options.Given(
            "model",
            "precision",
            model={"help": "The model to compare with FILE. Default: found by the name that FILE has noted."},
        ),
    ],
    as_json: bool,
) -> int:
    """Compute the vectors in FILE again and compare.

    Shows how the cosines of old and new vectors are distributed. A model of another vector space has changed: the
    fields that differ are named, as weights, tokenizer or pooling. Where the space is the same and vectors differ, it
    is the arithmetic: another precision, library or processor.
    """
    from embedmill.api.golden import golden_check
    from embedmill.cli.progress import shown_list
    from embedmill.quality.agreement import TOLERANCE

    lowest = TOLERANCE if tolerance is None else options.number(tolerance, "--tolerance")
    with shown_list(output.for_progress(), "texts") as on_progress:
        found = golden_check(
            file,
            model=given.get("model"),
            precision=given.get("precision"),
            tolerance=lowest,
            on_progress=on_progress,
        )
    if as_json:
        output.emit(found.to_dict())
    else:
        _tell(found)
    return exit_codes.DONE if found.passed else exit_codes.SOME_FAILED


def _tell(found: GoldenCheck) -> None:
    from embedmill.cli.render import golden as render

    if not output.quiet():
        output.say(render.table_of(found))
        for deviation in found.worst:
            output.say(output.one_line(render.line_of(deviation)))
    if not found.passed:
        output.complain(f"error: {found.problem}")


golden = parser.group(
    *(record, check), name="golden", help="Keep vectors, and compare with them later.", no_args_is_help=True
)
