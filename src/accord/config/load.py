"""Reads a study file, applies `--set`, reports what is wrong in one line, and writes the resolved file.

    studies/x.yaml:12: program.roundz: unknown key; did you mean 'rounds'? (fedavg takes: rounds, ...)

A section may be given as the bare name of its variety (`partition: iid`), and null stands for leaving it out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from accord.config import overrides as sets
from accord.config import yaml_text
from accord.config.base import Section
from accord.config.problems import Problem, got, nearest, problems
from accord.config.schema import Study
from accord.config.sections import SECTIONS
from accord.config.sites_data import SITE
from accord.config.sweep import Sweep
from accord.core.errors import StudyError


@dataclass(frozen=True)
class _Origin:
    """Where a study's settings were written, for messages about wrong ones."""

    source: str = ""
    document: yaml_text.Document | None = None
    sets: Mapping[tuple[str, ...], str] = field(default_factory=dict)

    def location(self, path: Sequence[str | int]) -> str:
        """Returns the `--set` or the line of the file that wrote what is at `path`, or what is nearest above it.

        A `--set` anywhere above comes before the file, since it replaced all that the file has there.
        """
        # From the setting itself up to its section, so that the nearest comes first.
        above = [path[:end] for end in range(len(path), 0, -1)]
        overrides = (self.sets.get(tuple(str(step) for step in each)) for each in above)
        override = next((each for each in overrides if each is not None), None)
        if override is not None:
            return f"--set {override}: "
        line = self._line(path)
        if line:
            return f"{self.source}:{line}: "
        return f"{self.source}: " if self.source else ""

    def _line(self, path: Sequence[str | int]) -> int:
        """Returns the line of what is at `path` or nearest above it, or 0 where the file has none of it."""
        if self.document is None:
            return 0
        lines = (self.document.line(path[:end]) for end in range(len(path), 0, -1))
        return next((line for line in lines if line is not None), 0)

    def contributors(self, path: Sequence[str | int]) -> str:
        """Lists the `--set`s below `path`, for a problem of several settings together."""
        below = [text for key, text in self.sets.items() if len(key) > len(path) and key[: len(path)] == tuple(path)]
        return f" (with {' '.join(f'--set {text}' for text in dict.fromkeys(below))})" if below else ""

    def message(self, problem: Problem) -> str:
        """Returns the problem's text after its place."""
        location = self.location(problem.path)
        path = _dotted(problem.path)
        if not path:
            return f"{location}{problem.text}{self.contributors(())}"
        sources = self.contributors(problem.path) if not location.startswith("--set ") else ""
        return f"{location}{path}: {problem.text}{sources}"

    def order(self, problem: Problem) -> tuple[bool, int]:
        """Returns a sort key in the order in which a reader meets problems, with missing settings last."""
        return problem.missing, self._line(problem.path)


def load_study(path: Path | str, overrides: Sequence[str] = ()) -> Study:
    """Reads the study file at `path` and applies `overrides`, each `key=value` with a dotted key.

    Raises:
        StudyError: there is no such file, or what `parse_study` raises.
    """
    return parse_study(read_text(Path(path)), overrides, str(path))


def read_text(path: Path) -> str:
    """Returns the study file's text.

    Raises:
        StudyError: there is no such file, or it cannot be read as text.
    """
    try:
        # utf-8-sig drops the byte order mark that editors on Windows write.
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        there = [each.name for each in path.parent.glob("*.y*ml")]
        raise StudyError(f"{path}: there is no such study file{nearest(path.name, there)}") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: not a study file: it is not UTF-8 text") from error
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror}") from error


def parse_study(text: str, overrides: Sequence[str] = (), source: str = "study") -> Study:
    """Parses the study that a YAML text describes.

    Args:
        text: the study file's text.
        overrides: each `key=value`, as after `--set`, see `accord.config.overrides`.
        source: what to call the text in messages.

    Raises:
        StudyError: says in one line what is wrong, where it is (line of the file, or the `--set`), and the nearest
            valid name.

    >>> parse_study("data: digits", ["program.rounds=3"]).program.rounds
    3
    >>> parse_study("data: {name: digitz}", source="x.yaml")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    accord.core.errors.StudyError: x.yaml:1: data.name: unknown data 'digitz'; did you mean 'digits'? (one of: ...
    """
    document = yaml_text.read(text, source)
    if document.value is None:
        raise StudyError(f"{source}: the file is empty; a study needs at least a data section, such as data: digits")
    if not isinstance(document.value, dict):
        raise StudyError(
            f"{source}: a study is a mapping of sections, such as data: digits; this is {got(document.value)}"
        )
    changed = sets.apply(document.value, overrides)
    return _study(changed.settings, _Origin(source, document, changed.origins), changed.problems)


def parse_sweep(text: str, overrides: Sequence[str] = (), source: str = "study") -> tuple[Sweep, str]:
    """Parses the `sweep` section alone. The rest has to be a study only with the section's values in it.

    Returns:
        The section, and the text with `overrides` applied.

    Raises:
        StudyError: the section is wrong or missing, or what `accord.config.overrides.apply` raises.

    >>> parse_sweep("{data: digits, sweep: {seeds: 2}}", ["program.rounds=3"])[1]
    'data: digits\\nsweep:\\n  seeds: 2\\nprogram:\\n  name: fedavg\\n  rounds: 3\\n'
    """
    document = yaml_text.read(text, source)
    if not isinstance(document.value, dict):
        parse_study(text, overrides, source)
    changed = sets.apply(document.value, overrides)
    # Any data set will do: a study without data would be refused before its sweep is read.
    only = {"data": "digits", "sweep": changed.settings.get("sweep")}
    sweep = _study(only, _Origin(source, document, changed.origins), []).sweep
    if sweep is None:
        parse_study(text, overrides, source)  # a slip in the section's name is what it says is wrong
        raise StudyError(f"{source}: the study has no sweep; give it one, such as sweep: {{seeds: 3}}")
    return sweep, yaml_text.write(changed.settings)


def make_study(settings: Mapping[str, Any]) -> Study:
    """Builds the study that nested mappings describe, with the study file's messages and short forms.

    Raises:
        StudyError: says in one line what is wrong and the nearest valid name.

    >>> make_study({"data": "digits", "partition": {"name": "iid", "num_partitions": 5}}).partition.name
    'iid'
    """
    return _study(settings, _Origin(), [])


def dump_study(study: Study) -> str:
    """Writes every setting of the study as YAML, defaults included, in the schema's order. It reads back equal.

    Raises:
        StudyError: a custom function's settings contain something other than plain values.
    """
    return "".join(_written(name, getattr(study, name)) for name in Study.model_fields)


def _written(name: str, value: Any) -> str:
    try:
        return yaml_text.write({name: _plain(value)})
    except StudyError as error:
        raise StudyError(f"{name}: {error}") from error


def _plain(value: Any) -> Any:
    """Returns a section as a dict that starts with its variety, or a list with each item so."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if not isinstance(value, Section):
        return value
    fields = value.model_dump()
    # False sorts before True, and `sorted` is stable: the tag comes first and the rest stays in the schema's order.
    return {key: fields[key] for key in sorted(fields, key=lambda key: key not in {"name", "unit"})}


def _study(settings: Mapping[str, Any], origin: _Origin, found: Sequence[Problem]) -> Study:
    try:
        study = Study.model_validate(_spelled_out(settings))
    except ValidationError as error:
        raise _refusal([*found, *problems(error.errors(include_url=False))], origin) from error
    # Problems that `--set` found count even where pydantic finds none: the keys in question were dropped.
    if found:
        raise _refusal(found, origin)
    return study


def _refusal(found: Sequence[Problem], origin: _Origin) -> StudyError:
    """Builds one error of all problems, a line each, in reading order."""
    # One problem a path: pydantic may find a key that `--set` found already.
    ordered = sorted({problem.path: problem for problem in found}.values(), key=origin.order)
    lines = tuple(" ".join(origin.message(problem).splitlines()) for problem in ordered)
    return StudyError("\n".join(lines), lines)


def _spelled_out(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces short forms. A bare name becomes its section, and a section that is null is left out."""
    full: dict[str, Any] = {}
    for name, value in settings.items():
        section = SECTIONS.get(name)
        if section and section.many and value is not None:
            items = value if isinstance(value, list | tuple) else [value]
            full[name] = tuple({section.tag: item} if isinstance(item, str) else item for item in items)
        elif section and section.tag and isinstance(value, str):
            full[name] = {section.tag: value}
        elif not (section and value is None and not section.removable):
            full[name] = value
    data = full.get("data")
    if "sites" in (getattr(data, "name", ""), data.get("name") if isinstance(data, dict) else ""):
        # Who has which rows is settled at the sites, so that the section says it for the reader alone.
        full.setdefault("partition", {"name": "natural", "partition_by": SITE})
    return full


def _dotted(path: Sequence[str | int]) -> str:
    """Returns the path as it is written after `--set`, list positions in brackets."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
