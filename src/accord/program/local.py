"""Client work: the functions `start`, `step` and `finish`, and the frozen `ClientWork` that they read.

The `sequential` engine loops this one definition, and other engines can map it over clients. `step` is pure, takes its
rows and its noise as values, ignores rows of weight 0, and leaves a client with `live` 0 unchanged. Nothing here draws
a random number except `schedule`, `step_noise` and `sent_noise`, which take a stream.

Under privacy, buffers never leave the client and are not trained, since no noise covers them.

What a client keeps from round to round (its control variate, its own layers, its personal model) is `carried`. It is
passed to `start` and returned by `finish`. The engine stores it with the client, and the server never sees it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap

from accord.core import params as p
from accord.core.errors import PrivacyError, StudyError
from accord.core.params import Params
from accord.data import sampling
from accord.data.federated import Rows
from accord.privacy import clipping, noise
from accord.privacy.plan import PrivacyPlan
from accord.program.local_rule import PLAIN, LocalRule, RoundEnd, is_elementwise
from accord.program.optimizers import Optimizer, OptimizerState
from accord.tasks.task import Task

# Numbers that per-sample gradients keep in memory at once (256 MB in float32). It does not change the result.
_PER_SAMPLE_NUMBERS = 2**26


NOTHING: Mapping[str, Tensor] = MappingProxyType({})
"""What a client carries that has never taken part."""


@dataclass(frozen=True)
class ClientWork:
    """What a client does in a round.

    Attributes:
        task: model and loss.
        optimizer: the local optimiser, whose state is new in each round.
        batch_size: rows in a step (expected rows under privacy), or None for all of the client's rows.
        local_epochs: passes over the rows, or None where local_steps is given.
        local_steps: steps, or None where local_epochs is given.
        plan: the privacy plan, or None without privacy.
        dtype: the type of parameters and features.
        rule: what the program adds to gradients, and what the client carries from round to round.
        optimizer_at: maps a round's number to its optimiser where the learning rate has a schedule. None where every
            round has `optimizer`.
    """

    task: Task
    optimizer: Optimizer
    batch_size: int | None
    local_epochs: int | None
    local_steps: int | None
    plan: PrivacyPlan | None
    dtype: torch.dtype = torch.float32
    rule: LocalRule = PLAIN
    optimizer_at: Callable[[int], Optimizer] | None = None

    def __post_init__(self) -> None:
        if (self.local_epochs is None) == (self.local_steps is None):
            raise ValueError("give exactly one of local_epochs and local_steps")
        if self.rule.needs_plain_sgd and self.optimizer.plain_rate is None:
            raise StudyError(
                f"{type(self.rule).__name__} needs plain SGD: training.optimizer sgd, no momentum, no weight_decay"
            )
        plan = self.plan
        if plan is None:
            return
        if self.task.keeps_statistics():
            raise PrivacyError(
                "model: batch norm (and any norm with running statistics) mixes samples or keeps what no noise covers; "
                f"privacy.unit {plan.unit} refuses it, use group norm or layer norm"
            )
        if plan.mechanism.noises_steps and plan.expected_size != self.batch_size:
            raise PrivacyError(f"the plan accounts batches of {plan.expected_size}, the work draws {self.batch_size}")

    @property
    def local_plan(self) -> PrivacyPlan | None:
        """The plan if it clips and noises local steps (units `sample` and `batch`), else None."""
        return self.plan if self.plan is not None and self.plan.mechanism.noises_steps else None

    @property
    def elementwise(self) -> bool:
        """Whether optimiser and rule compute each number from the same number of their arguments alone."""
        return self.optimizer.elementwise and is_elementwise(self.rule)

    @property
    def unused(self) -> tuple[str, ...]:
        """Parameters that the optimiser does not change, as in `torch.optim`.

        Where steps are noised there are none. Noise goes to every parameter, so that it does not show which are used.
        """
        return self.task.unused if self.local_plan is None else ()

    @property
    def sent(self) -> tuple[str, ...]:
        """Names of what a client sends: what is trained, the buffers without privacy, and what its rule sends."""
        own = set(self.rule.own)
        names = self.task.trainable + (self.task.buffers if self.plan is None else ())
        return tuple(name for name in names if name not in own) + self.rule.sent(self.task.trainable)

    def at(self, round_number: int) -> "ClientWork":
        """Returns the work of one round, with that round's optimiser and without a schedule."""
        if self.optimizer_at is None:
            return self
        return replace(self, optimizer=self.optimizer_at(round_number), optimizer_at=None)

    def steps(self, n: int) -> int:
        """Returns the local steps a client with `n` rows takes in a round, which are also what it is charged."""
        if self.local_steps is not None:
            return self.local_steps
        # Rounded up, since the last batch of a pass may be smaller.
        return (self.local_epochs or 1) * -(-n // min(n, self.batch_size or n))

    def expected_samples(self, n: int) -> int:
        """Returns the training samples that a client with `n` rows is expected to process in a round.

        It is a function of the settings and of `n`, and not of any draw. Poisson batches have sampling rate times `n`
        rows on average. Shuffled passes have a fixed number of rows.
        """
        steps = self.steps(n)
        if self.local_plan is not None:
            return round(steps * self.local_plan.divisor(n))
        batch = min(n, self.batch_size or n)
        # Only the last step of a pass may be short, so the steps of an unfinished pass are full batches.
        passes, rest = divmod(steps, -(-n // batch))
        return passes * n + rest * batch


class Batch(NamedTuple):
    """Rows of one step: `x` `[width, ...]`, `y` `[width]`, and `weight` `[width]`, 1 for a row and 0 for padding."""

    x: Tensor
    y: Tensor
    weight: Tensor


class ClientState(NamedTuple):
    """A client between steps.

    Attributes:
        trainable: what is trained.
        rest: what is only passed along, which is buffers and frozen parameters.
        optimizer: the optimiser's state.
        offset: what the rule adds to every gradient of the round, by name, or empty where it adds nothing.
        anchor: the round's parameters, by name, or empty where the rule does not read them.
    """

    trainable: Params
    rest: Params
    optimizer: OptimizerState
    offset: Params
    anchor: Params


class Finished(NamedTuple):
    """The result of a client's round.

    Attributes:
        update: what it sends, by the names in `ClientWork.sent`.
        carried: what it keeps until its next round.
        unclipped: whether the update was within the clip norm without clipping. True where updates are not clipped.
    """

    update: Params
    carried: Params
    unclipped: bool


def schedule(work: ClientWork, n: int, rng: np.random.Generator) -> Rows:
    """Draws which of a client's `n` rows each step sees, shape `[steps, width]`, padded with -1.

    Steps are Poisson samples at the plan's own rate where the plan noises each step, and shuffled passes otherwise.
    """
    plan = work.local_plan
    if plan is not None:
        return sampling.poisson(n, plan.sampling_rate(n), work.steps(n), rng)
    batch = min(n, work.batch_size or n)
    if work.local_steps is not None:
        return sampling.steps(n, batch, work.local_steps, rng)
    return sampling.epochs(n, batch, work.local_epochs or 1, rng)


def step_noise(work: ClientWork, shared: Params, rng: np.random.Generator) -> Params | None:
    """Draws the noise of one local step, or returns None where the plan adds none inside the client."""
    plan = work.local_plan
    if plan is None:
        return None
    like = {name: shared[name] for name in work.task.trainable}
    return noise.gaussian(rng, like, plan.noise_std_for(p.count(like)))


def sent_noise(work: ClientWork, shared: Params, rng: np.random.Generator) -> Params | None:
    """Draws the noise on what one client sends under unit `local`, or returns None for every other unit."""
    plan = work.plan
    if plan is None or not plan.mechanism.noises_update:
        return None
    like = {name: shared[name] for name in work.sent}
    return noise.gaussian(rng, like, plan.noise_std_for(p.count(like)))


def start(work: ClientWork, shared: Params, carried: Mapping[str, Tensor] = NOTHING) -> ClientState:
    """Returns a client's state before its first step, from the round's parameters and what the client carries."""
    rule, model = work.rule, _model_part(work.rule, shared)
    own = {name: carried.get(name, value) for name, value in model.items() if name in rule.own}
    trainable = {name: own.get(name, shared[name]) for name in work.task.trainable}
    rest = {name: own.get(name, value) for name, value in model.items() if name not in trainable}
    offset = {}
    if rule.has_offset:
        before = rule.values(carried)
        client = {name: before.get(name, torch.zeros_like(value)) for name, value in trainable.items()}
        offset = rule.offset(rule.values(shared), client)
    anchor = {name: shared[name] for name in trainable} if rule.anchored else {}
    used = {name: value for name, value in trainable.items() if name not in work.unused}
    return ClientState(trainable, rest, work.optimizer.init(used), offset, anchor)


def _model_part(rule: LocalRule, shared: Params) -> Params:
    """Returns what is shared without the rule's own values."""
    return {name: value for name, value in shared.items() if not (rule.prefix and name.startswith(rule.prefix))}


def divisor(work: ClientWork, n: int) -> float:
    """Returns what a step's noised sum is divided by at a client with `n` rows, which is the expected batch or 1."""
    plan = work.local_plan
    return plan.divisor(n) if plan is not None and plan.mechanism.clips_samples else 1.0


def step(
    work: ClientWork,
    state: ClientState,
    batch: Batch,
    divisor: float | Tensor,
    draw: Params | None,
    live: Tensor | None = None,
) -> ClientState:
    """Computes one local step.

    Args:
        work: what to do.
        state: the state before the step.
        batch: rows, padded or not.
        divisor: a scalar, as `divisor` returns it for this client.
        draw: what `step_noise` drew for this step, required where the plan noises steps.
        live: a scalar, 0 where the client has finished and must not change. None means live.

    Returns:
        The state after the step.

    Raises:
        PrivacyError: the plan requires noise and none was given, or the other way round.
    """
    gradients, rest = _gradients(work, state, batch, divisor, draw)
    if work.rule.corrects:
        # Added after clipping and noise, since it depends on the client's rows only through noised or released values.
        correction = work.rule.correction(state.trainable, state.anchor, state.offset)
        gradients = p.add(gradients, correction) if correction else gradients
    used = {name: value for name, value in state.trainable.items() if name not in work.unused}
    stepped, optimizer = work.optimizer.update({name: gradients[name] for name in used}, state.optimizer, used)
    new = ClientState(state.trainable | stepped, rest, optimizer, state.offset, state.anchor)
    # Stacked clients take equally many steps, so a client that has finished computes a step and discards it.
    return new if live is None else _where(live, new, state)


def finish(work: ClientWork, state: ClientState, shared: Params, steps: int, draw: Params | None) -> Finished:
    """Returns what a client sends, clipped as a whole under units `client` and `local`, and what it keeps.

    Args:
        work: what was done.
        state: the state after the last step.
        shared: the round's parameters.
        steps: local steps taken.
        draw: what `sent_noise` drew, required under unit `local`.

    Raises:
        PrivacyError: noise is missing under unit `local`, or is given under another.
    """
    if (work.plan is not None and work.plan.mechanism.noises_update) != (draw is not None):
        raise PrivacyError("privacy.unit local adds noise to what is sent, and nothing else does")
    own = state.trainable | {name: value for name, value in state.rest.items() if name in work.task.buffers}
    rule = work.rule
    carried = {name: own[name] for name in rule.own}
    beside = set(rule.sent(work.task.trainable))
    update = {name: own[name] - shared[name] for name in work.sent if name not in beside}
    if rule.prefix:
        begun = {name: shared[name] for name in work.task.trainable}
        rate = work.optimizer.plain_rate
        end = RoundEnd(state.trainable, begun, rule.values(shared), state.offset, max(1, steps), rate)
        after = rule.finish(end)
        carried |= {rule.prefix + name: value for name, value in after.carried.items()}
        update |= {rule.prefix + name: value for name, value in after.sent.items()}
    if work.plan is None or work.plan.mechanism.noises_steps:
        return Finished(update, carried, True)
    # The whole message is clipped, including what the rule sends, since its norm is what the noise is scaled to.
    clipped, unclipped = clipping.clip_by(update, work.plan.clip_norm, work.plan.per_layer)
    return Finished(clipped if draw is None else _noised(work.plan, clipped, draw), carried, bool(unclipped))


def _noised(plan: PrivacyPlan, total: Params, draw: Params) -> Params:
    """Adds noise to a clipped sum, gradient or update, as it is released."""
    return noise.noised(total, draw, plan.noise_std_for(p.count(total)))


def _gradients(
    work: ClientWork, state: ClientState, batch: Batch, divisor: float | Tensor, draw: Params | None
) -> tuple[Params, Params]:
    plan = work.local_plan
    if plan is None:
        if draw is not None:
            raise PrivacyError("noise was drawn for a step whose plan adds none")
        return _mean_gradient(work.task, state, batch)
    if draw is None:
        raise PrivacyError(f"privacy.unit {plan.unit} adds noise in every step, but a step came without")
    if plan.mechanism.clips == "sample":
        total = _clipped_gradients(work.task, state, batch, plan)
        # Divided by the expected batch, since the size that was drawn is private.
        return p.multiply(_noised(plan, total, draw), 1 / divisor), state.rest
    if plan.mechanism.clips == "batch":
        mean, _ = _mean_gradient(work.task, state, batch)
        return _noised(plan, clipping.clip_by(mean, plan.clip_norm, plan.per_layer)[0], draw), state.rest
    raise PrivacyError(f"no local mechanism for privacy.unit {plan.unit}")


def _mean_gradient(task: Task, state: ClientState, batch: Batch) -> tuple[Params, Params]:
    """Returns the gradient of the mean loss over the rows of weight 1, and the buffers after the pass."""

    def loss(trainable: Params) -> tuple[Tensor, Params]:
        # Batch norm writes its statistics in place, which must not reach the state before the step.
        rest = {name: value.clone() for name, value in state.rest.items()}
        losses = task.losses(trainable | rest, batch.x, batch.y)
        # `where` and not a product, since a padded row's loss may be infinite and 0 * inf is NaN.
        total = torch.where(batch.weight > 0, losses, torch.zeros_like(losses)).sum()
        # At least 1, since a Poisson sample may be empty.
        return total / batch.weight.sum().clamp(min=1.0), rest

    gradients, rest = grad(loss, has_aux=True)(state.trainable)
    return gradients, rest


def _clipped_gradients(task: Task, state: ClientState, batch: Batch, plan: PrivacyPlan) -> Params:
    """Returns the sum of each row's clipped gradient, in micro-batches that fit memory."""

    def loss(trainable: Params, x: Tensor, y: Tensor) -> Tensor:
        # vmap removes the batch dimension, which the network expects.
        return task.losses(trainable | state.rest, x.unsqueeze(0), y.unsqueeze(0))[0]

    per_sample = vmap(grad(loss), in_dims=(None, 0, 0))
    width = max(1, _PER_SAMPLE_NUMBERS // p.count(state.trainable))
    total: Params | None = None
    for x, y, weight in zip(*(torch.split(part, width) for part in batch), strict=True):
        part = clipping.clipped_sum(per_sample(state.trainable, x, y), weight, plan.clip_norm, plan.per_layer)
        total = part if total is None else p.add(total, part)
    return p.zeros_like(state.trainable) if total is None else total


def _where(live: Tensor, new: ClientState, old: ClientState) -> ClientState:
    def choose(a: Params, b: Params) -> Params:
        return {name: torch.where(live > 0, value, b[name]) for name, value in a.items()}

    optimizer = OptimizerState(
        choose(new.optimizer.first, old.optimizer.first),
        choose(new.optimizer.second, old.optimizer.second),
        torch.where(live > 0, new.optimizer.steps, old.optimizer.steps),
    )
    trainable, rest = choose(new.trainable, old.trainable), choose(new.rest, old.rest)
    return ClientState(trainable, rest, optimizer, old.offset, old.anchor)
