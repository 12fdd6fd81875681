"""Turns pydantic's errors on a study into short sentences that say what is wrong and how to mend it."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from accord.config.base import FUNCTION_PATTERN, KeyedValueError, Section
from accord.config.names_elsewhere import ELSEWHERE
from accord.config.schema import Study
from accord.config.sections import SECTIONS, Shape, choices, settings, shape

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a section of keys and values",
    "model_attributes_type": "a section of keys and values",
}
_OTHER_NAMES = {
    "data": {"handed": "in_memory"},
    "program": {
        "fedadam": "fedopt with server_optimizer adam",
        "fedyogi": "fedopt with server_optimizer yogi",
        "fedadagrad": "fedopt with server_optimizer adagrad",
        "fedavgm": "fedopt with server_optimizer sgd",
    },
}
"""Section to the names of its varieties in other libraries, and what they are here."""
_BOUNDS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}
_LENGTHS = {
    "too_short": ("min_length", "at least", "item"),
    "too_long": ("max_length", "at most", "item"),
    "string_too_short": ("min_length", "at least", "character"),
    "string_too_long": ("max_length", "at most", "character"),
}


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a study.

    Attributes:
        path: the keys that lead to it, from the top of the study.
        text: what is wrong and the mend, without the place.
        missing: whether it is about something that is not there.
    """

    path: tuple[str | int, ...]
    text: str
    missing: bool = False


@dataclass(frozen=True)
class _Spot:
    """The place of a pydantic error, with the path as the user wrote it and what the schema has there."""

    path: tuple[str | int, ...]
    owner: type[Section]
    """The class that holds the last key of the path."""
    field: FieldInfo | None
    """The setting that the path leads to, or into; None where the schema has no such key."""


def problems(errors: Iterable[ErrorDetails]) -> list[Problem]:
    """Converts pydantic's errors on a `Study` to one `Problem` per place, in pydantic's order.

    Where a setting may be of several types, pydantic gives an error for each. They become one problem.
    """
    by_path: dict[tuple[str | int, ...], list[tuple[_Spot, ErrorDetails]]] = {}
    for error in errors:
        spot = _spot(error["loc"])
        by_path.setdefault(spot.path, []).append((spot, error))
    told = [problem for found in by_path.values() for problem in _problems(found)]
    # Of a section without a variety pydantic checks no other key.
    return told + [problem for found in by_path.values() for problem in _beside_variety(*found[0])]


def unknown_key(path: Sequence[str | int], owner: type[Section]) -> Problem:
    """Returns the problem of a key that `owner`, the section it is in, does not have."""
    key = str(path[-1])
    if owner is Study:
        known, kind = list(Study.model_fields), "section"
        takes = "a study has"
    else:
        known, kind = settings(owner), "key"
        nested = len(path) > 2 and isinstance(path[1], str)
        takes = f"{'.'.join(map(str, path[:-1])) if nested else _called(owner, str(path[0]))} takes"
    listed = ", ".join(known) if known else "no settings"
    return Problem((*path[:-1], key), f"unknown {kind}{_meant(key, path, owner, known)} ({takes}: {listed})")


def nearest(word: object, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` with the nearest of the names known, or nothing.

    >>> nearest("fedavgg", ["fedavg", "cyclic"])
    "; did you mean 'fedavg'?"
    """
    # Compared in lower case, but shown as they are written.
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(word).lower(), names, n=1)
    return f"; did you mean {names[close[0]]!r}?" if close else ""


def got(value: object) -> str:
    """Describes a value in words, on one line.

    >>> got(None), got(True), got("0.1"), got([])
    ('null', 'true', "the text '0.1'", 'an empty list')
    """
    # Booleans first, since a bool is an int in Python.
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 60 else f"the text {value[:57]!r}..."
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, dict | BaseModel):
        return "a mapping"
    return str(value) if isinstance(value, int | float) else f"an object of type {type(value).__name__}"


def _spot(loc: tuple[str | int, ...]) -> _Spot:
    """Follows pydantic's location through the schema, leaving out the tags that it puts in for unions."""
    owner: type[Section] = Study
    path: list[str | int] = []
    rest = list(loc)
    while rest:
        path.append(rest.pop(0))
        field = owner.model_fields.get(str(path[-1]))
        inner = shape(field) if field else None
        if inner is None:
            # Below a setting, list positions and a mapping's keys are kept. Other texts are pydantic's names of types.
            if rest and field is not None and isinstance(rest[0], str) and _is_mapping(field) and "[key]" not in rest:
                path.append(rest.pop(0))
            path += [step for step in rest if isinstance(step, int)]
            return _Spot(tuple(path), owner, field)
        # The position in a list of sections comes before the tag.
        if inner.many and rest:
            path.append(rest.pop(0))
        if not rest:
            return _Spot(tuple(path), owner, field)
        # In a union pydantic's location has the variety's tag after the section, which the user did not write as a key.
        owner = inner.names[str(rest.pop(0))] if len(inner.classes) > 1 else inner.classes[0]
    return _Spot(tuple(path), owner, None)


def _is_mapping(field: FieldInfo) -> bool:
    """Whether a setting is a mapping, or null. In other unions pydantic puts names of types into its locations."""
    kinds = [each for each in get_args(field.annotation) if each is not type(None)] or [field.annotation]
    return get_origin(field.annotation) is dict or (len(kinds) == 1 and get_origin(kinds[0]) is dict)


def _problems(found: list[tuple[_Spot, ErrorDetails]]) -> list[Problem]:
    """Returns the problem of a place, or one for each entry of a mapping that its validator refused."""
    spot, error = found[0]
    raised = error.get("ctx", {}).get("error")
    if isinstance(raised, KeyedValueError):
        return [Problem((*spot.path, key), text) for key, text in raised.texts.items()]
    return [_problem(spot, [each for _, each in found])]


def _problem(spot: _Spot, errors: list[ErrorDetails]) -> Problem:
    error = errors[0]
    kind, path = error["type"], spot.path
    inner = shape(spot.field) if spot.field else None
    if kind == "extra_forbidden" or kind == "invalid_key":
        return unknown_key(path, spot.owner)
    # A validator of Accord's own raised it, whose message is a whole sentence already.
    if kind == "value_error":
        return Problem(path, str(error["ctx"]["error"]))
    if inner and kind in {"union_tag_invalid", "union_tag_not_found"}:
        return _wrong_variety(path, inner, error["input"])
    section = SECTIONS.get(str(path[0])) if len(path) == 2 else None
    if section and section.tag == path[-1]:
        value = error["input"] if kind == "missing" else {section.tag: error["input"]}
        return _wrong_variety(path[:-1], section, value)
    if kind == "missing":
        return _missing(spot, inner)
    return Problem(path, _wrong_value(spot, errors))


def _wrong_variety(path: tuple[str | int, ...], section: Shape, value: Any) -> Problem:
    """Returns the problem of a section whose `name` or `unit` is missing or unknown."""
    tag, choices = str(section.tag), ", ".join(section.names)
    if isinstance(value, dict) and tag in value:
        word = value[tag]
        kind = str(path[0]).removesuffix("s") if section.many else path[0]
        here = _OTHER_NAMES.get(str(path[0]), {}).get(str(word).lower())
        hint = f"; it is {here}" if here else nearest(word, section.names)
        text = f"unknown {kind} {word!r}{hint} (one of: {choices})"
        if not isinstance(word, str):
            text = f"expected one of {choices}, got {got(word)}"
        return Problem((*path, tag), text)
    keys = [str(key) for key in value] if isinstance(value, dict) else []
    slip = _tag_slip(tag, keys)
    hint = f" (is {slip!r} meant to be it?)" if slip else ""
    return Problem(path, f"{tag!r} is missing{hint}; give one of: {choices}", missing=True)


def _beside_variety(spot: _Spot, error: ErrorDetails) -> list[Problem]:
    """Returns the problems of a section's other keys, where its variety is missing or unknown.

    They are keys that no variety takes, and keys left out that every variety needs.
    """
    section = shape(spot.field) if spot.field else None
    given = error["input"]
    unknown = error["type"] in {"union_tag_invalid", "union_tag_not_found"}
    if section is None or not unknown or not isinstance(given, dict):
        return []
    # What seems meant as the variety is in the problem of the variety already.
    slip = _tag_slip(str(section.tag), list(map(str, given))) if section.tag not in given else ""
    known = list(dict.fromkeys(name for cls in section.classes for name in settings(cls)))
    found = []
    for key in map(str, given):
        if key not in (section.tag, slip, *known):
            here = ELSEWHERE.get(key.lower())
            hint = f"; {here}" if here else nearest(key, known)
            found.append(Problem((*spot.path, key), f"unknown key{hint} ({spot.path[0]} takes: {', '.join(known)})"))
    for name in known:
        fields = [cls.model_fields.get(name) for cls in section.classes]
        if name not in given and all(field is not None and field.is_required() for field in fields):
            text = f"missing; every {section.tag} of {spot.path[0]} needs it"
            found.append(Problem((*spot.path, name), text, missing=True))
    return found


def _tag_slip(tag: str, keys: Sequence[str]) -> str:
    """Returns the key that seems meant to name the variety, or an empty text."""
    # Words that name a variety in some section or library, though not in this section.
    slip = next((key for key in keys if key in {"name", "unit", "type", "kind"}), "")
    return slip or next(iter(difflib.get_close_matches(tag, keys, n=1)), "")


def _missing(spot: _Spot, inner: Shape | None) -> Problem:
    if inner:
        which = f"; give one of: {', '.join(inner.names)}" if inner.tag else ""
        return Problem(spot.path, f"a study needs this section{which}", missing=True)
    name = _called(spot.owner, str(spot.path[0]))
    return Problem(spot.path, f"missing; {name} needs it", missing=True)


def _wrong_value(spot: _Spot, errors: list[ErrorDetails]) -> str:
    """Returns `expected ..., got ...`, over all the types the setting may have."""
    error = errors[0]
    # A dict instead of a set: without duplicates, but in pydantic's order.
    expected = " or ".join(dict.fromkeys(_expected(one) for one in errors))
    given = got(error["input"])
    if isinstance(error["input"], list | tuple) and error["input"] and error["type"] in _LENGTHS:
        given = f"a list of {len(error['input'])}"
    text = f"expected {expected}, got {given}"
    # Pydantic marks an error in a mapping's key, such as `2020:`, which YAML reads as a number.
    if error["loc"][-1] == "[key]":
        return f"keys here are text; put {error['input']!r} in quotes"
    if error["type"] == "dict_type" and spot.field and spot.field.examples:
        return f"{text}; write {_form(spot.field.examples[0], error['input'])}"
    if isinstance(error["input"], str) and spot.field and error["type"] != "tuple_type":
        return text + nearest(error["input"], (str(value) for value in choices(spot.field.annotation)))
    if error["type"] == "tuple_type" and isinstance(error["input"], str | int | float):
        return f"{text}; write [{error['input']}]"
    if error["type"] == "string_type" and isinstance(error["input"], int | float):
        return f"{text}; put it in quotes"
    return text


def _form(example: dict[str, Any], given: Any) -> str:
    """Writes a mapping as it should be, for the names that were given instead, or as in the example.

    >>> _form({"signup": "cyclic"}, ["day", "night"]), _form({"age": [0, 120]}, None)
    ('{day: cyclic, night: cyclic}', '{age: [0, 120]}')
    """
    ((name, value),) = example.items()
    words = [given] if isinstance(given, str) else given if isinstance(given, list | tuple) else []
    names = [word for word in words if isinstance(word, str)] or [name]
    written = f"[{', '.join(map(str, value))}]" if isinstance(value, list) else value
    return f"{{{', '.join(f'{each}: {written}' for each in names[:5])}{', ...' if len(names) > 5 else ''}}}"


def _expected(error: ErrorDetails) -> str:
    """Describes what one of pydantic's errors asked for, in words."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind in _BOUNDS:
        name, sign = _BOUNDS[kind]
        return f"a value {sign} {context[name]:g}"
    if kind == "literal_error":
        return str(context["expected"])
    if kind in _LENGTHS:
        name, bound, unit = _LENGTHS[kind]
        return f"{bound} {context[name]} {unit}{'s' if context[name] > 1 else ''}"
    if kind == "string_pattern_mismatch" and context["pattern"] == FUNCTION_PATTERN:
        return "module:function"
    return f"something else ({error['msg']})"


def _called(owner: type[Section], section: str) -> str:
    """Names a section in a sentence, by its variety, or by its own name where there is only one."""
    names = SECTIONS[section].names if section in SECTIONS else {}
    return next((name for name, cls in names.items() if cls is owner), section)


def _meant(key: str, path: Sequence[str | int], owner: type[Section], known: list[str]) -> str:
    """Returns a hint at what an unknown key was meant to be."""
    if owner is not Study:
        siblings = SECTIONS[str(path[0])].names
        others = [name for name, cls in siblings.items() if cls is not owner and key in settings(cls)]
        if others:
            last = f" and {others[-1]}" if len(others) > 1 else ""
            return f"; it belongs to {', '.join(others[:-1] or others)}{last}"
    # What other libraries call it says more than a name that is spelled alike.
    if (here := ELSEWHERE.get(key.lower())) is not None:
        return f"; {here}"
    near = nearest(key, known)
    if near:
        return near
    homes = [f"{name}.{key}" for name, one in SECTIONS.items() if any(key in settings(cls) for cls in one.classes)]
    return f"; did you mean {' or '.join(homes)}?" if homes else ""
