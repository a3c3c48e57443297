"""A real browser, headless: the one of `EMBEDMILL_TEST_BROWSER`, else Chromium, got from Debian where it is missing."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")

_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def _found() -> str | None:
    return os.environ.get("EMBEDMILL_TEST_BROWSER") or next(filter(None, map(shutil.which, _NAMES)), None)


def executable() -> str:
    """Where the browser is. Skips the test where there is none and none can be got."""
    if found := _found():
        return found
    if os.geteuid() or not shutil.which("apt-get"):
        pytest.skip("no Chromium here: install Debian's package chromium, or name one by EMBEDMILL_TEST_BROWSER")
    with (Path(tempfile.gettempdir()) / "embedmill-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes of tests one does it
        if not _found():
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            for words in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
                done = subprocess.run(["apt-get", "-q", *words], env=environment, capture_output=True, text=True)
                assert done.returncode == 0, done.stdout + done.stderr
    found = _found()
    assert found is not None
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=executable(), args=_FLAGS)
        try:
            yield started
        finally:
            started.close()
