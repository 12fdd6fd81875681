"""Runs one client's training by the compiled loop, and reports how long its parts took."""

import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor

from accord.core.errors import PrivacyError
from accord.core.timing import Timed
from accord.data.federated import Rows, Table
from accord.engines.compiled.network import CompiledNetwork
from accord.engines.compiled.training import (
    ALL_STEPS,
    APPLY,
    CLIPPING,
    DATA,
    NOISE,
    SUM,
    Examples,
    Memory,
    NetworkLayout,
    Update,
    train,
)
from accord.privacy import rounding
from accord.privacy.chacha_normals import NO_GRIDS, key_of
from accord.program import local
from accord.program.local import ClientWork


@dataclass(frozen=True)
class Trainer:
    """What compiled training reads that is the same for every client.

    Attributes:
        work: what to do. Only plain SGD is possible, unclipped or clipped by sample.
        network: its network in compiled form.
        table: the training rows.
        timed: a stopwatch.

    Raises:
        PrivacyError: the work is of another kind.
    """

    work: ClientWork
    network: CompiledNetwork
    table: Table
    timed: Timed

    def __post_init__(self) -> None:
        work, plan = self.work, self.work.local_plan
        by_sample = plan is None or (plan.mechanism.clips_samples and not plan.per_layer)
        if work.optimizer.plain_rate is None or work.rule.corrects or not by_sample:
            raise PrivacyError("only plain SGD, unclipped or clipped by sample, is compiled")

    def train(self, rows: Rows, counts: Rows, num_rows: int, params: Tensor, stream: np.random.Generator) -> None:
        """All of a client's local steps.

        Args:
            rows: table rows of each step, `[steps, width]`, with those to use first.
            counts: number of rows to use in each step, `[steps]`.
            num_rows: number of training rows of the client.
            params: the client's parameters `[numbers]`, float32, changed.
            stream: the client's noise stream, advanced as by one draw a step.

        Raises:
            PrivacyError: the noise is not a positive number.
        """
        most = int(counts.max(initial=0))
        # The gradient is summed apart where a batch takes several pieces, and always where it is noised.
        scratch = self._scratch(most, most > self.network.micro or self.work.local_plan is not None)
        rate = self._rate(num_rows)
        self._run(rows, counts, rate, params, self._keys(len(rows), stream), scratch, ALL_STEPS)

    def train_in_halves(
        self,
        rows: Rows,
        counts: Rows,
        num_rows: int,
        params: Tensor,
        stream: np.random.Generator,
        pool: Executor | None,
    ) -> None:
        """As `train`, for a client that trains alone, with each step's rows divided between two threads.

        The rows are always cut in two, so that bits do not depend on the threads. Errors are those of `train`.

        Args:
            rows: as in `train`.
            counts: as in `train`.
            num_rows: as in `train`.
            params: as in `train`.
            stream: as in `train`.
            pool: the threads to use. None computes both halves in the calling thread.
        """
        rate = self._rate(num_rows)
        keys = self._keys(len(rows), stream)
        scratch = [self._scratch(-(-int(counts.max(initial=0)) // 2), True) for _ in range(2)]
        no_rows = np.empty((1, 0), dtype=np.int64)
        for step, count in enumerate(counts.tolist()):
            # Without privacy the step takes the mean over the batch, so the division is by the count of both halves.
            scaled = rate if self.work.local_plan is not None else rate / max(1, count)
            halves = rows[step, : count // 2], rows[step, count // 2 : count]

            def half(i: int, scaled: float = scaled, halves: tuple[Rows, ...] = halves) -> None:
                mine = halves[i][np.newaxis]
                self._run(mine, np.array([mine.size]), scaled, params, keys[:0], scratch[i], SUM)

            other = None if pool is None else pool.submit(half, 1)  # waking one thread costs less than waking two
            half(0)
            half(1) if other is None else other.result()
            # Noise comes after the halves are added. It must be drawn once a step, on the sum of the whole batch.
            np.add(scratch[0].total, scratch[1].total, out=scratch[0].total)
            self._run(no_rows, np.zeros(1, dtype=np.int64), scaled, params, keys[step : step + 1], scratch[0], APPLY)

    def _scratch(self, rows: int, summed: bool) -> Memory:
        """Memory for steps of `rows` rows, with or without room for a gradient summed apart from the parameters."""
        network = self.network
        space, argmax = (self._micro(rows) * int(size) for size in network.sizes)
        total = np.empty(network.numbers if summed else 0, dtype=np.float32)
        return Memory(np.empty(space, dtype=np.float32), np.empty(argmax, dtype=np.int32), total)

    def _micro(self, rows: int) -> int:
        """Rows worked on at once in steps of `rows` rows."""
        return max(1, min(rows, self.network.micro))

    def _rate(self, num_rows: int) -> float:
        """What a step multiplies the mean gradient by, or under privacy the sum."""
        return (self.work.optimizer.plain_rate or 0.0) / local.divisor(self.work, num_rows)

    def _keys(self, steps: int, stream: np.random.Generator) -> NDArray[np.uint32]:
        """The key of each step's noise."""
        plan = self.work.local_plan
        if plan is None:
            return np.empty((0, 8), dtype=np.uint32)
        # The compiled loop takes a clip norm of 0 for "no clipping", so one that vanishes in float32 is refused.
        if not np.float32(plan.clip_norm) > 0:
            raise PrivacyError(f"privacy.clip_norm {plan.clip_norm:g} is 0 in float32")
        return np.stack([key_of(stream) for _ in range(steps)])

    def _run(
        self,
        rows: Rows,
        counts: Rows,
        rate: float,
        params: Tensor,
        keys: NDArray[np.uint32],
        memory: Memory,
        part: int,
    ) -> None:
        """Runs `part` of the given steps in compiled code, and reports the time of its stages."""
        plan, network, x = self.work.local_plan, self.network, self.table.x.numpy()
        update = Update(rate, 0.0, 0.0, *NO_GRIDS, keys)
        if plan is not None:
            std = plan.noise_std_for(network.numbers)
            update = Update(rate, plan.clip_norm, std, *rounding.grids(std), keys)
        pixels = bool(x.dtype == np.uint8)
        examples = Examples(
            _read_only(x.reshape(len(x), -1).view(np.uint8)), pixels, network.image, _read_only(self.table.y.numpy())
        )
        # `micro` is derived from the memory, since it sets the stride of every region in it.
        layout = NetworkLayout(network.layers, len(memory.space) // int(network.sizes[0]), *network.draws)
        rows, counts = np.ascontiguousarray(rows), np.ascontiguousarray(counts)
        ticks, began = np.zeros(4, dtype=np.int64), time.perf_counter()
        train(examples, rows, counts, params.numpy(), layout, update, memory, part, ticks)
        # The tick rate of the counter is not known. Wall time is therefore divided in proportion to ticks.
        seconds = (time.perf_counter() - began) * ticks / max(1, int(ticks.sum()))
        stages = {"data": DATA, "clipping": CLIPPING, "noise": NOISE}
        self.timed.divide({stage: float(seconds[number]) for stage, number in stages.items()})


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view, as the signature of the compiled code declares it."""
    view = array.view()
    view.flags.writeable = False
    return view


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limits BLAS to one thread a product within the context.

    Threads share clients instead, and bits must not depend on the number of threads.
    """
    with _blas().limit(limits=1, user_api="blas"):
        yield


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
