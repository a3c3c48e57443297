"""From a job as it is written to one that is valid: each value, all together, and what has to be there."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from embedmill.api.settings import Settings, option_name
from embedmill.core.checks import suggestion
from embedmill.core.errors import EmbedmillError, UsageError
from embedmill.jobs.job import BatchJob, label_of
from embedmill.jobs.job_kinds import (
    COMMAND_NAMES,
    JOB_KINDS,
    JobKind,
    all_options,
    check_arguments,
    input_of,
    options_of,
)
from embedmill.jobs.job_options import NAME, JobOption, known_name, spelt
from embedmill.jobs.manifest import paths
from embedmill.jobs.manifest.drafts import Draft
from embedmill.jobs.manifest.nodes import ManifestNode, Mistakes, Pair, Place
from embedmill.runtime.passwords import masked
from embedmill.storage.registry import local_files, redact_url

_LONGEST_NAME: Final[int] = NAME["maxLength"]
_LONGEST_SHOWN: Final = 200  # characters of a value that does not fit


@dataclass(frozen=True, slots=True)
class CheckedJob:
    """A job that is valid by itself, and the settings that it has with the environment and ``embedmill.toml``."""

    job: BatchJob
    kind: JobKind
    settings: Settings
    is_named: bool  # whether its name stands in the manifest as it is, or was made


def command_of(draft: Draft) -> list[str]:
    """The commands that a job names; one that is an option of another one named is that option."""
    named = [key for key in draft.pairs if key in COMMAND_NAMES]
    kinds = {key: all_options(JOB_KINDS[COMMAND_NAMES[key]]) for key in named}
    return [key for key in named if not any(key in kinds[other] for other in named if other != key)]


def check_draft(draft: Draft, defaults: Mapping[str, Pair], folder: Path, mistakes: Mistakes) -> CheckedJob | None:
    """The job; None where there are mistakes, which are noted. `folder` is the manifest's."""
    commands = command_of(draft)
    if len(commands) != 1:
        mistakes.add(draft.place, _not_one(draft, commands))
        return None
    return _Check(draft, commands[0], defaults, folder, mistakes).job()


def check_defaults(pairs: Mapping[str, Pair], drafts: list[Draft], mistakes: Mistakes) -> dict[str, Pair]:
    """The defaults that are valid; the others are mistakes, told once."""
    commands = sorted({command for draft in drafts for command in command_of(draft)})
    kinds = [JOB_KINDS[COMMAND_NAMES[command]] for command in commands]
    used: dict[str, dict[str, JobOption]] = defaultdict(dict)  # by the commands of those jobs that take them
    for kind, command in zip(kinds, commands, strict=True):
        for name, option in all_options(kind).items():
            used[name][COMMAND_NAMES[command]] = option
    known = {name: option for kind in JOB_KINDS.values() for name, option in all_options(kind).items()}
    found = {}
    for name, pair in pairs.items():
        if name in used:
            first, *others = used[name].values()
            if any(other.schema != first.schema for other in others):
                told = " and another of ".join(used[name])
                mistakes.add(pair.place, f"{pair.key} is one option of {told}: give it to the jobs themselves")
            elif _taken(first, pair, mistakes) is not None:
                found[name] = pair
        elif name in known:
            mistakes.add(pair.place, f"no job takes the default {pair.key!r}: leave it out")
        else:
            why = ": a default is an option, and each job has its own" if name in {*COMMAND_NAMES, "name"} else ""
            near = why or suggestion(pair.key, map(spelt, known)) or ": leave it out"
            mistakes.add(pair.place, f"unknown default {pair.key!r}{near}")
    return found


def _not_one(draft: Draft, commands: list[str]) -> str:
    names = " or ".join(COMMAND_NAMES.values())
    if commands:
        both = " and ".join(COMMAND_NAMES[each] for each in commands)
        return f"the job has {len(commands)} commands, {both}: make a job of each"
    near = next(filter(None, (suggestion(pair.key, COMMAND_NAMES.values()) for pair in draft.pairs.values())), "")
    return f"the job has no command: give {names}, as in {{index: docs}}{near}"


def _taken(option: JobOption, pair: Pair, mistakes: Mistakes) -> Any:
    """The value as the function takes it; None where it is a mistake."""
    value = pair.node.plain()
    if value is None:
        mistakes.add(pair.place, f"{pair.key} has no value: give one, or leave it out")
        return None
    try:
        return option.take(value)
    except ValueError as error:
        shown = _shown(option, value)
        hint = "; put it into quotes" if _is_unquoted(option, value) else ""
        mistakes.add(pair.node.place, f"{pair.key}: {shown} does not fit: {error}{hint}")
        return None


def _shown(option: JobOption, value: object) -> str:
    shown = repr(redact_url(value) if option.path == "store" and isinstance(value, str) else value)
    return shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + "..."


def _is_unquoted(option: JobOption, value: object) -> bool:
    return option.schema.get("type") == "string" and "enum" not in option.schema and isinstance(value, int | float)


class _Check:
    """The check of one job whose command is known."""

    def __init__(
        self, draft: Draft, command: str, defaults: Mapping[str, Pair], folder: Path, mistakes: Mistakes
    ) -> None:
        self._draft, self._folder, self._mistakes = draft, folder, mistakes
        self._failed = False
        self._command, self._input = COMMAND_NAMES[command], draft.pairs[command]
        self._kind = JOB_KINDS[self._command]
        self._own = {name: pair for name, pair in draft.pairs.items() if name not in (command, "name")}
        given = {**defaults, **self._own}
        self._variant = self._kind.variant({name: pair.node.value for name, pair in given.items()})
        switches = {name: options_of(self._kind)[name] for name in self._kind.variants}
        self._options = {**options_of(self._variant), **switches}
        self._given = {name: pair for name, pair in given.items() if name in self._options}
        self._axes = {spelt(name): _in_words(draft.pairs[name].node) for name in draft.axes}
        self._label = label_of(self._axes)

    def job(self) -> CheckedJob | None:
        """The job; None where there are mistakes."""
        for name in self._own.keys() - self._options.keys():
            self._wrong(self._own[name].place, self._unknown(self._own[name]))
        values = {name: self._value(self._options[name], pair) for name, pair in self._given.items()}
        values[self._kind.input] = self._input_value(may_be_gone=values.get("prune") is True)
        values |= self._own_output(values)
        given_name = self._name()
        settings = None if self._failed else self._settings(values)
        if settings is None:
            return None
        timeout = values.pop("timeout", None)
        job = BatchJob(given_name or self._made_name(), self._command, values, self._draft.place, timeout, self._axes)
        return CheckedJob(job, self._variant, settings, given_name is not None and not self._axes)

    def _wrong(self, place: Place, what: str) -> None:
        self._failed = True
        self._mistakes.add(place, what)

    def _unknown(self, pair: Pair) -> str:
        name = known_name(pair.key)
        if name in options_of(self._kind):
            switch = next(switch for switch, kind in self._kind.variants.items() if kind is self._variant)
            return f"{self._command} with {spelt(switch)} has no use for {pair.key}: leave one of them out"
        if any(name in all_options(other) for other in JOB_KINDS.values()):
            return f"{self._command} has no use for {pair.key}: leave it out"
        names = [*map(spelt, all_options(self._kind)), "name", *COMMAND_NAMES.values()]
        return f"unknown key {pair.key!r} of {self._command}{suggestion(pair.key, names) or ': leave it out'}"

    def _value(self, option: JobOption, pair: Pair) -> Any:
        value = _taken(option, pair, self._mistakes)
        self._failed |= value is None
        if not isinstance(value, str):
            return value
        value = paths.resolved(option, value, self._folder)
        is_output = option.path == "written" or option.name == self._kind.output
        if is_output and self._label and option.name not in self._draft.axes:
            value = paths.told_apart(option, value, self._label)
        if wrong := paths.wrong_place(option, value):
            self._wrong(pair.node.place, wrong)
        return value

    def _own_output(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Where a job of a matrix writes that was given no file: beside the manifest, named after what it reads."""
        kind, read = self._kind, values[self._kind.input]
        written = self._options[kind.output].path == "written" if kind.output else False
        if not (written and self._axes and isinstance(read, str)) or values.keys() & {kind.output, "dry_run", "format"}:
            return {}
        made = str(self._folder / f"{Path(read).stem}{kind.output_suffix}")
        return {kind.output: paths.told_apart(self._options[kind.output], made, self._label)}

    def _input_value(self, *, may_be_gone: bool) -> Any:
        option, node = input_of(self._kind), self._input.node
        value = _taken(option, self._input, self._mistakes)
        self._failed |= value is None
        if value is None or not option.path:
            return value
        listed = value if isinstance(value, list) else [value]
        found = [paths.resolved(option, each, self._folder) for each in listed]
        for path, each in zip(found, node.items or (node,), strict=True):
            if not may_be_gone and (wrong := paths.wrong_place(option, path)):
                self._wrong(each.place, wrong)
        return found if isinstance(value, list) else found[0]

    def _name(self) -> str | None:
        """The job's name, with what it has of its matrix's axes; None where none is given."""
        pair = self._draft.pairs.get("name")
        if pair is None:
            return None
        name = pair.node.value
        fits = isinstance(name, str) and re.fullmatch(NAME["pattern"], name) and name.isprintable()
        if not fits or len(str(name)) > _LONGEST_NAME:
            self._wrong(pair.node.place, f"name: expected some text in one line, at most {_LONGEST_NAME} characters")
        return f"{name} {self._label}" if self._label else str(name)

    def _made_name(self) -> str:
        """What it has of its matrix's axes, else what it does."""
        value = self._input.node.plain()
        words = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        made = masked(f"{self._command} {words}")[:_LONGEST_NAME]
        return self._label or (made if made.isprintable() else repr(made)[1:-1])

    def _settings(self, values: dict[str, Any]) -> Settings | None:
        """The job's settings, after all that its command refuses before it begins; makes objects of their fields."""
        try:
            _make_objects(values, self._options)
            found = check_arguments(self._variant, values)
            if self._variant.store_is_there:
                _check_store(found.store)
        except EmbedmillError as error:
            self._wrong(self._place_of(str(error)), re.sub(r"--(?=[a-z])", "", str(error)))
            return None
        return found

    def _place_of(self, told: str) -> Place:
        """Of the option that an error of the command names first, where the job has it; else of the job."""
        named = {
            match.start(): pair.place
            for name, pair in self._draft.pairs.items()
            if (match := re.search(rf"{option_name(name)}(?![a-z-])", told))
        }
        return named[min(named)] if named else self._draft.place


def _make_objects(values: dict[str, Any], known: Mapping[str, JobOption]) -> None:
    """Put the values that are fields of one object together. Raises what the object raises."""
    objects: dict[tuple[str, type], dict[str, Any]] = {}
    for name in [name for name in values if name in known]:
        option = known[name]
        if option.made is not None:
            field = fields(option.made)[0].name if name == option.parameter else name
            objects.setdefault((option.parameter, option.made), {})[field] = values.pop(name)
    for (parameter, made), given in objects.items():
        values[parameter] = made(**given)


def _check_store(url: str) -> None:
    files = local_files(url)
    if files and not Path(files[0]).exists():
        raise UsageError(f"--store: there is no database {files[0]}: correct the path")


def _in_words(node: ManifestNode) -> str:
    """A value as it stands in a name: in one line, without a password."""
    value = node.plain()
    if isinstance(value, bool):
        return str(value).lower()
    text = masked("+".join(map(str, value)) if isinstance(value, list) else str(value))
    return text if text.isprintable() else repr(text)[1:-1]
