"""Which kernels a study's work runs by: stacked, compiled or none, and how many clients are then stacked together."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from accord.core.params import Params
from accord.core.timing import Timed, untimed
from accord.data.federated import FederatedData, Table
from accord.engines.compiled.network import CompiledNetwork, compile_network
from accord.engines.stacked.network import StackedNetwork, stack_network
from accord.engines.stacked.step import KernelStep
from accord.engines.vectorised.chunks import (
    Cost,
    chunk_size,
    compiled_chunk_size,
    cost_of,
    mapped_chunk_size,
    worth_sharing,
)
from accord.engines.vectorised.kernel_chunks import Kernels, sums_packed
from accord.engines.vectorised.speed import Speed
from accord.program.base import ClientId
from accord.program.local import ClientWork
from accord.tasks.classification import cross_entropy

# Most per-sample activations in memory at once in a private step (64 MB in float32).
_MICRO_NUMBERS = 2**24
# Arithmetic that takes stacked kernels about ten seconds. Compiling takes about as long, once on a machine.
_PAYS = 1e12
_FORMS = 4


class KernelForms:
    """Finds the kernels of client work, and keeps them from round to round.

    Args:
        data: every client's rows.
        shard_size: clients summed together.
        device: where the arithmetic happens.
        speed: chunk size and compilation.
        timed: a stopwatch.
    """

    def __init__(
        self, data: FederatedData, shard_size: int, device: torch.device, speed: Speed, timed: Timed = untimed
    ) -> None:
        self._data = data
        self._shard_size = shard_size
        self._device = device
        self._speed = speed
        self._timed = timed
        self.made: dict[tuple[int, bool], tuple[ClientWork, Kernels | None]] = {}

    def kernels(self, work: ClientWork, shared: Params, clients: int) -> Kernels | None:
        """The stacked step, with the compiled form of the network where there is one. None without a stacked form."""
        # The work is stored with its form. That keeps it alive, so that no other object can get the same id.
        key = (id(work), clients == 1)
        if key not in self.made:
            if len(self.made) == _FORMS:  # adaptive clipping makes a new work object in every round
                self.made.clear()
            self.made[key] = (work, self.form(work, shared, clients))
        _, form = self.made[key]
        if form is None:
            return None
        network = form.compiled or form.step.network
        start = network.enter({name: shared[name].unsqueeze(0) for name in work.task.trainable})
        return replace(form, start=start)

    def form(self, work: ClientWork, shared: Params, clients: int) -> Kernels | None:
        """The part of the kernels that is the same in every round."""
        # Kernels compute the gradients of the built-in losses only. They also reorder axes, to which an optimiser must
        # be indifferent. A rule's correction, called on a stack, would mix the clients unless it is elementwise.
        if work.task.loss is not None or not work.elementwise:
            return None
        x, plan = self._data.data.train.x, work.local_plan
        by_sample = plan is not None and plan.mechanism.clips_samples
        network = stack_network(work.task.model, x.dim() - 1, by_sample=by_sample)
        if network is None or work.unused:  # kernels move every parameter
            return None
        start = network.enter({name: shared[name].unsqueeze(0) for name in work.task.trainable})
        row = Table.features(x[:1].unsqueeze(0).clone(), self._device, work.dtype)
        cost = cost_of(network, start, row, by_sample=by_sample)
        compiled = self._compiled_form(work, network, cost)
        # With a single client, threads can only share its batch. It pays where arithmetic outweighs forming the
        # gradients twice.
        worth = clients == 1 and worth_sharing(work, cost)
        pieces = 2 if worth and (compiled or cost.products >= 4 * network.numbers) else 1
        step = KernelStep(work, network, max(1, _MICRO_NUMBERS // cost.activations), pieces, timed=self._timed)
        return Kernels(step, start, cost, compiled)

    def _compiled_form(self, work: ClientWork, network: StackedNetwork, cost: Cost) -> CompiledNetwork | None:
        """The network in compiled form.

        None where the work or the network has no such form, or where the run is too short to pay for compiling.
        """
        table, plan = self._data.data.train, work.local_plan
        fits = (
            work.optimizer.plain_rate is not None and not work.rule.corrects and sums_packed(work),
            plan is None or (plan.mechanism.clips_samples and not plan.per_layer),
            work.task.kind.loss is cross_entropy,  # compiled in
            table.x.dtype in (torch.uint8, torch.float32) and work.dtype == torch.float32,
            table.x.is_contiguous() and table.y.is_contiguous() and self._device.type == "cpu",
        )
        compiles = (
            6 * cost.products * self._speed.samples >= _PAYS if self._speed.compile is None else self._speed.compile
        )
        if not (compiles and all(fits)):
            return None
        return compile_network(network, tuple(table.x.shape[1:]), work.task.classes, by_sample=plan is not None)

    def chunk_size(self, work: ClientWork, kernels: Kernels | None, cohort: Sequence[ClientId]) -> int:
        """How many clients to stack together."""
        if self._speed.chunk_size is not None:
            return self._speed.chunk_size
        if kernels is None:
            return mapped_chunk_size(work, self._shard_size)
        if kernels.compiled is not None:
            return compiled_chunk_size(work, kernels.cost, self._data.train.sizes(), cohort)
        return chunk_size(work, kernels.step.network, kernels.cost, len(cohort))
