"""What a data set is to other modules: its section of a study, its loader, and facts for people.

A data set's module in `sources/` ends with one `Source` value, and `accord.data.registry` lists it. Nothing else in
this room names data sets one by one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from accord.config.base import Section
from accord.data.federated import DataSet
from accord.data.sources.places import Origin, how_to_get

YOURS = "yours"
"""The entry for facts that depend on a user's own rows."""


@dataclass(frozen=True)
class Facts:
    """Facts of a data set, in words where they depend on the study.

    Attributes:
        name: as in the study file.
        about: what it is.
        licence: under which it may be used.
        rows: training + test.
        features: the shape of a row.
        classes: how many labels.
        groups: the group columns it comes with.
        get: how to get it, where it is in no files that Accord looks for.
        origin: its files, where it has some.
        published: SHA-256 of those files, unpacked, as they were first published, where that is known.
    """

    name: str
    about: str
    licence: str
    rows: str
    features: str
    classes: str
    groups: str
    get: str = ""
    origin: Origin | None = None
    published: Mapping[str, str] = field(default_factory=dict)

    def how_to_get(self) -> str:
        """Returns one line on how to get it."""
        return self.get if self.origin is None else how_to_get(self.origin)


@dataclass(frozen=True)
class Source:
    """A data set that a study can name.

    Attributes:
        section: the class of its `data` section.
        load: reads or draws it, from the section and the study's seed.
        facts: for people.
        seeded: whether other seeds give other rows.
    """

    section: type[Section]
    load: Callable[[Any, int], DataSet]
    facts: Facts
    seeded: bool = False
