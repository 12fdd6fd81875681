"""Reads the varieties of each section and their settings from the schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from accord.config.base import Section
from accord.config.schema import Study

_TAGS = ("name", "unit")


@dataclass(frozen=True)
class Shape:
    """A section's varieties.

    Attributes:
        classes: the classes the section may be, in the schema's order.
        tag: the key that names the variety (`name` or `unit`). None where there is only one, without a name.
        names: variety to class, empty without a tag.
        default: the variety a study has where it leaves the section out. None where there is none.
        removable: whether null is a value of its own (no privacy, no fairness).
        many: whether it is a list of such sections (trackers).
    """

    classes: tuple[type[Section], ...]
    tag: str | None
    names: Mapping[str, type[Section]]
    default: str | None
    removable: bool
    many: bool = False


def settings(variety: type[Section]) -> list[str]:
    """Returns the names of a variety's settings, without the key that names the variety.

    >>> settings(SECTIONS["program"].names["cyclic"])
    ['rounds', 'cohort_size', 'min_clients', 'order']
    """
    return [name for name, field in variety.model_fields.items() if not _is_tag(name, field)]


def choices(annotation: Any) -> list[Any]:
    """Returns the values of every `Literal` in a type, in order."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for part in get_args(annotation) for value in choices(part)]


def shape(field: FieldInfo) -> Shape | None:
    """Returns the varieties of a field that is a section. None for any other field."""
    classes = tuple(_classes(field.annotation))
    if not classes:
        return None
    tag = next((name for name in _TAGS if _is_tag(name, classes[0].model_fields.get(name))), None)
    names = {choices(cls.model_fields[tag].annotation)[0]: cls for cls in classes} if tag else {}
    default = getattr(field.default, tag) if tag and isinstance(field.default, Section) else None
    many = get_origin(field.annotation) is tuple
    return Shape(classes, tag, names, default, type(None) in get_args(field.annotation), many)


def _is_tag(name: str, field: FieldInfo | None) -> bool:
    # A tag is required and a Literal. A setting that is called `name` but has a default is a plain setting.
    return name in _TAGS and field is not None and field.is_required() and bool(choices(field.annotation))


def _classes(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [cls for part in get_args(annotation) for cls in _classes(part)]


SECTIONS: Mapping[str, Shape] = {
    name: found for name, field in Study.model_fields.items() if (found := shape(field)) is not None
}
"""A study's sections. Its other fields (the seed) are plain settings."""
