"""Golden sets: vectors that are kept, to be compared with those that a model gives later, or elsewhere."""

from __future__ import annotations

import hashlib
import heapq
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final, Unpack

import numpy as np

from embedmill.api.embedders import load_embedder, make_embedder
from embedmill.api.read_settings import read_settings
from embedmill.api.settings import GoldenOptions, Settings, StoreOptions, check_options, option_name
from embedmill.api.stores import open_chosen_store
from embedmill.core.checks import switches, whole_number
from embedmill.core.errors import EmbeddingError, UsageError
from embedmill.core.spaces import OF_QUERIES, Space
from embedmill.core.vectors import Vectors
from embedmill.embedders.local import LocalEmbedder
from embedmill.engine.lists import checked
from embedmill.quality.agreement import TOLERANCE, Agreement, Cosines, compare
from embedmill.quality.golden_file import GOLDEN, GoldenSet, Platform, read_golden, write_golden
from embedmill.runtime import machine
from embedmill.runtime.outputs import check_output
from embedmill.runtime.paths import FilePath, quote_path
from embedmill.storage.registry import local_files

OnCounted = Callable[[int, int], None]
"""Told how many texts are done, and how many there are."""

_PACKAGED: Final = "golden.jsonl"

_SAMPLE: Final = 64  # texts of a store

_WORST: Final = 5  # texts that are named


@dataclass(frozen=True, slots=True)
class Computed:
    """What vectors are of, and what has computed them."""

    model: str
    space: str
    precision: str
    embedmill: str  # version
    openvino: str  # version
    processor: str


@dataclass(frozen=True, slots=True)
class Deviation:
    """A text whose vector is another than the one recorded."""

    text: int  # its number, counted from 1: it stands in the file's next line
    beginning: str
    cosine: float | None  # None where there is no vector now
    cause: str = ""  # why there is none


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """What comparing a golden set with the vectors of a model has shown."""

    file: str
    verdict: str  # "unchanged", "changed arithmetic" or "changed model"
    differs: Sequence[str]  # the fields of the vector space that are others; of a changed model alone
    texts: int
    apart: int  # texts whose vector is another one
    tolerance: float  # lowest cosine that counts as the same vector
    cosine: Cosines | None  # None where vectors of two dimensions cannot be compared
    worst: Sequence[Deviation]  # at most 5
    recorded: Computed
    computed: Computed

    @property
    def passed(self) -> bool:
        """Whether the model is the same, and so are its vectors, up to the tolerance."""
        return self.verdict == "unchanged"

    @property
    def problem(self) -> str:
        """What is wrong, and what to do, in one line; "" where nothing is."""
        if self.passed:
            return ""
        apart = f"{self.apart:,} of {self.texts:,} texts below a cosine of {self.tolerance}"
        then, now = self.recorded, self.computed
        if self.differs:
            return (
                f"the model has changed: {now.model} has other {', '.join(self.differs)} than {then.model} had when it "
                f"was recorded{f' ({apart})' if self.cosine else ''}: give another --model, or record a new golden set"
            )
        reasons = [
            f"{name} {getattr(then, name)} then, {getattr(now, name)} now"
            for name in ("precision", "openvino", "processor")
            if getattr(then, name) != getattr(now, name)
        ]
        why = "; ".join(reasons) or "with the same precision, library and processor"
        remedy = f"--precision {then.precision}" if now.precision != then.precision else "another version of openvino"
        return f"the arithmetic has changed: of the same model {apart}: {why}; try {remedy}"

    def to_dict(self) -> dict[str, Any]:
        """The check as it appears under ``--json``."""
        return {"passed": self.passed, "problem": self.problem} | asdict(self)


def golden_record(
    file: FilePath,
    texts: Iterable[str] | None = None,
    *,
    sample: int | None = None,
    overwrite: bool = False,
    on_progress: OnCounted | None = None,
    **options: Unpack[GoldenOptions],
) -> GoldenSet:
    """Embed texts, and write them with their vectors to a file: ``embedmill golden record``.

    Without `texts` these are `sample` chunks of a store, by default 64, always the same as long as the store is, and
    the model is the store's. What is not given comes from the settings; a precision of "auto" is f32 here, which all
    processors compute alike. `on_progress` is told how many texts are done, and how many there are.

    Raises `UsageError` where there are no texts, where the file is there and is not to be overwritten, or is something
    else than a golden set, or of the store; `EmbeddingError` where a text has no vector; `EmbedmillError` where it
    cannot be written; what `load_embedder` raises, and `StoreError` where there is no store.
    """
    check_options(golden_record, options, GoldenOptions)
    switches(overwrite=overwrite)
    given: dict[str, Any] = dict(options)
    _check_target(file, given if texts is None else None, overwrite=overwrite)
    if texts is None:
        listed, of_store = _sample(given, _SAMPLE if sample is None else whole_number("sample", sample))
        given = of_store | {name: value for name, value in given.items() if value is not None}
    else:
        listed = checked(texts)
        for name in ("store", "schema", "db_timeout"):
            if given.get(name) is not None:
                raise UsageError(f"{option_name(name)} is for texts of a store: leave it out, or --texts")
        if sample is not None:
            raise UsageError("--sample is for texts of a store: leave it out, or --texts")
    if not listed:
        raise UsageError("no texts: give some that are like those you embed")
    chosen = read_settings(given, ("model", "precision", "document_prompt"))
    with load_embedder(
        chosen.model,
        precision="f32" if chosen.precision == "auto" else chosen.precision,
        document_prompt=chosen.document_prompt,
    ) as embedder:
        vectors = embedder.embed(listed, on_progress=_of(len(listed), on_progress))
        golden = GoldenSet(embedder.name, embedder.fingerprint, _here(), listed, vectors)
    write_golden(file, golden)
    return golden


def _check_target(file: FilePath, of_store: Mapping[str, Any] | None, *, overwrite: bool) -> None:
    """Raise `UsageError` where the file cannot be meant: before all is computed. `of_store` names that of the texts."""
    path, shown = Path(file), quote_path(os.fspath(file))
    taken = [] if of_store is None else local_files(_store_of(of_store).store)
    check_output("FILE", file, GOLDEN, store_files=taken)
    if path.exists() and not path.is_file():
        raise UsageError(f"{shown} is no file that could be replaced: give another")
    if path.exists() and not overwrite:
        raise UsageError(f"{shown} is there already: give another file, or --overwrite")


def _sample(given: Mapping[str, Any], most: int) -> tuple[list[str], dict[str, Any]]:
    """Texts of a store, those whose hash is smallest; and the settings of the model that it is filled with."""
    with closing(open_chosen_store(_store_of(given), write=False)) as store:
        status = store.status()
        texts = (chunk.input for chunk in store.chunks())
        found = heapq.nsmallest(most, texts, key=lambda text: hashlib.sha256(text.encode()).digest())
    return list(dict.fromkeys(found)), {"model": status.model, "document_prompt": status.document_prompt or None}


def _store_of(given: Mapping[str, Any]) -> Settings:
    return read_settings({name: given.get(name) for name in StoreOptions.__annotations__}, StoreOptions)


def golden_check(
    file: FilePath | None = None,
    *,
    model: str | None = None,
    precision: str | None = None,
    tolerance: float = TOLERANCE,
    on_progress: OnCounted | None = None,
) -> GoldenCheck:
    """Embed the texts of a golden set again, and compare: ``embedmill golden check``.

    Without a file it is the set of the default model that comes with embedmill. `model` is what to compare, by default
    the one that the file names; the settings say in which precision. `tolerance` is the lowest cosine, above 0 and up
    to 1, that counts as the same vector. Raises `UsageError`, `SourceError` where the file is no golden set or a
    damaged one, and what `load_embedder` raises.
    """
    least = checked_tolerance(tolerance)
    golden = packaged_golden() if file is None else read_golden(file)
    chosen = read_settings({"precision": precision}, ("precision",))
    with make_embedder(
        model or golden.model,
        precision=chosen.precision,
        document_prompt=golden.fingerprint.space.prompt or None,
    ) as embedder:
        name = "the golden set of embedmill" if file is None else os.fspath(file)
        return compare_golden(golden, embedder, name, least, on_progress)


def packaged_golden() -> GoldenSet:
    """The golden set of the default model that comes with embedmill."""
    with as_file(files("embedmill.quality") / _PACKAGED) as path:
        return read_golden(path)


def compare_golden(
    golden: GoldenSet,
    embedder: LocalEmbedder,
    file: str,
    tolerance: float = TOLERANCE,
    on_progress: OnCounted | None = None,
) -> GoldenCheck:
    """Compare a golden set with the vectors of an embedder; `file` is the set's name for people."""
    space, held = embedder.fingerprint.space, golden.fingerprint
    differs = different_fields(held.space, space)
    comparable = space.dimension == held.space.dimension
    vectors, causes = _embedded(golden.texts, embedder, on_progress) if comparable else (None, {})
    agreement = None if vectors is None else compare(golden.vectors, vectors, tolerance)
    apart = len(golden.texts) if agreement is None else int(agreement.apart.sum())
    verdict = "changed model" if differs else "changed arithmetic" if apart else "unchanged"
    return GoldenCheck(
        file=file,
        verdict=verdict,
        differs=differs,
        texts=len(golden.texts),
        apart=apart,
        tolerance=tolerance,
        cosine=None if agreement is None else agreement.distribution,
        worst=[] if agreement is None else _worst(golden.texts, agreement, causes),
        recorded=Computed(golden.model, held.space.id, held.precision, **asdict(golden.platform)),
        computed=Computed(embedder.name, space.id, embedder.fingerprint.precision, **asdict(_here())),
    )


def different_fields(held: Space, space: Space) -> list[str]:
    """The fields in which two spaces differ, of those that decide a document's vector."""
    names = [field.name for field in fields(Space) if field.name not in OF_QUERIES]
    return [name for name in names if getattr(held, name) != getattr(space, name)]


def checked_tolerance(value: float) -> float:
    """The value, if it can be a tolerance. Raises `UsageError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise UsageError(f"tolerance is {value!r}: give a cosine above 0 and up to 1, as in {TOLERANCE}")
    return float(value)


def _of(total: int, on_progress: OnCounted | None) -> Callable[[int], None] | None:
    return None if on_progress is None else lambda done: on_progress(done, total)


def _embedded(
    texts: Sequence[str], embedder: LocalEmbedder, on_progress: OnCounted | None
) -> tuple[Vectors, dict[int, str]]:
    """Vectors of the texts, NaN for those that have none, and why they have none."""
    try:
        return embedder.embed(texts, on_progress=_of(len(texts), on_progress)), {}
    except EmbeddingError as error:
        return error.vectors, {row: cause.message for row, cause in error.causes.items()}


def _worst(texts: Sequence[str], agreement: Agreement, causes: dict[int, str]) -> list[Deviation]:
    order = np.argsort(np.nan_to_num(agreement.cosines, nan=-math.inf))
    return [
        Deviation(
            row + 1, texts[row][:80], None if row in causes else float(agreement.cosines[row]), causes.get(row, "")
        )
        for row in order.tolist()
        if agreement.apart[row]
    ][:_WORST]


def _here() -> Platform:
    return Platform(metadata.version("embedmill"), metadata.version("openvino"), machine.processor())
