"""Settings that decide the speed of the vectorised engine, separate from those that decide its result."""

import math
from dataclasses import dataclass

from accord.core.checks import positive


@dataclass(frozen=True)
class Speed:
    """Settings of speed. They change time and at most the last bits of a result.

    Attributes:
        threads: chunks run at the same time. Changes time only. None takes the machine's cores.
        chunk_size: clients stacked together. None takes what fits the cache.
        compile: whether clients train by compiled code where their work and network have such a form. None compiles
            where the run is long enough to pay for it.
        samples: approximate number of training samples that the whole run will process.

    Raises:
        ValueError: a number that is not positive.
    """

    threads: int | None = None
    chunk_size: int | None = None
    compile: bool | None = None
    samples: float = math.inf

    def __post_init__(self) -> None:
        positive(threads=1 if self.threads is None else self.threads)
        positive(chunk_size=1 if self.chunk_size is None else self.chunk_size)


DEFAULT_SPEED = Speed()
