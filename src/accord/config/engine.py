"""The `engine` section, which decides where client work runs."""

from typing import Annotated, Literal

from pydantic import Field

from accord.config.base import Count, Flag, Positive, Section


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


class FederationEngine(EngineSection):
    """Real sites: each organisation works on its own rows, and a coordinator passes messages on."""

    name: Literal["federation"]
    identity: str | None = None
    """Folder with the requester's key and the coordinator's address; null takes $ACCORD_FEDERATION, else
    ~/.config/accord/federation."""
    deadline_s: Positive = 600.0
    """Seconds that a site has to answer; a round goes on without those that are late."""
    purpose: str = ""
    """Why the rows are needed, in one sentence, for those who decide at the sites."""


Engine = Annotated[SequentialEngine | VectorisedEngine | FederationEngine, Field(discriminator="name")]
