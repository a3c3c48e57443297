"""Trees of terms in files that users name: read as one format, written as another, refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from embedmill.core.checks import one_of
from embedmill.core.errors import UsageError
from embedmill.runtime.outputs import TEXT, check_output, make_folder
from embedmill.runtime.paths import FilePath

if TYPE_CHECKING:
    from embedmill.taxonomy.tree import Branch

InputFormat = Literal[
    "yaml", "json", "jsonl", "flat", "csv", "tencent", "imagenet", "imagenet-index", "coco", "open-images",
    "txt-folder"
]  # fmt: skip
OutputFormat = Literal["yaml", "jsonl", "csv", "txt-folder"]

_FOLDER: Final = "txt-folder"  # the format whose tree is a folder of files
_BY_SUFFIX: Final = {".yaml": "yaml", ".yml": "yaml", ".jsonl": "jsonl", ".csv": "csv", "": _FOLDER}


def read_tree_file(path: FilePath, input_format: str | None = None, classes: FilePath | None = None) -> Branch:
    """The tree in a file; a format of None is recognised by content. Raises what `read_tree` raises."""
    from embedmill.taxonomy.formats.registry import AUTO, read_tree

    return read_tree(Path(path), input_format or AUTO, classes=None if classes is None else Path(classes))


def check_tree_file(path: FilePath, output_format: str | None = None) -> None:
    """Raise `UsageError` before any work where a tree could not be written there."""
    is_folder = _format_of(path, output_format) == _FOLDER and Path(path).is_dir()
    if is_folder and any(Path(path).iterdir()):
        raise UsageError(f"--output: {path} is not empty: give a new folder")
    if not is_folder:
        check_output("--output", path, TEXT)


def write_tree_file(tree: Branch, path: FilePath, output_format: str | None = None) -> None:
    """Write a tree as its format, or the path's ending, says, in a folder that is made if need be.

    Raises `UsageError` where that cannot be made, and what `write_tree` raises.
    """
    from embedmill.taxonomy.formats.registry import write_tree

    try:
        make_folder(Path(path))
    except OSError as error:
        raise UsageError(f"--output: {path} cannot be written: {error.strerror or error}") from error
    write_tree(tree, Path(path), _format_of(path, output_format))


def _format_of(path: FilePath, output_format: str | None) -> str:
    if output_format is not None:
        return one_of("--format", output_format, get_args(OutputFormat))
    suffix = Path(path).suffix.casefold()
    if suffix not in _BY_SUFFIX:
        raise UsageError(f"--output: {path} ends in none of {', '.join(filter(None, _BY_SUFFIX))}: give --format too")
    return _BY_SUFFIX[suffix]
