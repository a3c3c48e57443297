"""``embedmill lint``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from embedmill.api.settings import TermOptions
from embedmill.cli import clearing, exit_codes, options, output, parser, trees
from embedmill.core.errors import SourceError, UsageError

if TYPE_CHECKING:
    from embedmill.taxonomy.linting.findings import LintFinding
    from embedmill.taxonomy.tree import Branch, Taken

_YES_ALONE: Final = "--yes is for --clear-cache: leave it out, or give both"
_NO_INPUT: Final = "INPUT is missing: give a tree or list of terms"
_MaxLeaf = Annotated[
    str, options.option("--max-leaf", metavar="N", help="Lists of more terms are too long. Default: 40.")
]


@parser.command(
    "embedmill lint labels.yaml",
    "embedmill lint labels.yaml --no-meaning --json",
    "embedmill lint labels.yaml --fix",
    "embedmill lint labels.yaml --clean sound.yaml",
    "embedmill lint --clear-cache",
    notes="Exit code 0: nothing was found, or all of it mended. 3: something was found. " + options.SETTINGS_NOTE,
)
def lint(
    *,
    context: typer.Context,
    source: trees.OptionalInput = None,
    source_format: trees.InputFormat = None,
    classes: trees.Classes = None,
    max_leaf: _MaxLeaf = "40",
    meaning: Annotated[
        bool,
        typer.Option(
            "--meaning/--no-meaning",
            help="Whether terms are embedded, to find near-doubles and outliers. Default: yes.",
            show_default=False,
        ),
    ] = True,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="Take terms that stand twice in one list, and empty branches, out of INPUT, and say which."
        ),
    ] = False,
    clean: Annotated[
        str | None, options.option("--clean", metavar="OUT", help="Write the tree without its outliers, and say which.")
    ] = None,
    clear_cache: clearing.ClearCache = False,
    yes: clearing.Yes = False,
    given: Annotated[TermOptions, trees.EMBEDDED_WITH],
    as_json: bool,
) -> int:
    """Look for what may be wrong with a tree of terms.

    Found are terms that stand twice (as a sense where their neighbours differ), other spellings of a term,
    near-doubles, outliers with the place where they would be nearer, names that repeat their parent's, lists that are
    too long, empty branches, and files that cannot be read.
    """
    if clear_cache:
        parser.refuse_others(context, {"clear_cache", "yes"}, "--clear-cache looks at no tree")
        return clearing.clear_cache(yes=yes, as_json=as_json)
    if yes or source is None:
        raise UsageError(_YES_ALONE if yes else _NO_INPUT)
    most = options.whole_number(max_leaf, "--max-leaf")
    if not meaning and (clean is not None or given):
        raise UsageError("--no-meaning embeds nothing: leave out --clean and what terms are embedded with")
    from embedmill.api.tree_files import check_tree_file, read_tree_file

    for written in (source if fix else None, clean):
        if written is not None:
            check_tree_file(written)
    try:
        tree = read_tree_file(source, source_format, classes)
    except SourceError as error:
        return _unreadable(str(error), as_json)
    found = _found(tree, most, meaning, given)
    taken: list[Taken] = []
    if fix:
        taken, found = _fixed(tree, source, found)
    if clean is not None:
        taken += _cleaned(tree, clean, found)
    return _tell(found, taken, as_json)


def _fixed(tree: Branch, source: str, found: list[LintFinding]) -> tuple[list[Taken], list[LintFinding]]:
    """Mend the tree and its file; what was taken, and what is left of the findings."""
    from embedmill.api.tree_files import write_tree_file
    from embedmill.taxonomy.linting.lint import fix_tree

    taken = fix_tree(tree)
    if taken:
        write_tree_file(tree, source)
    return taken, [each for each in found if not each.fixable]


def _cleaned(tree: Branch, target: str, found: list[LintFinding]) -> list[Taken]:
    """Write the tree without its outliers; what was taken."""
    from embedmill.api.tree_files import write_tree_file
    from embedmill.taxonomy.linting.lint import drop_outliers

    dropped = drop_outliers(tree, found)
    write_tree_file(tree, target)
    return dropped


def _found(tree: Branch, most: int, meaning: bool, given: TermOptions) -> list[LintFinding]:
    from embedmill.api.taxonomies import lint as linted
    from embedmill.cli.progress import shown_list

    if not meaning:
        return linted(tree, max_leaf=most, meaning=False)
    total = tree.term_counts().total()
    with shown_list(output.for_progress(), "terms embedded") as on_terms:
        return linted(tree, max_leaf=most, on_progress=lambda done: on_terms(done, max(done, total)), **given)


def _unreadable(message: str, as_json: bool) -> int:
    from embedmill.taxonomy.linting.findings import LintFinding

    return _tell([LintFinding("unreadable", (), (), message)], [], as_json)


def _tell(found: list[LintFinding], taken: list[Taken], as_json: bool) -> int:
    from embedmill.cli.render import trees as render

    if as_json:
        output.emit(render.linted(found, taken))
    elif not output.quiet():
        for line in render.findings(found, taken):
            output.say(line)
    return exit_codes.SOME_FAILED if found else exit_codes.DONE
