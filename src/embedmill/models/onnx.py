"""Which other files an ONNX graph keeps its weights in, and how it is read where these are links.

A graph beyond 2 GB, and many a smaller one, has its tensors in files beside it, whose names only the graph says. So
its messages are walked here, by the numbers that ONNX gives to their fields
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): nothing but these names is read.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from embedmill.core.errors import ModelError
from embedmill.models.json_config import unreadable
from embedmill.runtime.folders import cache_folder

# What each kind of message has that leads to a tensor: the field's number -> its kind of message.
_MESSAGES: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},  # external_data: entries of a key (1) and a value (2)
    "entry": {},
}
_KEY: Final = 1
_VALUE: Final = 2
_GRAPH: Final = 7
_DEEPEST: Final = 100  # protobuf's own bound on messages within messages
_MOST_FIELDS: Final = 3_000_000  # some seconds; a model of 500 layers has a tenth
_LONGEST_NAME: Final = 4096  # bytes
_BYTES: Final = 2  # the wire type of strings and messages


def external_files(path: Path) -> tuple[str, ...]:
    """The files that the graph's tensors lie in, as the graph writes them, each once.

    Raises `ModelError` for a file that is no ONNX graph.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            message = _Message(buffer)
            if not any(number == _GRAPH for number, *_ in message.fields(0, len(buffer))):
                raise ValueError("it has no graph")
            return tuple(dict.fromkeys(message.names(0, len(buffer), "model")))
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, IndexError) as error:
        raise ModelError(f"{path}: no ONNX graph, or a damaged one ({error}): fetch the model again") from error


@contextlib.contextmanager
def without_links(graph: Path, beside: Sequence[Path]) -> Iterator[Path]:
    """The graph in a folder where it and the files that it names are no links, for as long as it takes to read it.

    OpenVINO refuses files that are links out of the graph's folder, as all are in a hub's cache. Their content is not
    copied where a second name can be given to it, which takes one file system.
    """
    if not any(path.resolve() != path.parent.resolve() / path.name for path in beside):
        yield graph
        return
    import shutil  # with `tempfile`, 7 ms that most starts need not pay

    folder = _folder_on_the_same_disk(graph.resolve())
    try:
        for path in (graph, *beside):
            target = folder / path.relative_to(graph.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path.resolve(), target)
            except OSError:  # another file system, or another user's file
                shutil.copyfile(path, target)
        yield folder / graph.name
    except OSError as error:
        raise ModelError(f"{graph}: the files beside it cannot be read ({error.strerror})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folder_on_the_same_disk(file: Path) -> Path:
    """A new temporary folder, on the file's own file system if there is a place where that may be written."""
    import tempfile

    for parent in (cache_folder(), file.parent.parent):
        with contextlib.suppress(OSError):
            parent.mkdir(parents=True, exist_ok=True)
            if parent.stat().st_dev == file.stat().st_dev:
                return Path(tempfile.mkdtemp(dir=parent, prefix=".graph-"))
    return Path(tempfile.mkdtemp(prefix="embedmill-graph-"))


class _Message:
    """A protobuf message, whose fields are found without a copy of anything but names."""

    def __init__(self, buffer: mmap.mmap) -> None:
        self._buffer = buffer
        self._left = _MOST_FIELDS

    def names(self, start: int, stop: int, kind: str, depth: int = 0) -> Iterator[str]:
        """The names of files in the message of this kind between two bytes."""
        if depth > _DEEPEST:
            raise ValueError("messages within messages without end")
        if kind == "entry":
            texts = {
                number: self._buffer[first:last]
                for number, wire, first, last in self.fields(start, stop)
                if wire == _BYTES and last - first <= _LONGEST_NAME
            }
            if texts.get(_KEY) == b"location":
                yield texts.get(_VALUE, b"").decode()
            return
        for number, wire, first, last in self.fields(start, stop):
            inner = _MESSAGES[kind].get(number)
            if inner is not None and wire == _BYTES:
                yield from self.names(first, last, inner, depth + 1)

    def fields(self, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        """Number, wire type and place of the value of each field of a message."""
        at = start
        while at < stop:
            tag, first = self._varint(at, stop)
            number, wire = tag >> 3, tag & 7
            match wire:
                case 0:
                    _, last = self._varint(first, stop)
                case 1:
                    last = first + 8
                case 2:
                    length, first = self._varint(first, stop)
                    last = first + length
                case 5:
                    last = first + 4
                case _:
                    raise ValueError(f"a field of type {wire} at byte {at}")
            if last > stop or number == 0:
                raise ValueError(f"truncated at byte {at}")
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"more than {_MOST_FIELDS} fields")
            yield number, wire, first, last
            at = last

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        """A number of seven bits a byte, the lowest first, and where it ends."""
        value = shift = 0
        while at < stop and shift < 64:
            byte = self._buffer[at]
            value |= (byte & 0x7F) << shift
            at += 1
            if byte < 0x80:
                return value, at
            shift += 7
        raise ValueError(f"truncated at byte {at}")
