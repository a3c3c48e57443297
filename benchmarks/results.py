"""What a benchmark leaves behind: a table for people and a JSON file with the machine, the raw figures and the bars."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from embedmill.runtime import machine

FOLDER = Path(__file__).parent / "results"

_DECISIVE = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_BUSY = 0.3  # load for each core, above which another process competes for the processor


@dataclass(frozen=True)
class Bar:
    """A promise, and what was measured; None where it could not be on this machine."""

    what: str
    limit: float
    measured: float | None
    at_least: bool = False  # otherwise at most
    unit: str = ""
    digits: int = 2
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    @property
    def promise(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}{self.unit}"

    @property
    def outcome(self) -> str:
        return "not measured" if self.measured is None else f"{self.measured:.{self.digits}f}{self.unit}"


Part = Callable[[argparse.Namespace, list[Bar], list[tuple[str, str]]], object]
"""Measures something: adds its bars, and rows of what is shown; gives the figures that are kept."""


def options(description: str, rounds: int) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="name or folder (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=rounds, help="times that all is measured (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=machine.cores(), help="default: the cores, %(default)s")
    parser.add_argument("--output", type=Path, help="the JSON file; by default its name in benchmarks/results")
    return parser


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Round by round, so that what slows a whole round cancels out."""
    return [above / below for above, below in zip(numerators, denominators, strict=True)]


def tell(message: str) -> None:
    """Say what is going on, on stderr."""
    print(f"{time.strftime('%H:%M:%S')}  {message}", file=sys.stderr, flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    first, *others = widths
    lines = [
        " | ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))])
        for row in cells
    ]
    lines.insert(1, " | ".join(["-" * first, *("-" * (width - 1) + ":" for width in others)]))
    return "\n".join(f"| {line} |" for line in lines)


def bars_table(bars: Sequence[Bar]) -> str:
    verdict = {True: "yes", False: "**no**", None: ""}
    rows = [
        (bar.what, bar.promise, bar.outcome + (f" ({bar.note})" if bar.note else ""), verdict[bar.met]) for bar in bars
    ]
    return table(["what", "bar", "measured", "met"], rows)


def machine_facts() -> dict[str, object]:
    """The machine in words that mean the same everywhere: no host's name, no paths."""
    return {
        "processor": machine.processor(),
        "features": [name for name in _DECISIVE if name in machine.features()],
        "cores": machine.cores(),
        "memory GiB": round(machine.memory() / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: metadata.version(name) for name in ("numpy", "openvino", "tokenizers")},
    }


class Run:
    """One run of a benchmark, from the machine's state at its start to the file at its end."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        self._name = name
        self._output: Path = arguments.output or FOLDER / f"{name}.json"
        hidden = {"output", "model", "peers", "folder", "file"}  # paths of one machine mean nothing on another
        self._options = {key: value for key, value in vars(arguments).items() if key not in hidden}
        self._started = time.time()
        self._load = os.getloadavg()[0]
        if self._load > _BUSY * machine.cores():
            tell(f"the machine is busy (load {self._load:.1f}): ratios may hold, absolute figures will not")

    def finish_parts(self, parts: Mapping[str, Part], arguments: argparse.Namespace) -> None:
        """Measure each part, or those that ``--only`` names, and finish."""
        figures: dict[str, object] = {}
        bars: list[Bar] = []
        rows: list[tuple[str, str]] = []
        for name, measure in parts.items():
            if not arguments.only or name in arguments.only:
                tell(name)
                figures[name] = measure(arguments, bars, rows)
        self.finish(figures, bars, table(["what", "measured"], rows))

    def finish(self, figures: Mapping[str, object], bars: Sequence[Bar], *tables: str) -> None:
        """Print the tables and the bars; write the file."""
        for text in (*tables, *([bars_table(bars)] if bars else [])):
            print(text, end="\n\n")
        content = {
            "name": self._name,
            "date": time.strftime("%Y-%m-%d", time.gmtime(self._started)),
            "minutes": round((time.time() - self._started) / 60, 1),
            "options": self._options,
            "machine": machine_facts() | {"load at start": round(self._load, 2)},
            "bars": [asdict(bar) for bar in bars],
            **figures,
        }
        self._output.parent.mkdir(parents=True, exist_ok=True)
        self._output.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        tell(f"written: {self._output}")
