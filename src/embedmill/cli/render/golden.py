"""What a golden set's check has found, for people."""

from __future__ import annotations

from embedmill.api.golden import Computed, Deviation, GoldenCheck
from embedmill.cli.output import one_line
from embedmill.cli.render.hits import in_one_line
from embedmill.cli.render.wording import counted, table


def table_of(found: GoldenCheck) -> str:
    """The facts, a line each."""
    cosine = "cannot be told: the vectors have another dimension"
    if found.cosine is not None:
        names = (("lowest", "min"), ("1 %", "p1"), ("5 %", "p5"), ("median", "median"), ("mean", "mean"))
        cosine = ", ".join(f"{word} {getattr(found.cosine, name):.6f}" for word, name in names)
    rows = [
        ("golden set", f"{counted(found.texts, 'text')} in {found.file}"),
        ("recorded", _computed(found.recorded)),
        ("computed", _computed(found.computed)),
        ("cosine", cosine),
        ("verdict", found.verdict + (f": {', '.join(found.differs)}" if found.differs else "")),
    ]
    return table([(name, one_line(value)) for name, value in rows])


def line_of(deviation: Deviation) -> str:
    """A text whose vector is another one."""
    cosine = f"no vector ({deviation.cause})" if deviation.cosine is None else f"cosine {deviation.cosine:.6f}"
    return f"  text {deviation.text}: {cosine}: {in_one_line(deviation.beginning)}"


def _computed(what: Computed) -> str:
    return f"{what.model} (space {what.space}) in {what.precision}, openvino {what.openvino}, {what.processor}"
