"""The privacy plan, a single frozen value that both the mechanism and the accountant read.

The clip norm, sampling, noise and charges of a run all come from the same `PrivacyPlan`. Neither the mechanism nor the
accountant has another source, so they cannot disagree.

The accountant is given std / sensitivity as the noise multiplier. Sensitivity by unit:

    =======  ================  ==================  ============  =======================================
    unit     sampling          relation            sensitivity   why
    =======  ================  ==================  ============  =======================================
    sample   Poisson, q=B/n    add or remove one   C             a sum of clipped gradients gains one term
    batch    Poisson, q=B/n    add or remove one   2C            one clipped mean replaced by another
    client   Poisson, q=m/N    add or remove one   C             a sum of clipped updates gains one term
    client   fixed m of N      replace one         2C            one term of the sum replaced by another
    client   everyone          add or remove one   C             as Poisson with q = 1
    local    everyone          replace one         2C            one clipped update replaced by another
    =======  ================  ==================  ============  =======================================
"""

from dataclasses import dataclass
from typing import Literal, get_args

import dp_accounting

from accord.core.checks import open_unit, positive
from accord.core.errors import PrivacyError
from accord.privacy import accounting, rounding
from accord.privacy.accounting import Accountant, Relation
from accord.privacy.units import UNITS, PrivacyUnit, Unit

Sampling = Literal["poisson", "fixed", "everyone"]

LEAST_CLIP_NORM = 1e-12
"""For smaller clip norms, the squares in a norm would approach float32's smallest number, and clipping would fail."""


@dataclass(frozen=True)
class AdaptiveClipping:
    """The clip norm follows a quantile of the updates' norms (Andrew et al. 2021, arXiv 1905.03871).

    Attributes:
        target_quantile: gamma, the share of updates that should be within the norm.
        learning_rate: eta_C, of the geometric update.
        count_noise: sigma_b, standard deviation of the noise on the count of updates within the norm.

    Raises:
        ValueError: a number out of its range.
    """

    target_quantile: float
    learning_rate: float
    count_noise: float

    def __post_init__(self) -> None:
        open_unit(target_quantile=self.target_quantile)
        positive(learning_rate=self.learning_rate, count_noise=self.count_noise)


@dataclass(frozen=True)
class PrivacyPlan:
    """A mechanism and its accounting.

    Attributes:
        unit: what is protected. Units `sample` and `batch` protect one sample of a client. Units `client` and `local`
            protect a whole client, by noise at the server or by noise of its own.
        clip_norm: C, the L2 bound on a sample's gradient, the batch's gradient, or the client's update.
        noise_multiplier: standard deviation of the noise divided by `clip_norm`.
        delta: of (epsilon, delta).
        accountant: `rdp`, `pld` or `rdp2017`.
        sampling: how samples are drawn into a batch, or clients into a cohort.
        expected_size: expected batch size B (`sample`, `batch`) or cohort size m (`client`). None takes everything at
            once.
        budget: epsilon that no account may exceed. None where only the noise is given.
        per_layer: whether each of L layers is clipped to clip_norm / sqrt(L), instead of the whole to clip_norm.
        adaptive: how the clip norm follows the updates, under unit `client`. `noise_multiplier` then covers the sum and
            the count together. None keeps the clip norm fixed.

    Raises:
        PrivacyError: an unknown unit, sampling or accountant, a combination that no accountant supports, or a clip norm
            too small for float32.
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
    per_layer: bool = False
    adaptive: AdaptiveClipping | None = None

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
            ("unit", self.unit, tuple(UNITS)),
            ("sampling", self.sampling, get_args(Sampling)),
            ("accountant", self.accountant, get_args(Accountant)),
        ):
            if value not in known:
                raise PrivacyError(f"unknown privacy {name} {value!r}; known: {', '.join(known)}")
        unit = self.mechanism
        if unit.noises_steps and self.sampling != "poisson":
            raise PrivacyError(f"privacy.unit {self.unit} is accounted for Poisson batches only, not {self.sampling}")
        if not unit.amplified and (self.sampling != "everyone" or self.expected_size is not None):
            raise PrivacyError(
                f"privacy.unit {self.unit} hides no one by sampling: the server sees who sends; use everyone"
            )
        if unit.noises_sum and self.sampling != "everyone" and self.expected_size is None:
            raise PrivacyError(f"privacy.unit {self.unit} with {self.sampling} cohorts needs a cohort size")
        if self.sampling == "fixed" and self.accountant == "pld":
            raise PrivacyError(
                "privacy.accountant pld cannot account fixed-size cohorts; "
                "use accountant rdp, or program.cohort_sampling poisson"
            )
        if self.adaptive is not None:
            self._check_adaptive(self.adaptive)

    def _check_adaptive(self, adaptive: AdaptiveClipping) -> None:
        if not self.mechanism.noises_sum or self.per_layer:
            raise PrivacyError("privacy.adaptive counts whole updates: it needs unit client, and no per_layer")
        if 2 * adaptive.count_noise <= self.noise_multiplier:
            raise PrivacyError(
                f"privacy.adaptive.count_noise {adaptive.count_noise:g} spends all that noise_multiplier "
                f"{self.noise_multiplier:g} allows; raise it above {self.noise_multiplier / 2:g}"
            )

    @property
    def mechanism(self) -> PrivacyUnit:
        """The unit's own rules on what is clipped, where noise is added and what an account counts."""
        return UNITS[self.unit]

    @property
    def relation(self) -> Relation:
        """The neighbouring relation of the guarantee."""
        return "replace_one" if self.sampling == "fixed" or self.mechanism.replaces else "add_remove"

    @property
    def sensitivity(self) -> float:
        """L2 sensitivity of what the noise is added to, under `relation`."""
        # Where one term of the sum replaces another, both may have norm C and point in opposite directions.
        return self.clip_norm * (2 if self.sampling == "fixed" else self.mechanism.factor)

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise added to every coordinate of the clipped sum (batch gradient, update).

        Under adaptive clipping it is z_Delta times the clip norm, with z_Delta = (z^-2 - (2 sigma_b)^-2)^(-1/2).
        Together with the noise on the count it costs what noise multiplier z would alone (Andrew et al. 2021, Theorem
        1).
        """
        if self.adaptive is None:
            return self.noise_multiplier * self.clip_norm
        left = self.noise_multiplier**-2 - (2 * self.adaptive.count_noise) ** -2
        return float(left**-0.5) * self.clip_norm

    def noise_std_for(self, numbers: int) -> float:
        """Standard deviation with which the mechanism draws, which is `noise_std` widened for the rounding of a sum.

        Args:
            numbers: number of coordinates of the sum, gradient or update.

        Raises:
            PrivacyError: there are so many that the noise would double (see `rounding.std_for`).
        """
        return rounding.std_for(self.noise_std, self.sensitivity, numbers)

    def sampling_rate(self, n: int) -> float:
        """Probability that one of `n` samples (or clients) is drawn in a step (or round)."""
        positive(n=n)
        return 1.0 if self.expected_size is None else min(1.0, self.expected_size / n)

    def divisor(self, n: int) -> float:
        """What the noised sum is divided by. It is the expected number drawn, never the actual one."""
        # The actual number depends on whether a sample is present, so dividing by it would change the sensitivity.
        return self.sampling_rate(n) * n

    def event(self, n: int) -> dp_accounting.DpEvent:
        """One step of the mechanism on `n` samples (or one round on `n` clients), for the accountant."""
        gaussian = self._gaussian()
        if self.sampling == "everyone":
            return gaussian
        if self.sampling == "fixed":
            size = min(n, self.expected_size or n)
            return dp_accounting.SampledWithoutReplacementDpEvent(n, size, gaussian)
        return dp_accounting.PoissonSampledDpEvent(self.sampling_rate(n), gaussian)

    def _gaussian(self) -> dp_accounting.GaussianDpEvent:
        # The noise multiplier, not noise_std, since under adaptive clipping it covers the noised count too.
        return dp_accounting.GaussianDpEvent(self.noise_multiplier * self.clip_norm / self.sensitivity)

    def charge(self, steps: int) -> int:
        """Applications of `event` that a round of `steps` local steps charges to an account."""
        return self.mechanism.charge(steps)

    def epsilon(self, n: int, steps: int, before: "Before" = (), *, quick: bool = False) -> float:
        """epsilon after `steps` steps (or rounds) on `n` samples (or clients), by the plan's accountant.

        Args:
            n: samples behind the account, or clients under units `client` and `local`.
            steps: applications of `event`.
            before: charges to the account under other plans. Their delta and accountant are not used.
            quick: give a cheaper upper bound.

        For fixed-size cohorts epsilon is the lesser of two sound bounds. One is for sampling without replacement (Wang,
        Balle & Kasiviswanathan 2019, arXiv 1808.00087, Theorem 27). The other ignores sampling, and is tighter where
        most clients are drawn. With several plans, each takes the bound that is less for that plan alone.
        """

        def cost(event: accounting.Events) -> float:
            return accounting.epsilon_of(event, self.delta, self.accountant, quick=quick)

        parts = [plan._bounds(n, count) for plan, count in (*before, (self, steps))]
        events = [bounds[0] if len(bounds) == 1 else min(bounds, key=cost) for bounds in parts]
        return cost(tuple(event for bound in events for event in bound))

    def _bounds(self, n: int, steps: int) -> list[accounting.Events]:
        """The accountant's events for `steps` applications, with one entry a sound way to bound them."""
        # `sensitivity` already includes the factor 2 of replacement, so the event is an add-or-remove Gaussian. Given
        # the relation replace_one, the PLD accountant would double the sensitivity again.
        if self.sampling != "fixed":
            return [((self.event(n), steps, "add_remove"),)]
        return [((event, steps, self.relation),) for event in (self.event(n), self._gaussian())]

    def fits_budget(self, n: int, steps: int, budget: float, before: "Before" = ()) -> bool:
        """Whether `steps` steps on `n` samples stay within `budget`."""
        # The quick bound is never below the exact epsilon, so a plan that it accepts needs no second computation.
        return self.epsilon(n, steps, before, quick=True) <= budget or self.epsilon(n, steps, before) <= budget

    def check_delta(self, n: int) -> None:
        """Checks that delta is below 1/n.

        At 1/n, publishing one whole record at random would count as private.

        Raises:
            PrivacyError: delta >= 1/n.
        """
        if self.delta >= 1 / n:
            what = self.mechanism.counts + (" of the largest client" if self.mechanism.noises_steps else "")
            raise PrivacyError(f"privacy.delta {self.delta:g} must be below 1/n = {1 / n:.3g} (n = {n} {what})")


Before = tuple[tuple[PrivacyPlan, int], ...]
"""Charges of earlier runs to an account, as plans with their steps. All plans compose (see `ledger.check_together`)."""
