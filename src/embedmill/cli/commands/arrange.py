"""``embedmill arrange``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from embedmill.api.settings import TermOptions
from embedmill.cli import exit_codes, options, output, parser, trees

_Target = Annotated[
    str | None, options.option("-o", "--output", metavar="OUT", help="Where the tree is written; may be INPUT itself.")
]
_TargetFormat = Annotated[
    str | None,
    options.option(
        "--format", metavar="yaml|jsonl|csv|txt-folder", help="What OUT is. Default: by its ending; none: a folder."
    ),
]
_Preset = Annotated[
    str,
    options.option(
        "--preset",
        metavar="NAME",
        help="How long lists may be: ultra-detailed (10 terms), detailed (20), balanced (40), flat (80), "
        "ultra-flat (200); what is set itself wins over it. Default: balanced.",
    ),
]
_MaxLeaf = Annotated[
    str | None, options.option("--max-leaf", metavar="N", help="Group lists of more terms. Default: 40.")
]
_MinGroup = Annotated[
    str | None, options.option("--min-group", metavar="N", help="Dissolve smaller groups. Default: 3.")
]
_Threshold = Annotated[
    str | None,
    options.option(
        "--threshold",
        metavar="COSINE",
        help="Dissolve groups whose terms have a lower mean cosine with their centre. Default: 0.55.",
    ),
]
_OwnLabel = Annotated[
    str | None,
    options.option(
        "--own-label",
        metavar="NAME",
        help="The branch of what fits nowhere, and of terms beside sub-branches. Default: other.",
    ),
]
_Shape = Annotated[
    bool,
    typer.Option("--shape", help="Dissolve branches that repeat their parent's name, and wrappers; merge short lists."),
]
_MinLeaf = Annotated[
    str | None, options.option("--min-leaf", metavar="N", help="With --shape: merge lists of fewer terms. Default: 5.")
]
_Case = Annotated[
    str, options.option("--case", metavar="title|lower|keep", help="How branches' names are written. Default: keep.")
]
_Root = Annotated[
    str | None, options.option("--root", metavar="NAME|ID", help="Take this branch and what is below it.")
]
_ExcludeSubtree = Annotated[
    list[str] | None,
    options.option("--exclude-subtree", metavar="NAME|ID", help="Leave this branch out; may be repeated."),
]
_ExcludeRegex = Annotated[
    str | None, options.option("--exclude-regex", metavar="REGEX", help="Leave out terms in which this is found.")
]
_Skip = Annotated[
    list[str] | None,
    options.option(
        "--skip", metavar="NAME|ID", help="Leave this branch out, but not what is below it; may be repeated."
    ),
]
_Depth = Annotated[
    str | None, options.option("--depth", metavar="N", help="Keep N levels of branches; what is deeper joins them.")
]
_Flatten = Annotated[bool, typer.Option("--flatten", help="Make one list of all first, and group it anew.")]
_Limit = Annotated[
    str, options.option("--limit", metavar="N", help="Take the first N terms. Default: 0, which is all.")
]
_Overrides = Annotated[
    str | None,
    options.option(
        "--overrides",
        metavar="FILE",
        help="YAML or JSON: of a branch's name or id, other max-leaf, min-group, threshold or own-label, for it "
        "and all below.",
    ),
]
_CommentTemplate = Annotated[
    str | None,
    options.option(
        "--comment-template",
        metavar="TEXT",
        help="The comment above each new group, as in '# instruction: {text}'; also {name}, {terms}, {cohesion} "
        "and {medoid}. Default: its size and cohesion.",
    ),
]
_Glosses = Annotated[
    str | None,
    options.option(
        "--glosses", metavar="FILE", help="What terms mean, for {text}: YAML or JSON, or CSV of two columns."
    ),
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the tree that would come out; write nothing.")]


@parser.command(
    "embedmill arrange terms.txt -o terms.yaml",
    "embedmill arrange labels.yaml -o labels.yaml --max-leaf 20 --shape",
    "embedmill arrange tencent.txt -o animals.yaml --root animal --depth 3",
    "embedmill arrange terms.txt --dry-run",
    notes="No term is lost: those that --root, --exclude-subtree, --exclude-regex and --limit leave out are counted, "
    "all others come out as they went in, each as often as before. " + options.SETTINGS_NOTE,
)
def arrange(
    *,
    input: trees.Input,  # noqa: A002 - as in a manifest
    target: _Target = None,
    target_format: _TargetFormat = None,
    source_format: trees.InputFormat = None,
    classes: trees.Classes = None,
    preset: _Preset = "balanced",
    max_leaf: _MaxLeaf = None,
    min_group: _MinGroup = None,
    threshold: _Threshold = None,
    own_label: _OwnLabel = None,
    shape: _Shape = False,
    min_leaf: _MinLeaf = None,
    case: _Case = "keep",
    root: _Root = None,
    exclude_subtree: _ExcludeSubtree = None,
    exclude_regex: _ExcludeRegex = None,
    skip: _Skip = None,
    depth: _Depth = None,
    flatten: _Flatten = False,
    limit: _Limit = "0",
    overrides: _Overrides = None,
    comment_template: _CommentTemplate = None,
    glosses: _Glosses = None,
    dry_run: _DryRun = False,
    given: Annotated[TermOptions, trees.EMBEDDED_WITH],
    as_json: bool,
) -> int:
    """Group long lists of terms by meaning.

    A group that is still too long is grouped again; what fits nowhere goes to --own-label. The tree may be cut to
    shape before.
    """
    if dry_run:
        options.check_quiet("the tree", as_json=as_json)
    values = {
        "format": target_format,
        "input_format": source_format,
        "classes": classes,
        "preset": preset,
        "max_leaf": _number("--max-leaf", max_leaf, 2),
        "min_leaf": _number("--min-leaf", min_leaf),
        "min_group": _number("--min-group", min_group),
        "threshold": None if threshold is None else options.number(threshold, "--threshold"),
        "own_label": own_label,
        "shape": shape,
        "case": case,
        "root": root,
        "exclude_subtree": exclude_subtree,
        "exclude_regex": exclude_regex,
        "skip": skip,
        "depth": _number("--depth", depth, 0),
        "flatten": flatten,
        "limit": _number("--limit", limit, 0),
        "overrides": overrides,
        "comment_template": comment_template,
        "glosses": glosses,
    }
    return _run(input, target, dry_run, {**given, **values}, as_json)


def _number(name: str, text: str | None, least: int = 1) -> int | None:
    return None if text is None else options.whole_number(text, name, least)


def _run(source: str, target: str | None, dry_run: bool, values: Mapping[str, Any], as_json: bool) -> int:
    from embedmill.api.arrange_file import arrange_file
    from embedmill.cli.progress import shown_lists
    from embedmill.cli.render import trees as render

    with shown_lists(output.for_progress()) as show:
        report = arrange_file(source, target, dry_run=dry_run, on_progress=show, **values)
    if as_json:
        output.emit(report.to_dict())
    elif report.tree is not None:
        output.say(render.drawn(report.tree))
    if not as_json and not output.quiet():
        output.say(render.summary(report))
    return exit_codes.DONE
