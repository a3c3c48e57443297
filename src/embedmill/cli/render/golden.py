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
        cosine = ", ".join(f"{word} {_cosine(getattr(found.cosine, name))}" for word, name in names)
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
    cosine = f"no vector ({deviation.cause})" if deviation.cosine is None else f"cosine {_cosine(deviation.cosine)}"
    return f"  text {deviation.text}: {cosine}: {in_one_line(deviation.beginning)}"


def _cosine(value: float) -> str:
    """Six decimals; of one so near 1 that these would be those of 1, how far it is from that."""
    return f"1 - {1 - value:.1e}" if 0.9999995 <= value < 1 else f"{value:.6f}"


def _computed(what: Computed) -> str:
    return f"{what.model} (space {what.space}) in {what.precision}, openvino {what.openvino}, {what.processor}"
