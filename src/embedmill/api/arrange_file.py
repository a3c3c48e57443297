"""A tree of terms from file to file: the command ``embedmill arrange``, and the kind of job of that name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, Unpack

from embedmill.api.arrange_report import ArrangeReport, GroupReport
from embedmill.api.read_settings import read_settings
from embedmill.api.settings import Settings, TermOptions, check_options
from embedmill.api.taxonomies import arrangement_of
from embedmill.api.terms import EmbeddingStopped, term_vectors
from embedmill.api.tree_files import InputFormat, OutputFormat, check_tree_file, read_tree_file, write_tree_file
from embedmill.core.checks import callables, switches
from embedmill.core.errors import UsageError
from embedmill.core.reports import ListProgress
from embedmill.engine.stopping import Stopping
from embedmill.runtime.paths import FilePath
from embedmill.taxonomy.analyzing import shape_of
from embedmill.taxonomy.arranging import Arrangement, Case, arrange_tree, check_arrangement
from embedmill.taxonomy.notes import read_glosses, read_overrides

if TYPE_CHECKING:
    from embedmill.core.interfaces.executor import Stoppable

Lengths = Literal["ultra-detailed", "detailed", "balanced", "flat", "ultra-flat"]
"""A row of `embedmill.taxonomy.arranging.PRESETS`."""
Count = int
"""A whole number from 0 up."""
ListLength = int
"""A whole number from 2 up."""
Cosine = float
"""From -1 to 1."""


class ArrangementOptions(TypedDict, total=False):
    """What is done to a tree, and what its files are; None for what is not given, as of ``embedmill arrange``."""

    format: OutputFormat | None
    input_format: InputFormat | None
    classes: FilePath | None
    preset: Lengths | None
    max_leaf: ListLength | None
    min_group: int | None
    threshold: Cosine | None
    own_label: str | None
    shape: bool
    min_leaf: int | None
    case: Case | None
    root: str | None
    exclude_subtree: Sequence[str]
    exclude_regex: str | None
    skip: Sequence[str]
    depth: Count | None
    flatten: bool
    limit: Count | None
    overrides: FilePath | None
    comment_template: str | None
    glosses: FilePath | None


class ArrangeFileOptions(ArrangementOptions, TermOptions, total=False):
    """The same, and what terms are embedded with."""


_OF_FILES: Final = {"format", "input_format", "classes"}
"""Those that say how files are read and written, and nothing of the tree."""


def arrange_file(
    input: FilePath,  # noqa: A002 - as in a manifest
    output: FilePath | None = None,
    *,
    dry_run: bool = False,
    on_progress: Callable[[ListProgress], None] = lambda _: None,
    on_start: Callable[[Stoppable], None] = lambda _: None,
    **options: Unpack[ArrangeFileOptions],
) -> ArrangeReport:
    """Arrange the tree of a file and write it to another, or to the same: the command ``embedmill arrange``.

    `options` are those of the command; of what terms are embedded with, those not given, or None, come from the
    environment and ``embedmill.toml``. With `dry_run`, and no `output`, the report has the tree. `on_progress` is told
    of terms embedded, then of lists grouped; `on_start` is given what has a `stop()`, which ends the arrangement early:
    nothing is written then, and what was embedded is in the cache.

    Raises `UsageError`, `SourceError` for a file that cannot be read or written, `MissingExtra`, `EmbeddingError` where
    a term has no vector, and what `load_embedder` raises. The output is there whole, or as it was before.
    """
    started = time.monotonic()
    callables(on_progress=on_progress, on_start=on_start)
    chosen, arrangement = _checked(output, dry_run, options)
    tree = read_tree_file(input, options.get("input_format"), options.get("classes"))
    before, stopping = shape_of(tree), Stopping()

    def tell(noun: str, done: int, total: int) -> None:
        if stopping.asked():
            raise EmbeddingStopped
        on_progress(ListProgress(noun, done, total, time.monotonic() - started))

    on_start(stopping)
    with term_vectors(_settings_among(options), partial(tell, "terms embedded"), stopping) as terms:
        report = partial(ArrangeReport, before=before, executor=chosen.executor, workers=terms.workers)
        try:
            tree, done = arrange_tree(
                tree, terms, arrangement, workers=terms.workers, tell=partial(tell, "lists grouped")
            )
            if stopping.asked():
                raise EmbeddingStopped
        except Exception:  # others, too: of what was given up because of the stop
            if not stopping.asked():
                raise
            return report(counts=dict(terms.counts), seconds=time.monotonic() - started)
        if output is not None:
            write_tree_file(tree, output, options.get("format"))
        return report(
            output=None if output is None else os.fspath(output),
            after=done.after,
            groups=[GroupReport.of(group) for group in done.groups],
            left_out=done.taken,
            counts=dict(terms.counts),
            seconds=time.monotonic() - started,
            tree=tree if dry_run else None,
        )


def check_arrange_file(
    output: FilePath | None = None, *, dry_run: bool = False, **options: Unpack[ArrangeFileOptions]
) -> Settings:
    """The settings of an `arrange_file` with these arguments. Raises what that raises before it reads its input."""
    return _checked(output, dry_run, options)[0]


def _checked(output: FilePath | None, dry_run: bool, options: ArrangeFileOptions) -> tuple[Settings, Arrangement]:
    check_options(arrange_file, options, ArrangeFileOptions)
    switches(dry_run=dry_run)
    _check_output(output, options.get("format"), dry_run=dry_run)
    arrangement = _arrangement(options)
    return read_settings(_settings_among(options), TermOptions), arrangement


def _settings_among(options: ArrangeFileOptions) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in TermOptions.__annotations__}


def _check_output(output: FilePath | None, output_format: str | None, *, dry_run: bool) -> None:
    if output is None and not dry_run:
        raise UsageError("--output is missing: say where the tree is to be written, or give --dry-run")
    if output is not None and dry_run:
        raise UsageError("--dry-run writes nothing: leave --output out")
    if output is not None:
        check_tree_file(output, output_format)
    elif output_format is not None:
        raise UsageError("--format is what --output is written as: leave it out with --dry-run")


def _arrangement(options: ArrangeFileOptions) -> Arrangement:
    """What is to be done, with what files say of it. Raises `UsageError` for options of which one has no effect."""
    given: Mapping[str, Any] = options
    values = {name: given.get(name) for name in ArrangementOptions.__annotations__.keys() - _OF_FILES}
    preset, overrides, glosses = (values.pop(name) for name in ("preset", "overrides", "glosses"))
    if values["flatten"] and values["depth"] is not None:
        raise UsageError("--flatten leaves no levels for --depth: give one of them")
    if glosses is not None and "{text}" not in (values["comment_template"] or ""):
        raise UsageError("--glosses is for {text} in --comment-template: give that too, or leave it out")
    if overrides is not None:
        values["overrides"] = read_overrides(Path(overrides))
    if glosses is not None:
        values["glosses"] = read_glosses(Path(glosses))
    arrangement = arrangement_of(preset or "balanced", values)
    check_arrangement(arrangement)
    return arrangement
