"""Where a run's time went, written when it has ended: ``--profile`` and ``--profile-json``."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from embedmill.api.settings import Settings, option_name
from embedmill.core.errors import UsageError
from embedmill.runtime.outputs import OutputKind, check_output, make_folder
from embedmill.runtime.stages import Profile, StageCalls, Stages
from embedmill.storage.registry import local_files

log = logging.getLogger(__name__)

_BEGINNING: Final = re.compile(rb'\{\s*"seconds":\s*[-+.\de]+,\s*"stages":\s*\{')

_PROFILE: Final = OutputKind("profile that embedmill wrote", lambda beginning: bool(_BEGINNING.match(beginning)))


@contextmanager
def profiled(chosen: Settings, options: Mapping[str, Any], *, dry_run: bool = False) -> Iterator[Callable[[], Stages]]:
    """What gives a run its stages; at the end, also that of a run that fails, writes what the settings ask for.

    Raises `UsageError` where the file cannot be written, holds something else than a profile or is of the store, and
    where one of the two `options` was given for a dry run.
    """
    if dry_run:
        for name in ("profile", "profile_json"):
            if options.get(name):
                raise UsageError(f"--dry-run embeds a sample alone: leave {option_name(name)} out")
    if dry_run or (chosen.profile_json is None and not chosen.profile):
        yield Stages
        return
    path = None if chosen.profile_json is None else _checked(chosen.profile_json, chosen.store)
    profile, started = Profile(), time.perf_counter()
    try:
        yield profile.stages
    finally:
        seconds, stages = time.perf_counter() - started, profile.result()
        if path is not None:
            _write(path, seconds, stages)
        if chosen.profile:
            _show(seconds, stages)


def _checked(named: str, store: str) -> Path:
    """The file, which is there now, maybe empty. Raises `UsageError`."""
    check_output("--profile-json", named, _PROFILE, store_files=local_files(store))
    path = Path(named)
    try:
        make_folder(path)
        with path.open("ab"):
            pass
    except OSError as error:
        raise UsageError(f"--profile-json: {path} cannot be written: {error.strerror or error}") from error
    return path


def _write(path: Path, seconds: float, stages: Mapping[str, StageCalls]) -> None:
    told = {stage: asdict(calls) | {"share": calls.seconds / seconds} for stage, calls in stages.items()}
    try:
        path.write_text(json.dumps({"seconds": seconds, "stages": told}, indent=2) + "\n")
    except OSError as error:
        log.warning("--profile-json: %s cannot be written: %s", path, error.strerror or error)


def _show(seconds: float, stages: Mapping[str, StageCalls]) -> None:
    lines = [f"{'stage':<16} {'seconds':>9} {'share':>7} {'calls':>9} {'mean':>11} {'95 %':>11}"]
    lines += [
        f"{stage:<16} {each.seconds:9.2f} {each.seconds / seconds:7.1%} {each.calls:9,} {each.mean * 1000:8.2f} ms "
        f"{each.p95 * 1000:8.2f} ms"
        for stage, each in stages.items()
    ]
    lines.append(f"{'in all':<16} {seconds:9.2f}")
    if sys.stderr is not None:
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""  # a line of progress may stand there
        with suppress(OSError):
            sys.stderr.write(clear + "\n".join(lines) + "\n")
            sys.stderr.flush()
