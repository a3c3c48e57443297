"""``embedmill models``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmill.cli import exit_codes, options, output, parser

if TYPE_CHECKING:
    from embedmill.models import ModelFiles


@parser.command(
    "embedmill models",
    "embedmill models --json",
    notes="Any other model is named as on the hub (BAAI/bge-small-en-v1.5) and fetched when it is first used, or "
    "given as a folder. Covered architectures are run from their safetensors, others from ONNX or OpenVINO files.",
)
def models(*, as_json: bool) -> int:
    """List the models on this machine.

    Those that can be used without a network, each from where it would be taken.
    """
    from embedmill.cli.render.wording import in_bytes
    from embedmill.models import DEFAULT_MODEL, available

    options.check_quiet("the list", as_json=as_json)
    found = [_facts(files) for files in available()]
    if as_json:
        output.emit({"default": DEFAULT_MODEL, "models": found})
        return exit_codes.DONE
    rows = [
        (
            model["name"],
            f"{model['dimension']} dimensions",
            f"{model['max_tokens']} tokens",
            in_bytes(model["bytes"]),
            f"{model['architecture']} ({model['weights']})",
            model["origin"],
        )
        for model in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        output.say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if DEFAULT_MODEL not in {model["name"] for model in found}:
        output.complain(f"the default, {DEFAULT_MODEL}, is not here yet: it is fetched when it is first used")
    return exit_codes.DONE


def _facts(files: ModelFiles) -> dict[str, Any]:
    from embedmill.models import read_card

    card = read_card(files)
    return {
        "name": files.name,
        "origin": files.origin,
        "folder": str(files.folder),
        "dimension": card.dimension,
        "max_tokens": card.max_tokens,
        "bytes": sum(path.stat().st_size for path in card.weights.paths),
        "architecture": card.architecture,
        "covered": card.transformer is not None,
        "weights": card.weights.kind,
    }
