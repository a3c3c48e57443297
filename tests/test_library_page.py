"""What docs/library.md shows is true: each of its programs runs as it stands, and prints what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import embedmill
from embedmill.core import errors as core_errors

PAGE = (Path(__file__).parent.parent / "docs" / "library.md").read_text()

SECTIONS = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)

PROGRAMS = [
    pytest.param(code, id=f"{title} {number}")
    for title, text in SECTIONS
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE), 1)
]


@pytest.mark.parametrize("code", PROGRAMS)
def test_a_program_runs_and_prints_what_it_says(code: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for expected in re.findall(r"print\(.*\)  # (.*)", code):
        assert expected in done.stdout.splitlines(), done.stdout


@pytest.mark.parametrize("code", PROGRAMS)
def test_a_program_uses_public_names_alone(code: str) -> None:
    assert not re.findall(r"(?:from|import) embedmill\.", code)


def test_every_public_name_is_on_the_page() -> None:
    """Errors in their tree, all else in a program."""
    programs = "\n".join(code.values[0] for code in PROGRAMS)  # type: ignore[misc]
    errors = {name for name in embedmill.__all__ if isinstance(getattr(embedmill, name), type)} & set(vars(core_errors))
    (tree,) = re.findall(r"^    EmbedmillError\n(?:    .*\n)+", PAGE, re.MULTILINE)
    assert not [name for name in errors if not re.search(rf"\b{name}\b", tree)]
    assert not [name for name in embedmill.__all__ if name not in errors and not re.search(rf"\b{name}\b", programs)]


@pytest.mark.parametrize(("title", "text"), SECTIONS)
def test_a_section_has_a_program(title: str, text: str) -> None:
    assert "```python" in text
