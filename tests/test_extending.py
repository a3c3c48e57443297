"""The examples of docs/extending.md run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = re.findall(
    r"^## (.*?)\n.*?^```python\n(.*?)^```", (ROOT / "docs" / "extending.md").read_text(), re.DOTALL | re.MULTILINE
)


def test_there_are_examples() -> None:
    assert {"A store", "A source", "An embedder", "A model architecture"} == {title for title, _ in EXAMPLES}


@pytest.mark.parametrize("code", [pytest.param(code, id=title) for title, code in EXAMPLES])
def test_an_example_prints_what_it_says(code: str, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(code)
    done = subprocess.run(
        [sys.executable, tmp_path / "example.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = re.findall(r"^ *print\(.*\)  # (.*)", code, re.MULTILINE)
    assert said and set(said) <= set(done.stdout.splitlines())
