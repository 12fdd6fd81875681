"""The privacy plan: one frozen value that the mechanism and the accountant both read.

What a run clips to, samples with, noises by and is charged for all come from the same `PrivacyPlan`; nothing
else feeds either, so they cannot disagree.

Sensitivity by unit, and the noise multiplier the accountant is given (std / sensitivity):

    =======  ================  ==================  ============  =======================================
    unit     sampling          relation            sensitivity   why
    =======  ================  ==================  ============  =======================================
    sample   Poisson, q=B/n    add or remove one   C             a sum of clipped gradients gains one term
    batch    Poisson, q=B/n    add or remove one   2C            one clipped mean replaced by another
    client   Poisson, q=m/N    add or remove one   C             a sum of clipped updates gains one term
    client   fixed m of N      replace one         2C            one term of the sum replaced by another
    client   everyone          add or remove one   C             as Poisson with q = 1
    =======  ================  ==================  ============  =======================================
"""

from dataclasses import dataclass
from typing import Literal, get_args

import dp_accounting

from accord.checks import open_unit, positive
from accord.errors import PrivacyError
from accord.privacy import accounting
from accord.privacy.accounting import Accountant, Relation

Unit = Literal["sample", "batch", "client"]
Sampling = Literal["poisson", "fixed", "everyone"]

LEAST_CLIP_NORM = 1e-12
"""Below, the squares that a norm is made of come near float32's smallest number, and clipping would not hold."""


@dataclass(frozen=True)
class PrivacyPlan:
    """A mechanism and its accounting.

    Attributes:
        unit: what is protected: one sample of a client (`sample`, `batch`), or a whole client.
        clip_norm: C, the L2 bound on a sample's gradient, the batch's gradient, or the client's update.
        noise_multiplier: standard deviation of the noise divided by `clip_norm`.
        delta: of (epsilon, delta).
        accountant: `rdp`, `pld` or `rdp2017`.
        sampling: how samples come into a batch, or clients into a cohort.
        expected_size: expected batch size B (`sample`, `batch`) or cohort size m (`client`); None for
            everything at once.
        budget: epsilon no account may exceed; None where only the noise is given.

    Raises:
        PrivacyError: an unknown unit, sampling or accountant, a combination nobody accounts, or a clip norm too small
            to hold in float32.
        ValueError: a number out of its range.
    """

    unit: Unit
    clip_norm: float
    noise_multiplier: float
    delta: float
    accountant: Accountant = "rdp"
    sampling: Sampling = "poisson"
    expected_size: int | None = None
    budget: float | None = None

    def __post_init__(self) -> None:
        positive(clip_norm=self.clip_norm, noise_multiplier=self.noise_multiplier)
        if self.clip_norm < LEAST_CLIP_NORM:
            raise PrivacyError(
                f"privacy.clip_norm {self.clip_norm:g} is too small: squares of such numbers vanish in float32; "
                f"use {LEAST_CLIP_NORM:g} or more"
            )
        open_unit(delta=self.delta)
        if self.budget is not None:
            positive(budget=self.budget)
        if self.expected_size is not None:
            positive(expected_size=self.expected_size)
        for name, value, known in (
            ("unit", self.unit, get_args(Unit)),
            ("sampling", self.sampling, get_args(Sampling)),
            ("accountant", self.accountant, get_args(Accountant)),
        ):
            if value not in known:
                raise PrivacyError(f"unknown privacy {name} {value!r}; known: {', '.join(known)}")
        if self.unit != "client" and self.sampling != "poisson":
            raise PrivacyError(f"privacy.unit {self.unit} is accounted for Poisson batches only, not {self.sampling}")
        if self.unit == "client" and self.sampling != "everyone" and self.expected_size is None:
            raise PrivacyError(f"privacy.unit client with {self.sampling} cohorts needs a cohort size")
        if self.sampling == "fixed" and self.accountant == "pld":
            raise PrivacyError(
                "privacy.accountant pld cannot account fixed-size cohorts; "
                "use accountant rdp, or program.cohort_sampling poisson"
            )

    @property
    def relation(self) -> Relation:
        """The neighbouring relation of the guarantee."""
        return "replace_one" if self.sampling == "fixed" else "add_remove"

    @property
    def sensitivity(self) -> float:
        """L2 sensitivity of what the noise is added to, under `relation`."""
        return 2 * self.clip_norm if self.unit == "batch" or self.sampling == "fixed" else self.clip_norm

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise added to every coordinate of the clipped sum (or batch gradient)."""
        return self.noise_multiplier * self.clip_norm

    def sampling_rate(self, n: int) -> float:
        """Probability that one of `n` samples (or clients) is drawn in a step (or round)."""
        positive(n=n)
        return 1.0 if self.expected_size is None else min(1.0, self.expected_size / n)

    def divisor(self, n: int) -> float:
        """What the noised sum is divided by: the expected number drawn, never the number really drawn."""
        return self.sampling_rate(n) * n

    def event(self, n: int) -> dp_accounting.DpEvent:
        """One step of the mechanism on `n` samples (or one round on `n` clients), for the accountant."""
        gaussian = dp_accounting.GaussianDpEvent(self.noise_std / self.sensitivity)
        if self.sampling == "everyone":
            return gaussian
        if self.sampling == "fixed":
            size = min(n, self.expected_size or n)
            return dp_accounting.SampledWithoutReplacementDpEvent(n, size, gaussian)
        return dp_accounting.PoissonSampledDpEvent(self.sampling_rate(n), gaussian)

    def epsilon(self, n: int, steps: int, *, quick: bool = False) -> float:
        """epsilon after `steps` steps (or rounds) on `n` samples (or clients), by the plan's accountant.

        For fixed-size cohorts the lesser of two sound bounds: sampled without replacement (Wang, Balle &
        Kasiviswanathan 2019, arXiv 1808.00087, Theorem 27) and not sampled at all, which is tighter where most
        clients are drawn. `quick` gives an upper bound, cheaper.
        """
        events = [self.event(n)]
        if self.sampling == "fixed":
            events.append(dp_accounting.GaussianDpEvent(self.noise_std / self.sensitivity))
        return min(
            accounting.epsilon(event, steps, self.delta, self.accountant, self.relation, quick=quick)
            for event in events
        )

    def within(self, n: int, steps: int, budget: float) -> bool:
        """Whether `steps` steps on `n` samples stay within `budget`; asks the quick bound first."""
        return self.epsilon(n, steps, quick=True) <= budget or self.epsilon(n, steps) <= budget

    def check_delta(self, n: int) -> None:
        """delta must be below 1/n: at 1/n, publishing one whole record at random would count as private.

        Raises:
            PrivacyError: delta >= 1/n.
        """
        if self.delta >= 1 / n:
            what = "clients" if self.unit == "client" else "samples of the largest client"
            raise PrivacyError(f"privacy.delta {self.delta:g} must be below 1/n = {1 / n:.3g} (n = {n} {what})")
