"""The names that a study's sections can have, shown by `accord run --help`. They are read from the schema."""

from collections.abc import Iterator
from typing import Any

_SECTIONS = ("data", "partition", "model", "program", "privacy", "attack", "engine", "trackers")


def varieties() -> dict[str, tuple[str, ...]]:
    """Returns the possible names of each section.

    >>> varieties()["privacy"]
    ('batch', 'client', 'local', 'sample')
    """
    from accord.config.schema import Study

    properties = Study.model_json_schema()["properties"]
    return {section: tuple(_names(properties[section])) for section in _SECTIONS}


def _names(part: Any) -> Iterator[str]:
    """Yields the names that distinguish a section's varieties, in the order of the schema."""
    if isinstance(part, dict):
        if "discriminator" in part:
            yield from part["discriminator"]["mapping"]
            return
        for value in part.values():
            yield from _names(value)
    elif isinstance(part, list):
        for value in part:
            yield from _names(value)
