"""The `engine` section, which decides where client work runs."""

from typing import Annotated, Literal

from pydantic import Field

from accord.config.base import Count, Flag, Section


class EngineSection(Section):
    """The base of the engines."""

    shard_size: Count = 16
    """Clients whose updates are added up together; sums are added in shard order."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where it is present."""


class SequentialEngine(EngineSection):
    """The reference engine: one client after the other in this process."""

    name: Literal["sequential"]


class VectorisedEngine(EngineSection):
    """Clients stacked and stepped together in this process: the same result, several times as fast."""

    name: Literal["vectorised"]
    threads: Count | None = None
    """Chunks worked at once; changes nothing but time. Null takes the machine's cores."""
    chunk_size: Count | None = None
    """Clients stacked together, within a shard; changes time and last bits. Null takes what fits the cache."""
    compile: Flag | None = None
    """Train by compiled code where network and optimiser allow; changes time and last bits. Null: in long runs."""


Engine = Annotated[SequentialEngine | VectorisedEngine, Field(discriminator="name")]
