"""Trees of terms as functions: arranged and looked through, from memory; files are for the commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from embedmill.api.settings import TermOptions, check_options
from embedmill.api.terms import term_vectors
from embedmill.core.checks import callables, one_of, switches, text_or_none, whole_number
from embedmill.core.errors import UsageError
from embedmill.core.reports import ProgressCallback
from embedmill.engine.lists import OnProgress, checked
from embedmill.taxonomy.arranging import PRESETS, Arrangement, Case, arrange_tree
from embedmill.taxonomy.grouping.lists import Grouping
from embedmill.taxonomy.linting.findings import LintFinding
from embedmill.taxonomy.linting.lint import lint_tree
from embedmill.taxonomy.tree import Branch, Term

_GROUPING: tuple[str, ...] = tuple(Grouping.__slots__)


def arrange(
    terms: Iterable[str] | Branch,
    *,
    preset: str = "balanced",
    max_leaf: int | None = None,
    min_leaf: int | None = None,
    min_group: int | None = None,
    threshold: float | None = None,
    own_label: str | None = None,
    shape: bool = False,
    flatten: bool = False,
    case: Case = "keep",
    on_progress: OnProgress | None = None,
    **options: Unpack[TermOptions],
) -> Branch:
    """A tree with the terms, whose lists of more than `max_leaf` are grouped by meaning: ``embedmill arrange``.

    A tree that is given is changed in place. What the numbers are where they are not given is what the `preset` says,
    one of `PRESETS`. `on_progress` is told how many terms are embedded.

    Raises `TypeError` for what is neither a tree nor terms, `UsageError` for values that make no sense,
    `EmbeddingError` where a term has no vector, and what `load_embedder` raises.
    """
    check_options(arrange, options, TermOptions)
    callables(on_progress=on_progress)
    given = {"max_leaf": max_leaf, "min_leaf": min_leaf, "min_group": min_group, "threshold": threshold}
    arrangement = arrangement_of(
        preset, {**given, "own_label": own_label, "shape": shape, "flatten": flatten, "case": case}
    )
    root = terms if isinstance(terms, Branch) else Branch("", [Term(text) for text in checked(terms)])
    with term_vectors(options, _of_done(on_progress)) as embed:
        return arrange_tree(root, embed, arrangement, workers=embed.workers)[0]


def arrangement_of(preset: str, given: Mapping[str, Any]) -> Arrangement:
    """What is to be done to a tree, of a preset and of what was given, where None was not.

    Raises `UsageError` for a value that makes no sense.
    """
    one_of("preset", preset, PRESETS)
    values = {**PRESETS[preset], **{name: value for name, value in given.items() if value is not None}}
    for name in ("max_leaf", "min_leaf", "min_group"):
        if name in values:
            whole_number(name, values[name], 2 if name == "max_leaf" else 1)
    check_threshold("threshold", values.get("threshold", 0.0))
    for name in {"depth", "limit"} & values.keys():
        whole_number(name, values[name], 0)
    switches(shape=values.get("shape", False), flatten=values.get("flatten", False))
    text_or_none(**{name: values.get(name) for name in ("root", "own_label", "exclude_regex", "comment_template")})
    for name in {"skip", "exclude_subtree"} & values.keys():
        values[name] = _names(name, values[name])
    one_of("case", values.get("case", "keep"), ("keep", "title", "lower"))
    if not values.get("shape") and given.get("min_leaf") is not None:
        raise UsageError("--min-leaf is for --shape: give both, or leave it out")
    grouping = Grouping(**{name: values.pop(name) for name in _GROUPING if name in values})
    return Arrangement(grouping=grouping, **values)


def _names(option: str, value: object) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(name, str) for name in listed):
        raise UsageError(f"{option} is {value!r:.200}: give the names of branches, as a list of texts")
    return tuple(listed)


def check_threshold(name: str, value: object) -> None:
    """Raise `UsageError` for what is no cosine."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not -1 <= value <= 1:
        raise UsageError(f"{name} is {value!r}: give a cosine, from -1 to 1")


def lint(
    tree: Branch,
    *,
    max_leaf: int = 40,
    meaning: bool = True,
    on_progress: OnProgress | None = None,
    **options: Unpack[TermOptions],
) -> list[LintFinding]:
    """What may be wrong with a tree: ``embedmill lint``. Without `meaning` nothing is embedded, and less is found.

    Raises `TypeError` for what is no tree, `UsageError` for values that make no sense, and what `load_embedder` raises.
    """
    check_options(lint, options, TermOptions)
    whole_number("max_leaf", max_leaf)
    switches(meaning=meaning)
    callables(on_progress=on_progress)
    if not isinstance(tree, Branch):
        raise TypeError(f"expected a tree, got a {type(tree).__name__}: make one with arrange, or of embedmill.Tree")
    if not meaning:
        return lint_tree(tree, None, max_leaf=max_leaf)
    with term_vectors(options, _of_done(on_progress)) as embed:
        return lint_tree(tree, embed, max_leaf=max_leaf)


def _of_done(on_progress: OnProgress | None) -> ProgressCallback | None:
    return None if on_progress is None else lambda done, _: on_progress(done)
