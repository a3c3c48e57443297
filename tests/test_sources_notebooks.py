"""Notebooks become their cells: small ones of both formats, made here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from embedmill.core.documents import Kind
from embedmill.sources.files.conversion import read_text

PICTURE = "iVBORw0KGgoAAAANSUhEUgAA" * 2000


def read(notebook: Any) -> str:
    return read_text(json.dumps(notebook).encode(), "a.ipynb", "a.ipynb").text


def code(source: Any, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": list(outputs), "metadata": {}, "execution_count": 1}


def prose(source: Any, **more: Any) -> dict[str, Any]:
    return {"cell_type": "markdown", "source": source, "metadata": {}, **more}


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    about = {"kernelspec": {"name": "python3", "language": "python"}, "language_info": {"name": "python"}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": about, "cells": list(cells)}


def test_cells_are_markdown_and_code_without_pictures() -> None:
    attached = prose("see ![the plan](attachment:a.png)", attachments={"a.png": {"image/png": PICTURE}})
    plot = {
        "output_type": "display_data",
        "data": {"image/png": PICTURE, "text/plain": ["<Figure size 1x1>"]},
        "metadata": {},
    }
    text = read(
        notebook(
            prose(["# Sales\n", "of *all* years"]),
            attached,
            prose(f"![chart](data:image/png;base64,{PICTURE}) and <img src='data:image/png;base64,{PICTURE}'>words"),
            code(["total = 1\n", "total"], plot),
            {"cell_type": "raw", "source": "raw words", "metadata": {}},
        )
    )
    assert text.split("\n\n") == [
        "# Sales\nof *all* years",
        "see the plan",
        "chart and words",
        "```python\ntotal = 1\ntotal\n```",
        "raw words",
    ]


def test_what_cells_printed_is_kept_within_reason() -> None:
    stream = {
        "output_type": "stream",
        "name": "stdout",
        "text": ["0%\r50%\r100%\n", "\x1b[31mred\x1b[0m\n", "x" * 9000],
    }
    error = {"output_type": "error", "ename": "KeyError", "evalue": "'a'", "traceback": ["\x1b[0;31m---" * 100]}
    result = {"output_type": "execute_result", "data": {"text/html": "<b>1</b>", "text/plain": "1"}, "metadata": {}}
    shown = {"output_type": "display_data", "data": {"text/markdown": "**bold**", "text/plain": "x"}, "metadata": {}}
    text = read(notebook(code("run()", stream, error, result, shown)))
    assert "```\n100%\nred\nxxx" in text
    assert "```\nKeyError: 'a'\n```\n\n```\n1\n```\n\n**bold**" in text
    assert len(text) < 3000


def test_the_third_format() -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Sales"], "metadata": {}},
        {
            "cell_type": "code",
            "input": "1 + 1",
            "language": "python",
            "outputs": [
                {"output_type": "pyout", "text": ["2"], "png": PICTURE},
                {"output_type": "pyerr", "ename": "E"},
            ],
        },
    ]
    text = read({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]})
    assert text.split("\n\n") == ["## Sales", "```python\n1 + 1\n```", "```\n2\n```", "```\nE: \n```"]


def test_fences_inside_of_code_do_not_end_it() -> None:
    assert read(notebook(code('"""\n```\nx\n```\n"""'))) == '````python\n"""\n```\nx\n```\n"""\n````'


@pytest.mark.parametrize(
    "content",
    [
        "not JSON",
        "[]",
        "{}",
        "null",
        '{"cells": 3}',
        '{"cells": [3]}',
        '{"cells": [{"source": "x"}]}',
        '{"cells": [{"cell_type": "code", "source": 3}]}',
        '{"worksheets": [{}]}',
        '{"cells": ' + "[" * 100_000,
        '{"cells": [{"cell_type": "heading", "level": "x", "source": "a"}]}',
    ],
)
def test_a_damaged_notebook_is_read_as_it_stands(content: str) -> None:
    found = read_text(content.encode(), "a.ipynb", "a.ipynb")
    assert found.text == content
    assert found.kind is Kind.CODE
