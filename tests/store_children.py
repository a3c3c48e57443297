"""Processes that use a store, to be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

REPLACE_FOR_EVER = """
import itertools, json, sys
from embedmill.storage.registry import open_store
from store_samples import fingerprint, record, replacement
store = open_store(**json.loads(sys.argv[1]))
store.bind(fingerprint(), "model")
print("open", flush=True)
for version in itertools.count():
    names = [f"/d/{(version * 7 + number) % 40}" for number in range(5)]
    staged, *others = names
    store.stage(staged, [record(staged, index, f"{version} {index}") for index in range(5)], "f32")
    store.replace([
        replacement(staged, [f"{version} {index}" for index in range(5, 10)], first=5),
        *(replacement(name, [f"{version} {index}" for index in range(10)]) for name in others),
    ])
"""
"""Stages and replaces documents of ten chunks each, `/d/0` to `/d/39`, of which all chunks name the same version."""


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own that runs this code, with the project and these tests importable."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def replacing(place: Mapping[str, str]) -> subprocess.Popen[str]:
    """A process that writes to a store without end; it has begun."""
    process = child(REPLACE_FOR_EVER, json.dumps(dict(place)))
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "open\n", process.stderr.read()
    return process


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL, and wait for the end."""
    process.kill()
    process.communicate()


def output(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out
