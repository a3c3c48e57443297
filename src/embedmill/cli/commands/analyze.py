"""``embedmill analyze``."""

from __future__ import annotations

from embedmill.cli import exit_codes, options, output, parser, trees


@parser.command("embedmill analyze labels.yaml", "embedmill analyze tencent.txt --json")
def analyze(
    *,
    source: trees.Input,
    source_format: trees.InputFormat = None,
    classes: trees.Classes = None,
    as_json: bool,
) -> int:
    """Show the shape of a tree of terms, and which limits suit it."""
    options.check_quiet("the shape", as_json=as_json)
    from embedmill.api.tree_files import read_tree_file
    from embedmill.cli.render import trees as render
    from embedmill.taxonomy.analyzing import shape_of

    shape = shape_of(read_tree_file(source, source_format, classes))
    if as_json:
        output.emit(shape.to_dict())
    else:
        output.say(render.measured(shape))
    return exit_codes.DONE
