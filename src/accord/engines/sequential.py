"""The reference engine, which runs one client after the other and one step after the other in this process.

Every other engine is tested against it. It has plain loops, no padding and no stacking. An error names the client, the
round and the stage.
"""

from collections.abc import Iterator, Sequence

import torch

from accord.core import params as p
from accord.core.checks import positive
from accord.core.errors import AccordError, ClientError
from accord.core.params import Params
from accord.core.streams import NOISE, Streams
from accord.core.timing import Timed, untimed
from accord.data.federated import FederatedData, Rows, Table
from accord.engines.client_losses import client_losses
from accord.program import local
from accord.program.base import ClientId, ClientResult, CohortSum
from accord.program.local import Batch, ClientWork


class Sequential:
    """Runs client work in a loop.

    Args:
        data: every client's rows.
        streams: the run's named streams.
        shard_size: clients whose updates are summed together before the sums are added in shard order.
        device: where the arithmetic happens.
        timed: a stopwatch.
    """

    def __init__(
        self,
        data: FederatedData,
        streams: Streams,
        shard_size: int = 16,
        device: torch.device | None = None,
        timed: Timed = untimed,
    ) -> None:
        positive(shard_size=shard_size)
        self._data = data
        self._streams = streams
        self._shard_size = shard_size
        self._device = device or torch.device("cpu")
        self._timed = timed
        self.carried: dict[ClientId, Params] = {}

    def run_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int
    ) -> Iterator[ClientResult]:
        """Each client's result, in the cohort's order.

        Raises:
            ClientError: a client's work failed. The error has the client, the round and the stage.
        """
        work = work.at(round_number)
        for client in cohort:
            yield self._run_client(work, client, shared, round_number)

    def sum_cohort(
        self,
        work: ClientWork,
        cohort: Sequence[ClientId],
        shared: Params,
        round_number: int,
        weights: Sequence[float],
    ) -> CohortSum:
        """`sum(weight * update)` over the cohort, with a partial sum for each shard."""
        total = p.zeros_like({name: shared[name] for name in work.sent})
        samples: dict[ClientId, int] = {}
        steps: dict[ClientId, int] = {}
        unclipped = 0
        for begin in range(0, len(cohort), self._shard_size):
            end = begin + self._shard_size
            partial = p.zeros_like(total)
            results = self.run_cohort(work, cohort[begin:end], shared, round_number)
            for result, weight in zip(results, weights[begin:end], strict=True):
                with self._timed("aggregation"):
                    partial = p.add(partial, result.update, weight)
                samples[result.client], steps[result.client] = result.samples, result.steps
                unclipped += result.unclipped
            total = p.add(total, partial)
        return CohortSum(total, samples, steps, unclipped=unclipped)

    def client_losses(self, work: ClientWork, cohort: Sequence[ClientId], shared: Params) -> list[float]:
        """Mean loss of the round's parameters over each client's rows, in the cohort's order."""
        with self._timed("evaluation"):
            return client_losses(work, self._data, cohort, shared)

    def _run_client(self, work: ClientWork, client: ClientId, shared: Params, round_number: int) -> ClientResult:
        stage = "start"
        try:
            client_rows = self._data.train.rows(client)
            rows = local.schedule(work, len(client_rows), self._streams("rows", round_number, client))
            # One stream for all of the client's noise in the round. Draws follow each other step by step.
            noise_stream = self._streams(NOISE, round_number, client)
            state = local.start(work, shared, self.carried.get(client, local.NOTHING))
            stage = "step"
            for sampled in rows:
                with self._timed("data"):
                    batch = self._batch(work, client_rows[sampled[sampled >= 0]])
                # Noise is drawn for every step, also for one with an empty batch. Otherwise the release would show
                # whether the batch was empty.
                with self._timed("noise"):
                    noise = local.step_noise(work, shared, noise_stream)
                with self._timed("local training"):
                    state = local.step(work, state, batch, local.divisor(work, len(client_rows)), noise)
            stage = "finish"
            with self._timed("clipping"):
                done = local.finish(work, state, shared, len(rows), local.sent_noise(work, shared, noise_stream))
        except AccordError:
            raise
        except Exception as error:
            message = str(error).partition("\n")[0] or type(error).__name__
            raise ClientError(message, client=client, round_number=round_number, stage=stage) from error
        if work.rule.carries:
            self.carried[client] = self.carried.get(client, {}) | done.carried
        return ClientResult(client, done.update, int((rows >= 0).sum()), len(rows), done.unclipped)

    def _batch(self, work: ClientWork, rows: Rows) -> Batch:
        table = self._data.data.train
        if len(rows) == 0:  # an empty Poisson batch becomes one row of zeros with weight 0, to keep the shapes
            x, y, weight = (
                torch.zeros_like(table.x[:1]),
                torch.zeros_like(table.y[:1]),
                torch.zeros(1, dtype=work.dtype),
            )
        else:
            index = torch.from_numpy(rows)
            x, y, weight = table.x[index], table.y[index], torch.ones(len(rows), dtype=work.dtype)
        x = Table.features(x, self._device, work.dtype)
        return Batch(x, y.to(self._device), weight.to(self._device))
