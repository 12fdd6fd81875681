"""Applies `--set section.key=value` of the command line, one setting each, before the study is checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic.fields import FieldInfo

from accord.config import yaml_text
from accord.config.problems import Problem, unknown_key
from accord.config.sections import SECTIONS, Shape
from accord.core.errors import StudyError


@dataclass
class Overridden:
    """Settings with every `--set` applied.

    Attributes:
        settings: section to its settings, as plain values.
        origins: path to the `--set` that put a value there, as typed.
        problems: keys of the file that its own variety does not know, found when `--set` changed the variety.
    """

    settings: dict[str, Any]
    origins: dict[tuple[str, ...], str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def apply(settings: Mapping[str, Any], overrides: Sequence[str]) -> Overridden:
    """Applies `overrides` in order, each `key=value` with a dotted key and a YAML value.

    A section that is not there is created, from the variety a study has by default. `program.name=cyclic`, or
    `program=cyclic` for short, changes the variety, and settings of the file that only the old variety has are dropped.
    `privacy=null` removes a section.

    Raises:
        StudyError: an override is not `key=value`, its value is not YAML, or its key leads into a value that is not a
            section.

    >>> apply({"program": {"name": "fedavg", "rounds": 5, "weights": "size"}}, ["program=cyclic"]).settings
    {'program': {'name': 'cyclic', 'rounds': 5}}
    """
    result = Overridden(dict(settings))
    for override in overrides:
        key, equals, value = override.partition("=")
        # Hydra's users write `+key=value` to add and `++key=value` to add or change: here every --set may do both.
        path = tuple(part.strip() for part in key.strip().removeprefix("+").removeprefix("+").split("."))
        shown = " ".join(override.split())
        if not equals or not all(path):
            raise StudyError(f"--set {shown}: not of the form key=value, such as program.rounds=20")
        _apply_override(result, path, yaml_text.read(value, f"--set {shown}").value, shown)
    return result


def _apply_override(result: Overridden, path: tuple[str, ...], value: Any, text: str) -> None:
    name = path[0]
    section = SECTIONS.get(name)
    if section and section.tag and not section.many and len(path) == 1 and isinstance(value, str):
        path = (name, section.tag)
    if len(path) == 1:
        # The section is replaced as a whole, and with it all that an earlier --set put there.
        for known in [known for known in result.origins if known[0] == name]:
            del result.origins[known]
    elif section and not section.many:
        _make_section(result, name, section, text)
        if path == (name, section.tag):
            _change_variety(result, name, section, value)
    result.settings = _put(result.settings, path, value, f"--set {text}", ())
    result.origins[path] = text


def _make_section(result: Overridden, name: str, section: Shape, text: str) -> None:
    """Makes sure that there is a mapping to set something in."""
    there = result.settings.get(name)
    if there is None:
        result.settings[name] = {section.tag: section.default} if section.default else {}
        result.origins[name,] = text
    # The short form `program: fedavg`, spelled out so that a key can be put beside the name.
    elif isinstance(there, str) and section.tag:
        result.settings[name] = {section.tag: there}


def _change_variety(result: Overridden, name: str, section: Shape, new_name: Any) -> None:
    """Drops the settings that only the old variety has. Keys that not even the old one has are reported as problems."""
    there = result.settings[name]
    if not isinstance(there, dict):
        return
    old = _variety(section, there.get(section.tag))
    new = _variety(section, new_name)
    # An unknown variety is reported later, with all of its settings in place.
    if old is None or new is None or old is new:
        return
    keep = {}
    for key, value in there.items():
        # What an earlier --set put there is kept even if the new variety does not know it, so that it is reported.
        set_here = any(path[:2] == (name, key) for path in result.origins)
        if not set_here and key not in old.model_fields:
            result.problems.append(unknown_key((name, key), old))
        elif set_here or (key in new.model_fields and not _no_value(value, new.model_fields[key])):
            keep[key] = value
    result.settings[name] = keep


def _no_value(value: Any, field: FieldInfo) -> bool:
    """Tells whether the value is null where null had a meaning in the old variety but has none in the new one."""
    return value is None and type(None) not in get_args(field.annotation)


def _variety(section: Shape, name: Any) -> Any:
    return section.names.get(name) if isinstance(name, str) else None


def _put(
    mapping: Mapping[str, Any], path: tuple[str, ...], value: Any, source: str, above: tuple[str, ...]
) -> dict[str, Any]:
    """Returns a copy of `mapping` with `value` at `path`, without changing values shared through a YAML alias."""
    head, *rest = path
    if rest:
        inner = mapping.get(head)
        here = (*above, head)
        if inner is not None and not isinstance(inner, dict):
            raise StudyError(f"{source}: {'.'.join(here)} holds a value, not a section; set it as a whole")
        value = _put(inner or {}, tuple(rest), value, source, here)
    return {**mapping, head: value}
