"""What the commands on trees of terms have in common: which file is read as what, and where a tree is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from embedmill.api.settings import TermOptions
from embedmill.cli import options
from embedmill.core.checks import one_of
from embedmill.core.errors import UsageError
from embedmill.runtime.outputs import make_folder, why_not

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

_FOLDER: Final = "txt-folder"  # the format whose tree is a folder of files
_BY_SUFFIX: Final = {".yaml": "yaml", ".yml": "yaml", ".jsonl": "jsonl", ".csv": "csv", "": _FOLDER}
_FORMATS: Final = tuple(dict.fromkeys(_BY_SUFFIX.values()))


def read(path: str, file_format: str | None, classes: str | None) -> Branch:
    """The tree in a file. Raises what `read_tree` raises."""
    from embedmill.taxonomy.formats.registry import AUTO, read_tree

    return read_tree(Path(path), file_format or AUTO, classes=None if classes is None else Path(classes))


def check_output(path: str, file_format: str | None = None) -> None:
    """Raise `UsageError` before any work where a tree could not be written there."""
    is_folder = _format_of(path, file_format) == _FOLDER and Path(path).is_dir()
    if not is_folder and (reason := why_not(Path(path))):
        raise UsageError(f"--output: {path} cannot be written: {reason}: give another")


def write(tree: Branch, path: str, file_format: str | None = None) -> None:
    """Write a tree as its format, or the path's ending, says, in a folder that is made if need be.

    Raises `UsageError` where that cannot be made, and what `write_tree` raises.
    """
    from embedmill.taxonomy.formats.registry import write_tree

    try:
        make_folder(Path(path))
    except OSError as error:
        raise UsageError(f"--output: {path} cannot be written: {error.strerror or error}") from error
    write_tree(tree, Path(path), _format_of(path, file_format))


def _format_of(path: str, file_format: str | None) -> str:
    if file_format is not None:
        return one_of("--format", file_format, _FORMATS)
    suffix = Path(path).suffix.casefold()
    if suffix not in _BY_SUFFIX:
        raise UsageError(f"--output: {path} ends in none of {', '.join(filter(None, _BY_SUFFIX))}: give --format too")
    return _BY_SUFFIX[suffix]
