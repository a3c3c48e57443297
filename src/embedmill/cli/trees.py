"""What the commands on trees of terms have in common: which file is read as what, and where a tree is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from embedmill.api.settings import TermOptions
from embedmill.cli import options
from embedmill.core.errors import UsageError

if TYPE_CHECKING:
    from embedmill.taxonomy.tree import Branch

Input = Annotated[
    str,
    options.argument(
        "INPUT",
        "A tree or list of terms: YAML, JSON, a term in each line, CSV of parent and child, the hierarchy of Tencent "
        "ML-Images, ImageNet's dictionary or index, COCO's annotations or Open Images' hierarchy.",
    ),
]
InputFormat = Annotated[
    str | None,
    options.option(
        "--input-format",
        metavar="NAME",
        help="What INPUT is: yaml, json, flat, csv, tencent, imagenet, imagenet-index, coco or open-images. "
        "Default: by what is in it.",
    ),
]
Classes = Annotated[
    str | None,
    options.option("--classes", metavar="FILE", help="With Open Images' hierarchy: the CSV with its classes' names."),
]
EMBEDDED_WITH = options.Given(*TermOptions.__annotations__)

_BY_SUFFIX: Final = {".yaml": "yaml", ".yml": "yaml", ".jsonl": "jsonl", ".csv": "csv"}


def read(path: str, file_format: str | None, classes: str | None) -> Branch:
    """The tree in a file. Raises what `read_tree` raises."""
    from embedmill.taxonomy.formats.registry import AUTO, read_tree

    return read_tree(Path(path), file_format or AUTO, classes=None if classes is None else Path(classes))


def output_format(path: str, file_format: str | None) -> str:
    """The format that is written. Raises `UsageError` where neither a name nor the path's ending says which."""
    if file_format is not None:
        return file_format
    suffix = Path(path).suffix.casefold()
    if not suffix:
        return "txt-folder"
    if suffix not in _BY_SUFFIX:
        raise UsageError(f"--output: {path} ends in none of {', '.join(_BY_SUFFIX)}: give --format too")
    return _BY_SUFFIX[suffix]


def check_output(path: str) -> None:
    """Raise `UsageError` before any work where a tree could not be written there."""
    if not Path(path).absolute().parent.is_dir():
        raise UsageError(f"--output: {path} cannot be written: there is no folder {Path(path).parent}")
