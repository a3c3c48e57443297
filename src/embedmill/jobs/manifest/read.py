"""Manifests, from file to jobs that are valid."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from embedmill.core.checks import suggestion
from embedmill.core.errors import ManifestError
from embedmill.jobs.job import Manifest
from embedmill.jobs.job_options import known_name
from embedmill.jobs.manifest.checked import CheckedJob, check_defaults, check_draft
from embedmill.jobs.manifest.conflicts import check_names, check_written, with_names
from embedmill.jobs.manifest.drafts import combined, listed
from embedmill.jobs.manifest.json_nodes import read_json
from embedmill.jobs.manifest.nodes import LARGEST, ManifestNode, Mistakes, NotRead, Pair, Place, known_keys
from embedmill.jobs.manifest.yaml_nodes import read_yaml
from embedmill.jobs.running.results import REPORT_NAME
from embedmill.runtime.paths import FilePath

log = logging.getLogger(__name__)

KEYS: Final = ("defaults", "jobs", "matrix")
SUFFIXES: Final = (".json", ".yaml", ".yml")
_SHOWN: Final = 5  # files that are no manifests
_LOOKS_LIKE_ONE: Final = re.compile(rb"""(?:^|[{,])\s*["']?(?:jobs|matrix)["']?\s*:""", re.MULTILINE)
"""What each file with `jobs` or `matrix` has: others, which may be large, are not parsed."""


def read_manifest(path: FilePath) -> Manifest:
    """The jobs of a manifest, or of all manifests below a folder, validated as a whole.

    A manifest is a YAML or JSON file of the schema that `embedmill.jobs.manifest.schema.manifest_schema` gives. Below a
    folder those files count whose names end in ``.yaml``, ``.yml`` or ``.json`` and that have `jobs` or `matrix`, but
    for the reports of batches; the names of their jobs then begin with their path.
    Paths are made absolute from the manifest's folder. What jobs do not say comes from the environment and
    ``embedmill.toml``, as for their commands. Nothing is started, written or fetched.

    Raises `ManifestError`, whose `mistakes` are all that is wrong, a line each, and `MissingExtra` where a manifest in
    YAML needs a package that is not installed.
    """
    place, mistakes = Path(path), Mistakes()
    found: list[CheckedJob] = []
    if place.is_dir():
        files = list(_manifests_below(place, mistakes))
        if not files and not mistakes:
            mistakes.add(
                Place(str(place), 0, 0), "no file below this folder is a manifest: give one `jobs` or `matrix`"
            )
        for file, root in files:
            label = os.path.relpath(file, place)
            jobs = _jobs_of(root, file, mistakes)
            found += [replace(each, job=replace(each.job, name=f"{label}: {each.job.name}")) for each in jobs]
    else:
        try:
            found = _jobs_of(_root(_read(place), place), place, mistakes)
        except NotRead as error:
            mistakes.add(error.place, error.what)
    check_written(found, mistakes)
    if mistakes:
        raise ManifestError.of(mistakes.lines())
    return Manifest(place, tuple(each.job for each in found))


def _manifests_below(folder: Path, mistakes: Mistakes) -> Iterator[tuple[Path, ManifestNode]]:
    """The manifests of a folder, in the order of their paths; what is hidden is passed over."""

    def closed(error: OSError) -> None:
        mistakes.add(Place(str(error.filename), 0, 0), f"cannot be listed ({error.strerror}): let it be read")

    others: list[str] = []
    for above, folders, names in os.walk(folder, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(above, name)
            if name.startswith(".") or name == REPORT_NAME or path.suffix.lower() not in SUFFIXES or not path.is_file():
                continue
            try:
                data = _read(path)
                root = _root(data, path) if _LOOKS_LIKE_ONE.search(data) else None
            except NotRead as error:
                mistakes.add(error.place, error.what)
                continue
            if root is not None and any(pair.key in ("jobs", "matrix") for pair in root.pairs):
                yield path, root
            else:
                others.append(os.path.relpath(path, folder))
    if others:
        shown = ", ".join(others[:_SHOWN]) + (f" and {len(others) - _SHOWN:,} more" if len(others) > _SHOWN else "")
        log.warning("%s: left out, since they have neither `jobs` nor `matrix`: %s", folder, shown)


def _read(path: Path) -> bytes:
    place = Place(str(path), 0, 0)
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except FileNotFoundError:
        raise NotRead("is not there: give a manifest, or a folder that has some", place) from None
    except OSError as error:
        raise NotRead(f"cannot be read ({error.strerror or error}): let it be read", place) from None


def _root(data: bytes, path: Path) -> ManifestNode:
    file = str(path)
    if len(data) > LARGEST:
        raise NotRead(f"has more than {LARGEST >> 20} MiB: divide it into several manifests", Place(file, 0, 0))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = Place(file, data.count(b"\n", 0, error.start) + 1, error.start - data.rfind(b"\n", 0, error.start))
        raise NotRead("is not UTF-8: store it as such", place) from None
    root = read_json(text, file) if path.suffix.lower() == ".json" else read_yaml(text, file)
    if root is None:
        raise NotRead("is empty: give it `jobs` or `matrix`", Place(file, 0, 0))
    return root


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a manifest that are there."""

    defaults: dict[str, Pair]
    jobs: ManifestNode | None
    matrix: ManifestNode | None


def _parts(root: ManifestNode, mistakes: Mistakes) -> _Parts:
    found = known_keys(root, mistakes, str)
    for key, pair in found.items():
        if key not in KEYS:
            near = suggestion(key, KEYS) or "; a manifest has `defaults`, `jobs` and `matrix`"
            mistakes.add(pair.place, f"unknown key {key!r}{near}")
    defaults: dict[str, Pair] = {}
    if "defaults" in found:
        node = found["defaults"].node
        if node.kind != "mapping":
            mistakes.add(node.place, "`defaults` is no mapping: give options, as in {workers: 2}, or leave it out")
        defaults = known_keys(node, mistakes, known_name)
    jobs, matrix = (found[key].node if key in found else None for key in ("jobs", "matrix"))
    if jobs is None and matrix is None and not mistakes:
        mistakes.add(root.place, "has no jobs: give it `jobs` or `matrix`")
    return _Parts(defaults, jobs, matrix)


def _jobs_of(root: ManifestNode, path: Path, mistakes: Mistakes) -> list[CheckedJob]:
    """The valid jobs of a manifest."""
    if root.kind != "mapping":
        mistakes.add(root.place, "is no manifest: give a mapping with `jobs` or `matrix`")
        return []
    parts = _parts(root, mistakes)
    drafts = [] if parts.jobs is None else list(listed(parts.jobs, mistakes))
    drafts += [] if parts.matrix is None else list(combined(parts.matrix, mistakes))
    check_names(drafts, mistakes)
    defaults = check_defaults(parts.defaults, drafts, mistakes) if drafts else {}
    folder = path.absolute().parent
    checked = [check_draft(draft, defaults, folder, mistakes) for draft in drafts]
    return with_names([each for each in checked if each is not None])
