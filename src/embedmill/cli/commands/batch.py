"""``embedmill batch``."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedmill.cli import exit_codes, options, output, parser
from embedmill.core.errors import ManifestError, UsageError
from embedmill.runtime.paths import quote_path

if TYPE_CHECKING:
    from embedmill.jobs.job import Manifest
    from embedmill.jobs.running.results import BatchProgress, BatchReport

_Path = Annotated[
    str | None,
    options.argument("PATH", "A manifest, or a folder: every manifest below it; with --each a folder of inputs."),
]
_Each = Annotated[
    str | None,
    options.option(
        "--each", metavar="GLOB", help="No manifest: a job of each file below PATH that matches, as in '**/*.txt'."
    ),
]
_Arrange = Annotated[
    bool, typer.Option("--arrange", help="With --each: arrange each file, to a tree of the same path.")
]
_Index = Annotated[bool, typer.Option("--index", help="With --each: index each file, to a store of the same path.")]
_Output = Annotated[
    str | None, options.option("-o", "--output", metavar="OUT", help="With --each: the folder of what jobs write.")
]
_Set = Annotated[
    list[str] | None,
    options.option(
        "--set", metavar="OPTION=VALUE", help="With --each: an option of all jobs, as in max-leaf=20; may be repeated."
    ),
]
_Jobs = Annotated[
    str | None,
    options.option(
        "--jobs", metavar="N", help="Run at most N jobs at once. Default: one for each core, as far as memory allows."
    ),
]
_Resume = Annotated[
    bool, typer.Option("--resume", help="Run only the jobs that have not succeeded by the report of the last run.")
]
_Report = Annotated[
    str | None,
    options.option(
        "--report",
        metavar="DIR",
        help="Where batch_report.md and batch_report.json are written. Default: beside the manifest; with --each: OUT.",
    ),
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the manifest and list its jobs; run none.")]
_Schema = Annotated[bool, typer.Option("--schema", help="Print the JSON schema of manifests, for editors.")]


@parser.command(
    "embedmill batch manifest.yaml",
    "embedmill batch manifest.yaml --resume",
    "embedmill batch corpora --jobs 4 --json",
    "embedmill batch lists --each '*.txt' --arrange -o trees --set max-leaf=20",
    "embedmill batch --schema > manifest.schema.json",
    notes="Exit code 0: all jobs have succeeded. 3: some have not; the report says which, and why.",
)
def batch(
    *,
    context: typer.Context,
    path: _Path = None,
    each: _Each = None,
    arrange: _Arrange = False,
    index: _Index = False,
    target: _Output = None,
    settings: _Set = None,
    jobs: _Jobs = None,
    resume: _Resume = False,
    report: _Report = None,
    dry_run: _DryRun = False,
    schema: _Schema = False,
    as_json: bool,
) -> int:
    """Run many jobs side by side, each in a process of its own.

    The manifest is checked as a whole before anything starts. A job that fails, crashes or takes longer than its
    timeout leaves the others alone. Ctrl-C lets running jobs finish what is in flight.
    """
    if schema:
        parser.refuse_others(context, ("schema",), "--schema prints the schema and runs nothing")
        return _print_schema()
    if path is None:
        raise UsageError("PATH is missing: give a manifest, or a folder that has some")
    if dry_run:
        parser.refuse_others(
            context, ("path", "each", "arrange", "index", "target", "settings", "dry_run"), "--dry-run runs nothing"
        )
        options.check_quiet("the jobs", as_json=as_json)
    try:
        manifest = _manifest(path, each, arrange, index, target, settings)
    except ManifestError as error:
        for mistake in error.mistakes:
            output.complain(f"error: {mistake}")
        return exit_codes.USAGE
    if dry_run:
        return _list(manifest, as_json=as_json)
    at_once = None if jobs is None else options.whole_number(jobs, "--jobs")
    return _run(manifest, Path(report or target or _folder_of(path)), at_once, resume=resume, as_json=as_json)


def _print_schema() -> int:
    from embedmill.jobs.manifest.schema import manifest_schema

    output.say(json.dumps(manifest_schema(), indent=2, ensure_ascii=False))
    return exit_codes.DONE


def _folder_of(path: str) -> Path:
    place = Path(path)
    return place if place.is_dir() else place.parent


def _manifest(
    path: str, each: str | None, arrange: bool, index: bool, target: str | None, settings: list[str] | None
) -> Manifest:
    """The jobs. Raises `UsageError` for options that only go together."""
    commands = [name for name, wanted in (("arrange", arrange), ("index", index)) if wanted]
    if each is None:
        of_each = {f"--{commands[0]}" if commands else "": commands, "--output": target, "--set": settings}
        for name, given in of_each.items():
            if given:
                raise UsageError(
                    f"{name} is for --each: give that too, or leave it out: a manifest says it of its jobs"
                )
        from embedmill.jobs.manifest.read import read_manifest

        return read_manifest(path)
    if len(commands) != 1:
        raise UsageError("--each runs one command: give --arrange or --index")
    if target is None:
        raise UsageError("--output is missing: say in which folder the jobs of --each are to write")
    from embedmill.jobs.manifest.each import jobs_of_each

    return jobs_of_each(path, each, commands[0], target, _settings(settings or []))


def _settings(given: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"--set: {text!r} does not fit: expected OPTION=VALUE, as in max-leaf=20")
        if name in found:
            raise UsageError(f"--set: {name} is given twice, and counts once: leave one out")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _list(manifest: Manifest, *, as_json: bool) -> int:
    from embedmill.cli.render import batch as render

    if as_json:
        told = [{"name": job.name, "command": job.command, "timeout": job.timeout} for job in manifest.jobs]
        output.emit({"manifest": str(manifest.path), "jobs": told})
    else:
        output.say(render.planned(manifest))
    return exit_codes.DONE


def _run(manifest: Manifest, folder: Path, at_once: int | None, *, resume: bool, as_json: bool) -> int:
    from embedmill.cli.batch_display import batch_display_on
    from embedmill.cli.signals import StopOnSignal
    from embedmill.jobs.running.run import run_batch

    display = batch_display_on(output.for_progress())
    with StopOnSignal() as stopping, closing(display):

        def show(progress: BatchProgress) -> None:
            stopping.repeat()
            display.show(progress)

        report = run_batch(
            manifest, resume=resume, jobs=at_once, report=folder, on_progress=show, on_start=stopping.watch
        )
    return _tell(report, folder, as_json=as_json)


def _tell(report: BatchReport, folder: Path, *, as_json: bool) -> int:
    from embedmill.cli.render import batch as render
    from embedmill.cli.render.wording import counted
    from embedmill.jobs.running.report_files import MARKDOWN_NAME

    if as_json:
        output.emit(report.to_dict())
    elif not output.quiet():
        output.say(render.finished(report))
    if report.not_written:
        output.complain(f"error: {report.not_written}")
        return exit_codes.ERROR
    where = quote_path(str(folder / MARKDOWN_NAME))
    if report.interrupted:
        output.complain(f"interrupted: the same command with --resume goes on from there; see {where}")
        return exit_codes.INTERRUPTED
    if left := len(report.unsuccessful):
        has = "has" if left == 1 else "have"
        output.complain(
            f"error: {counted(left, 'job')} {has} not succeeded: see {where}; the same command with --resume runs "
            f"{'it' if left == 1 else 'them'} again"
        )
        return exit_codes.SOME_FAILED
    return exit_codes.DONE
