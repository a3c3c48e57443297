"""The options that the commands on trees of terms have in common."""

from __future__ import annotations

from typing import Annotated, Final

from embedmill.api.settings import TermOptions
from embedmill.cli import options

_INPUT: Final = options.argument(
    "INPUT",
    "A tree or list of terms: YAML, JSON, a term in each line, CSV of parent and child, the hierarchy of Tencent "
    "ML-Images, ImageNet's dictionary or index, COCO's annotations or Open Images' hierarchy.",
)
Input = Annotated[str, _INPUT]
OptionalInput = Annotated[str | None, _INPUT]
InputFormat = Annotated[
    str | None,
    options.option(
        "--input-format",
        metavar="NAME",
        help="What INPUT is: yaml, json, jsonl, flat, csv, tencent, imagenet, imagenet-index, coco, open-images or "
        "txt-folder. Default: by what is in it.",
    ),
]
Classes = Annotated[
    str | None,
    options.option("--classes", metavar="FILE", help="With Open Images' hierarchy: the CSV with its classes' names."),
]
EMBEDDED_WITH = options.Given(*TermOptions.__annotations__)
