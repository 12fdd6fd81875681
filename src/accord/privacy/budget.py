"""Answers questions about a privacy budget without any training. They ask for epsilon, the noise, or steps left."""

import math
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

from accord.core.errors import PrivacyError
from accord.privacy import accounting
from accord.privacy.accounting import Accountant
from accord.privacy.plan import PrivacyPlan, Sampling
from accord.privacy.units import Unit


@dataclass(frozen=True)
class Question:
    """A plan with one quantity missing.

    Attributes:
        n: training samples of one client, or under unit `client` the number of clients.
        batch: expected batch size, or under unit `client` the cohort size.
        delta: of (epsilon, delta).
        noise_multiplier: standard deviation / clip norm. None asks for it.
        epsilon: the target where noise is asked for, the budget where noise is given.
        epochs: passes of ceil(n / batch) steps. With a budget, passes already spent.
        steps: steps, instead of epochs. With a budget, steps already spent.
        steps_per_round: steps that a round takes, from which rounds left are computed.
        unit: `sample`, `batch` or `client`.
        sampling: `poisson`, and under unit `client` also `fixed` or `everyone`.
        accountant: `rdp`, `pld` or `rdp2017`.
    """

    n: int
    batch: int
    delta: float
    noise_multiplier: float | None = None
    epsilon: float | None = None
    epochs: int | None = None
    steps: int | None = None
    steps_per_round: int | None = None
    unit: str = "sample"
    sampling: str = "poisson"
    accountant: str = "rdp"

    def plan(self, noise_multiplier: float) -> PrivacyPlan:
        """The plan with this noise.

        Raises:
            PrivacyError: a number out of its range, or a combination that is refused.
        """
        if noise_multiplier > _MOST or (self.steps or self.epochs or 0) > _MOST * _MOST:
            raise PrivacyError(
                f"noise up to {_MOST:,} and steps up to {_MOST * _MOST:,} can be accounted; ask for less"
            )
        # A fixed cohort of all clients is no sampling, and every accountant can account it.
        sampling = "everyone" if self.sampling == "fixed" and self.batch == self.n else self.sampling
        try:
            return PrivacyPlan(
                unit=cast(Unit, self.unit),
                clip_norm=1.0,
                noise_multiplier=noise_multiplier,
                delta=self.delta,
                accountant=cast(Accountant, self.accountant),
                sampling=cast(Sampling, sampling),
                expected_size=None if sampling == "everyone" else self.batch,
                budget=self.epsilon,
            )
        except ValueError as error:
            raise PrivacyError(str(error)) from error


def answer(question: Question) -> dict[str, Any]:
    """The missing quantity and the ones given, JSON-ready.

    The key `asked` names the question, `epsilon`, `noise` or `left`. `epsilons` has the plan's epsilon by every
    accountant (None where one cannot account it).

    Raises:
        PrivacyError: too little is given, a number is out of its range, or delta is above 1/n.

    >>> round(answer(Question(n=60_000, batch=256, delta=1e-5, noise_multiplier=1.12, epochs=60,
    ...                       accountant="rdp2017"))["epsilon"], 2)
    2.93
    """
    if question.batch > question.n:
        raise PrivacyError(f"a batch of {question.batch} cannot be drawn from n = {question.n}")
    per_epoch = -(-question.n // question.batch)
    steps = question.steps if question.steps is not None else (question.epochs or 0) * per_epoch
    planned = question.steps is not None or question.epochs is not None
    caution = _check_delta(question)
    noise, asked = question.noise_multiplier, "epsilon"
    if noise is None:
        if question.epsilon is None or not planned or steps < 1:
            raise PrivacyError("give --noise, or --epsilon with --epochs or --steps to have the noise computed")
        asked, noise = "noise", _noise(question, steps)
    elif question.epsilon is not None:
        asked = "left"
    elif not planned:
        raise PrivacyError("give --epochs or --steps for an epsilon, or --epsilon as a budget for the steps left")
    plan = question.plan(noise)
    # At least one step, since zero steps cost nothing under any noise.
    if not math.isfinite(plan.epsilon(question.n, max(1, steps))):
        raise PrivacyError(f"noise multiplier {noise:g} is so small that no finite epsilon is known; raise --noise")
    values: dict[str, Any] = {
        "asked": asked,
        "n": question.n,
        "batch": question.batch,
        "unit": plan.unit,
        "sampling": plan.sampling,
        "sampling_rate": plan.sampling_rate(question.n),
        "neighbouring_relation": plan.relation,
        "noise_multiplier": noise,
        "delta": question.delta,
        "accountant": plan.accountant,
        "steps": steps,
        "epsilon": plan.epsilon(question.n, steps),
        "budget": question.epsilon,
        "caution": caution,
        "epsilons": {name: _by(question, noise, steps, name) for name in get_args(Accountant)},
    }
    return values | (_left(question, plan, steps, per_epoch) if asked == "left" else {})


def _check_delta(question: Question) -> str | None:
    """Refuses delta above 1/n, and returns a caution where delta is exactly 1/n.

    Published figures use 1/n. It is answered here, where nothing is trained, but a run refuses it.
    """
    n, delta = question.n, question.delta
    if delta > 1 / n:
        raise PrivacyError(f"delta {delta:g} must be below 1/n = {1 / n:.3g}")
    return f"delta is 1/n = {1 / n:.3g}; a run refuses it, choose a smaller one" if delta == 1 / n else None


def _noise(question: Question, steps: int) -> float:
    def cost(noise_multiplier: float) -> float:
        return question.plan(noise_multiplier).epsilon(question.n, steps)

    def quick(noise_multiplier: float) -> float:
        return question.plan(noise_multiplier).epsilon(question.n, steps, quick=True)

    question.plan(1.0)  # raises for a wrong question before the search begins
    return accounting.noise_for(cost, question.epsilon or 0.0, quick if question.accountant == "rdp" else None)


_MOST = 10_000
_PLD_NOISE, _PLD_EPSILON = 0.3, 100.0  # with less noise or more epsilon, pld takes minutes and gigabytes


def _by(question: Question, noise: float, steps: int, accountant: str) -> float | None:
    # Skip pld where it would be slow, unless the question asks for it. The quick bound says whether epsilon is large.
    if accountant == "pld" != question.accountant and (
        noise < _PLD_NOISE or not question.plan(noise).epsilon(question.n, steps, quick=True) < _PLD_EPSILON
    ):
        return None
    try:
        value = replace(question, accountant=accountant).plan(noise).epsilon(question.n, steps)
    except PrivacyError:
        return None  # this accountant refuses the mechanism, but the requested one accepted it
    return value if math.isfinite(value) else None


def _left(question: Question, plan: PrivacyPlan, steps_charged: int, per_epoch: int) -> dict[str, Any]:
    allowed = accounting.max_steps(lambda steps: plan.epsilon(question.n, steps), question.epsilon or 0.0)
    left = max(0, allowed - steps_charged)
    per_round = 1 if plan.mechanism.shared else question.steps_per_round
    return {
        "steps_left": left,
        "rounds_left": None if per_round is None else left // per_round,
        "epochs_left": None if plan.mechanism.shared else left / per_epoch,
    }
