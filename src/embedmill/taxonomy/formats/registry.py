"""Formats, by name. A new one is a module of this folder and a line of `READERS` or `WRITERS`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from embedmill.core.checks import one_of
from embedmill.core.errors import SourceError, UsageError
from embedmill.runtime.atomic import write_atomically
from embedmill.taxonomy.formats import json_text, txt_folder
from embedmill.taxonomy.formats.text import FileText, decode
from embedmill.taxonomy.tree import Branch

AUTO: Final = "auto"
"""As a format: by what is in the file."""

FOLDER: Final = "txt-folder"
"""As a format: a folder of text files."""

_PACKAGE: Final = "embedmill.taxonomy.formats"


@dataclass(frozen=True, slots=True)
class ReadFormat:
    """A format that is read: its module has `read`, and where nothing else is said, `fits`."""

    name: str
    module: str
    summary: str
    is_json: bool = False  # then `read` and `fits` are given what the JSON holds
    recognised_by: str = ""  # the module that has `fits`
    suffixes: Sequence[
        str
    ] = ()  # of files that are taken for this format whatever they hold, so that errors are its own


READERS: Final = (
    ReadFormat("jsonl", f"{_PACKAGE}.jsonl", "JSON Lines of text and hierarchy", suffixes=(".jsonl",)),
    ReadFormat("tencent", f"{_PACKAGE}.tencent", "the hierarchy of Tencent ML-Images"),
    ReadFormat("imagenet", f"{_PACKAGE}.imagenet", "the dictionary of ImageNet's classes"),
    ReadFormat("imagenet-index", f"{_PACKAGE}.imagenet_index", "ImageNet's classes as JSON", is_json=True),
    ReadFormat("coco", f"{_PACKAGE}.coco", "the categories of COCO's annotations", is_json=True),
    ReadFormat("open-images", f"{_PACKAGE}.open_images", "the hierarchy of Open Images", is_json=True),
    ReadFormat("json", f"{_PACKAGE}.nested_json", "nested JSON", is_json=True, suffixes=(".json",)),
    ReadFormat("csv", f"{_PACKAGE}.parent_child", "CSV of parent and child", suffixes=(".csv", ".tsv")),
    ReadFormat(
        "yaml", f"{_PACKAGE}.yaml.reader", "nested YAML",
        recognised_by=f"{_PACKAGE}.nested_yaml", suffixes=(".yaml", ".yml"),
    ),
    ReadFormat("flat", f"{_PACKAGE}.flat", "one term a line"),
)  # fmt: skip
"""In the order in which they are tried."""


@dataclass(frozen=True, slots=True)
class WriteFormat:
    """A format that is written: its module has `write`, to a text, or into a folder."""

    name: str
    module: str
    summary: str
    is_folder: bool = False


WRITERS: Final = (
    WriteFormat("yaml", f"{_PACKAGE}.yaml.writer", "YAML with its comments"),
    WriteFormat("jsonl", f"{_PACKAGE}.jsonl", "JSON Lines of text, label and hierarchy"),
    WriteFormat("csv", f"{_PACKAGE}.parent_child", "CSV with a line for each term and branch"),
    WriteFormat(FOLDER, f"{_PACKAGE}.txt_folder", "a folder with a text file for each branch", is_folder=True),
)

_READERS_BY_NAME: Final = {each.name: each for each in READERS}
_WRITERS_BY_NAME: Final = {each.name: each for each in WRITERS}


def read_tree(path: Path, file_format: str = AUTO, *, classes: Path | None = None) -> Branch:
    """The tree in a file, or in a folder of text files.

    `file_format` is the name of a reader, or `AUTO`, or `FOLDER`. `classes` is the CSV with the names of the labels of
    Open Images.

    Raises `UsageError` for a format that is not known, or classes for another format than theirs; `SourceError`, with
    line and column where there are such, for a file that cannot be read or is wrong; `MissingExtra`.
    """
    if path.is_dir():
        one_of("format", file_format, [AUTO, FOLDER])
        if classes is not None:
            raise UsageError(f"{classes} has the names of Open Images, and {path} is a folder of lists: leave it out")
        return txt_folder.read(path)
    return tree_of(path.name, _bytes(path), file_format, classes=(classes.name, _bytes(classes)) if classes else None)


def tree_of(name: str, data: bytes, file_format: str = AUTO, *, classes: tuple[str, bytes] | None = None) -> Branch:
    """The tree in the bytes of a file, which errors call `name`; otherwise as `read_tree`."""
    one_of("format", file_format, [AUTO, *_READERS_BY_NAME])
    file = decode(name, data)
    reader, parsed = _chosen(file, file_format)
    module: Any = import_module(reader.module)
    if classes and reader.name != "open-images":
        raise UsageError(f"{classes[0]} has the names of Open Images, and {name} is {reader.summary}: leave it out")
    if not reader.is_json:
        tree: Branch = module.read(file)
    elif classes:
        tree = module.read(file, parsed, module.class_names(decode(*classes)))
    else:
        tree = module.read(file, parsed)
    return tree


def _chosen(file: FileText, file_format: str) -> tuple[ReadFormat, Any]:
    """The reader for a file, and what the file holds where that is JSON."""
    if file_format != AUTO:
        reader = _READERS_BY_NAME[file_format]
        return reader, json_text.load(file) if reader.is_json else None
    suffix = Path(file.name).suffix.casefold()
    named = next((each for each in READERS if suffix in each.suffixes), None)
    # A single line of JSON Lines is JSON as well.
    parsed = None if _fits(READERS[0], file) else _json(file, must_be=named is not None and named.is_json)
    for reader in READERS:
        if reader.is_json is (parsed is not None) and _fits(reader, parsed if reader.is_json else file):
            return reader, parsed
        if reader is named:
            return reader, parsed
    raise file.no_terms()


def _fits(reader: ReadFormat, content: Any) -> bool:
    return bool(import_module(reader.recognised_by or reader.module).fits(content))


def _json(file: FileText, *, must_be: bool) -> Any:
    """What a file holds that is JSON, or has to be; None for others. YAML may begin with a bracket, too."""
    if not must_be and not file.text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json_text.load(file)
    except SourceError:
        if must_be:
            raise
        return None


def write_tree(tree: Branch, path: Path, file_format: str = "yaml") -> list[Path]:
    """Write a tree to a file, or into a new folder; gives the files written.

    Raises `UsageError` for a format that is not known and for what the format cannot hold, and `SourceError` where
    writing fails.
    """
    one_of("format", file_format, _WRITERS_BY_NAME)
    writer = _WRITERS_BY_NAME[file_format]
    module: Any = import_module(writer.module)
    if writer.is_folder:
        written: list[Path] = module.write(tree, path)
        return written
    content: bytes = module.write(tree).encode()
    try:
        write_atomically(path, [content])
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror}") from error
    return [path]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
