"""``embedmill compare``."""

from __future__ import annotations

from typing import Annotated, Final

from embedmill.cli import exit_codes, options, output, parser

_MEASURES: Final = {"jaccard": "jaccard", "ari": "adjusted_rand", "ami": "adjusted_mutual_information"}


@parser.command(
    "embedmill compare before.yaml after.yaml",
    "embedmill compare terms.txt terms.yaml --at-least jaccard=1",
    "embedmill compare known.yaml found.yaml --at-least ami=0.3 --json",
    notes="Exit code 0: all was compared. 3: --at-least is not met.",
)
def compare(
    *,
    one: Annotated[str, options.argument("A", "A tree or list of terms.")],
    other: Annotated[str, options.argument("B", "Another.")],
    at_least: Annotated[
        list[str] | None,
        options.option(
            "--at-least",
            metavar="NAME=VALUE",
            help="Exit with 3 where jaccard, ari or ami is lower, as in jaccard=1; may be repeated.",
        ),
    ] = None,
    as_json: bool,
) -> int:
    """Compare two trees of terms.

    Shown are which terms are kept, lost, new and moved, the Jaccard index of the terms, and for those that both have
    the adjusted Rand index (ARI) and the adjusted mutual information (AMI) of the lists that they stand in: 0 by
    chance, 1 where they are the same.
    """
    wanted = [options.gate(text, list(_MEASURES), lowest=-1) for text in at_least or ()]
    from embedmill.api.tree_files import read_tree_file
    from embedmill.cli.render import trees as render
    from embedmill.taxonomy.comparing import compare_trees

    found = compare_trees(read_tree_file(one), read_tree_file(other))
    if as_json:
        output.emit(found.to_dict())
    elif not output.quiet():
        output.say(render.compared(found))
    missed = False
    for name, value in wanted:
        reached = getattr(found, _MEASURES[name])
        if reached is None or reached < value:
            output.complain(f"error: {name} is {'not known' if reached is None else f'{reached:.4f}'}, not {value:g}")
            missed = True
    return exit_codes.SOME_FAILED if missed else exit_codes.DONE
