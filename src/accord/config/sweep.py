"""The `sweep` section, which runs one study under several settings and seeds, for `accord sweep`."""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from accord.config.base import Count, NonNegativeInt, Section

Values = Annotated[tuple[Any, ...], Field(min_length=1)]
MOST_RUNS = 10_000

Seed = NonNegativeInt
"""The seed of a run."""


class Sweep(Section):
    """Runs of one study under several settings and seeds; `accord sweep` runs them, `accord run` refuses them."""

    grid: dict[str, Values] = {}  # noqa: RUF012 - pydantic gives each its own
    """Settings by dotted path, as after `--set`, each with a list of values: every combination is a point."""
    zip: dict[str, Values] = {}  # noqa: RUF012
    """Settings that change together: the first values of all lists, then the second; lists of one length."""
    seeds: Count | Annotated[tuple[Seed, ...], Field(min_length=1)] | None = None
    """Seeds that each point is run under, or how many, counted up from the study's; null takes the study's."""

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, given: Any) -> Any:
        if isinstance(given, dict):
            for name in ("grid", "zip"):
                values = given.get(name)
                if isinstance(values, dict):
                    for key, value in values.items():
                        _check_values(name, key, value)
            seeds = given.get("seeds")
            # `type`, not `isinstance`: true is an int in Python, but no seed. Checked here, as a union's own error says
            # less.
            if isinstance(seeds, list | tuple) and not all(type(seed) is int and seed >= 0 for seed in seeds):
                raise ValueError("seeds takes a list of whole numbers from 0, such as [0, 1, 2], or a count")
        return given

    @model_validator(mode="after")
    def _possible(self) -> "Sweep":
        if not self.grid and not self.zip and self.seeds is None:
            raise ValueError("give grid, zip or seeds, such as seeds: 3")
        for key in [*self.grid, *self.zip]:
            _check_path(key)
        both = self.grid.keys() & self.zip.keys()
        if both:
            raise ValueError(f"{min(both)} is in grid and in zip; leave one of them")
        for key, values in self.grid.items():
            _once(f"grid.{key}", values)
        lengths = {key: len(values) for key, values in self.zip.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{key} has {n}" for key, n in lengths.items())
            raise ValueError(f"the lists of zip change together and must be of one length ({listed})")
        if isinstance(self.seeds, tuple):
            _once("seeds", self.seeds)
        if self.size > MOST_RUNS:
            raise ValueError(f"{self.size:,} runs are more than the {MOST_RUNS:,} a sweep may have; split it")
        return self

    @property
    def size(self) -> int:
        """The number of runs."""
        # All lists of `zip` are of one length, so any of them will do.
        zipped = len(next(iter(self.zip.values()))) if self.zip else 1
        seeds = len(self.seeds) if isinstance(self.seeds, tuple) else self.seeds or 1
        return math.prod(len(values) for values in self.grid.values()) * zipped * seeds

    @property
    def axes(self) -> tuple[tuple[str, ...], ...]:
        """The axes that are varied, each with the paths that change together, one path of the grid or all of `zip`."""
        return (*((key,) for key in self.grid), *((tuple(self.zip),) if self.zip else ()))

    def seeds_from(self, seed: int) -> tuple[int, ...]:
        """Returns the seeds each point is run under, `seed` being the study's own.

        >>> Sweep(seeds=3).seeds_from(5), Sweep(seeds=(7, 1)).seeds_from(5)
        ((5, 6, 7), (7, 1))
        """
        if isinstance(self.seeds, tuple):
            return self.seeds
        return tuple(range(seed, seed + (self.seeds or 1)))


def shown(value: Any) -> str:
    """Writes a swept value as a person reads it, and as YAML reads it back.

    >>> shown(0.1), shown(None), shown("cyclic"), shown({"unit": "sample", "epsilon": 1})
    ('0.1', 'null', 'cyclic', '{unit: sample, epsilon: 1}')
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(shown, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _check_values(name: str, key: Any, value: Any) -> None:
    if isinstance(value, Mapping) and value:
        inner = next(iter(value))
        raise ValueError(f"{name} takes dotted paths: write {key}.{inner} instead of {inner} below {key}")
    if not isinstance(value, list | tuple):
        raise ValueError(  # noqa: TRY004 - pydantic reports ValueError as the study's fault
            f"{name}.{key} needs a list of values, such as [{shown(value)}]"
        )
    if not value:
        raise ValueError(f"{name}.{key} lists no value")


def _check_path(key: str) -> None:
    head, *_ = parts = key.split(".")
    if not all(part.strip() for part in parts):
        raise ValueError(f"{key!r} is not a setting's path, such as training.learning_rate")
    if head == "seed":
        raise ValueError("seed is not swept in grid or zip; list the seeds in sweep.seeds")
    if head == "sweep":
        raise ValueError(f"{key} would sweep the sweep; sweep the study's other parts")


def _once(name: str, values: tuple[Any, ...]) -> None:
    seen: set[str] = set()
    for value in values:
        # 1 and 1.0 are one setting; 1 and true are not.
        key = shown(float(value) if isinstance(value, int) and not isinstance(value, bool) else value)
        if key in seen:
            raise ValueError(f"{name} lists {shown(value)} twice; leave one of them")
        seen.add(key)
