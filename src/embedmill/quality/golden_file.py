"""A golden set: texts with the vectors that a model is known to give them, in a file of JSON Lines.

The first line says what the vectors are of: the format's version, the model, its vector space field by field, the
precision, and what computed them; then how many texts follow, and the SHA-256 of all lines behind the first, each with
one line feed. Each further line is a text with its vector, float32 numbers of little-endian byte order in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, get_type_hints

import numpy as np

from embedmill.core.errors import EmbedmillError, SourceError
from embedmill.core.spaces import Fingerprint, Space
from embedmill.core.vectors import Vector, Vectors
from embedmill.quality.json_lines import JsonLine, TextLine, read_lines
from embedmill.runtime.atomic import write_atomically
from embedmill.runtime.outputs import OutputKind, make_folder
from embedmill.runtime.paths import FilePath, quote_path

VERSION: Final = 1
"""Of the format. A file of another one is refused."""

GOLDEN: Final = OutputKind("golden set", lambda beginning: beginning.startswith(b'{"golden": '))

_PLATFORM: Final = ("embedmill", "openvino", "processor")


@dataclass(frozen=True, slots=True)
class Platform:
    """What computed vectors. Changed arithmetic has its reason here."""

    embedmill: str  # version
    openvino: str  # version
    processor: str  # its name


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """Texts with their vectors, and what these are of."""

    model: str  # its name, for people
    fingerprint: Fingerprint
    platform: Platform
    texts: Sequence[str]
    vectors: Vectors  # float32 (texts, dimension)


def write_golden(path: FilePath, golden: GoldenSet) -> None:
    """Write the file, all of it or nothing; a folder that is missing is made.

    Raises `EmbedmillError` where that cannot be done.
    """
    lines = [
        _line({"text": text, "vector": base64.b64encode(vector.astype("<f4").tobytes()).decode()})
        for text, vector in zip(golden.texts, golden.vectors, strict=True)
    ]
    header = {
        "golden": VERSION,
        "model": golden.model,
        "space": asdict(golden.fingerprint.space),
        "precision": golden.fingerprint.precision,
        "platform": asdict(golden.platform),
        "texts": len(lines),
        "sha256": _digest(lines),
    }
    try:
        make_folder(Path(path))
        write_atomically(Path(path), [_line(header), *lines])
    except OSError as error:
        shown = quote_path(os.fspath(path))
        raise EmbedmillError(f"{shown}: cannot be written ({error.strerror or error})") from error


def read_golden(path: FilePath) -> GoldenSet:
    """Read a file that `write_golden` has written.

    Raises `SourceError`, one line that names the place, for one that cannot be read, is no golden set or one of another
    version, and for one that was cut or changed afterwards.
    """
    shown = quote_path(os.fspath(path))
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        raise SourceError(f"{shown}: is empty, and no golden set: make one with `embedmill golden record`")
    header = _header(first.object())
    space = _space(header)
    wanted = _count(header)
    rest: list[TextLine] = []
    for line in lines:
        if len(rest) == wanted:
            raise line.wrong(f"the first line says {wanted:,} texts, and here is one more: {_AGAIN}")
        rest.append(line)
    if len(rest) < wanted:
        raise SourceError(f"{shown}: has {len(rest):,} of its {wanted:,} texts, it was cut: {_AGAIN}")
    rows = [_row(line.object(), space.dimension) for line in rest]
    if header.text("sha256") != _digest(f"{line.text}\n".encode() for line in rest):
        raise SourceError(f"{shown}: its texts or vectors are not those that were recorded: {_AGAIN}")
    vectors = np.stack([vector for _, vector in rows])
    fingerprint = Fingerprint(space, header.text("precision"))
    return GoldenSet(header.text("model"), fingerprint, _platform(header), [text for text, _ in rows], vectors)


_AGAIN: Final = "take a whole copy, or record it again"


def _header(header: JsonLine) -> JsonLine:
    version = header.values.get("golden")
    if version is None:
        raise header.wrong('is no head of a golden set ("golden" is missing): make one with `embedmill golden record`')
    if version != VERSION or type(version) is not int:
        raise header.wrong(
            f"a golden set of version {str(version)[:20]!r}, and this embedmill reads version {VERSION}: take the "
            "embedmill that has written it, or record it again"
        )
    return header


def _count(header: JsonLine) -> int:
    count = header.value("texts")
    if type(count) is not int or count < 1:
        raise header.wrong('"texts" is no number of texts')
    return count


def _space(header: JsonLine) -> Space:
    found, kinds = header.value("space"), get_type_hints(Space)
    if not isinstance(found, dict) or set(found) - set(kinds):
        raise header.wrong('"space" is not what decides a vector')
    for field in fields(Space):
        if type(found.get(field.name)) is not kinds[field.name]:
            raise header.wrong(f'"space" has no {field.name!r} of the right kind')
        if kinds[field.name] is str:
            header.checked_text(found[field.name], f'"space", {field.name!r}')
    if found["dimension"] < 1:
        raise header.wrong('"space" has no dimension')
    return Space(**found)


def _platform(header: JsonLine) -> Platform:
    found = header.value("platform")
    if not isinstance(found, dict):
        raise header.wrong('"platform" does not say what computed the vectors')
    return Platform(**{name: header.checked_text(found.get(name), f'"platform", {name!r}') for name in _PLATFORM})


def _row(line: JsonLine, dimension: int) -> tuple[str, Vector]:
    text, encoded = line.text("text"), line.text("vector")
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise line.wrong(f'"vector" is no base64 ({error}): {_AGAIN}') from None
    if len(data) != 4 * dimension:
        raise line.wrong(f'"vector" has {len(data):,} bytes, {dimension:,} float32 numbers have {4 * dimension:,}')
    vector = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.isfinite(vector).all() or not vector.any():
        raise line.wrong('"vector" has NaN or infinite numbers, or only zeros')
    return text, vector


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"


def _digest(lines: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
    return digest.hexdigest()
