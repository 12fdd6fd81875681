"""Shell completions: sections, settings and values after `--set`, and names of engines and data sets.

`accord --install-completion` enables them in a shell. All are read from the schema, and nothing imports torch.
"""

from collections.abc import Iterator
from typing import Any


def complete_set(incomplete: str) -> list[str]:
    """Lists the possible continuations of `--set`.

    >>> complete_set("prog")
    ['program.', 'program=']
    >>> complete_set("program.ro")
    ['program.rounds=']
    >>> complete_set("engine.name=v")
    ['engine.name=vectorised']
    """
    return sorted({each for each in _candidates(incomplete) if each.startswith(incomplete)})


def complete_engine(incomplete: str) -> list[str]:
    """Names of engines.

    >>> complete_engine("s")
    ['sequential']
    """
    from accord.config.sections import SECTIONS

    return [name for name in SECTIONS["engine"].names if name.startswith(incomplete)]


def complete_data(incomplete: str) -> list[str]:
    """Names of data sets.

    >>> complete_data("mn")
    ['mnist']
    """
    from accord.config.sections import SECTIONS

    return [name for name in SECTIONS["data"].names if name.startswith(incomplete)]


def _candidates(incomplete: str) -> Iterator[str]:
    from accord.config.schema import Study
    from accord.config.sections import SECTIONS, settings

    key, equals, _ = incomplete.partition("=")
    if equals:
        yield from (f"{key}={value}" for value in _values(key))
        return
    name, dot, _ = key.partition(".")
    shape = SECTIONS.get(name)
    if dot and shape is not None:
        tags = [shape.tag] if shape.tag else []
        yield from (f"{name}.{each}=" for cls in shape.classes for each in (*tags, *settings(cls)))
        return
    for each in Study.model_fields:
        yield f"{each}="
        if each in SECTIONS:
            yield f"{each}."


def _values(key: str) -> list[str]:
    """Lists the values of a setting if the schema has a list of them."""
    from accord.config.sections import SECTIONS, choices

    name, dot, setting = key.partition(".")
    shape = SECTIONS.get(name)
    if shape is None:
        return []
    if not dot or setting == shape.tag:
        return [*shape.names, *(["null"] if shape.removable and not dot else [])]
    found: dict[str, None] = {}
    for cls in shape.classes:
        field = cls.model_fields.get(setting)
        if field is not None:
            found |= dict.fromkeys(_text(value) for value in _choices(field.annotation, choices))
    return list(found)


def _choices(annotation: Any, choices: Any) -> list[Any]:
    listed: list[Any] = choices(annotation)
    flag = "bool" in str(annotation)
    return [*listed, *((True, False) if flag else ())]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
