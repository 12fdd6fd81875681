"""epsilon of mechanisms applied again and again, by dp-accounting.

Mechanisms are data (`dp_accounting.DpEvent`); what they cost is computed here and nowhere else, and the
arithmetic is the library's. Three accountants:

- `rdp`: Renyi DP (Mironov 2017, arXiv 1702.07476), converted to (epsilon, delta) as dp-accounting does
  (Canonne, Kamath & Steinke 2020, arXiv 2004.00010, Proposition 12, version 4).
- `pld`: privacy loss distributions (Koskela, Jalko & Honkela 2020; Doroshenko et al. 2022), the tightest.
- `rdp2017`: the same Renyi values at the orders TensorFlow Privacy used then, converted by Mironov 2017,
  Proposition 3: epsilon = min over alpha of rdp(alpha) + log(1/delta)/(alpha - 1). Looser, so still an upper
  bound; it is what papers and tutorials before 2020 print.

Several mechanisms compose in each: Renyi values add up order by order (Mironov 2017, Proposition 1), loss
distributions are convolved by the library. What an accountant cannot compose is refused (`PrivacyError`), never
estimated.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Literal, get_args

import dp_accounting
import numpy as np
from dp_accounting import pld, rdp
from numpy.typing import NDArray

from accord.core.checks import open_unit, positive
from accord.core.errors import PrivacyError

Accountant = Literal["rdp", "pld", "rdp2017"]
Relation = Literal["add_remove", "replace_one"]
Events = tuple[tuple[dp_accounting.DpEvent, int, Relation], ...]
"""Mechanisms that one account was charged: each with how often it was applied, and the neighbouring relation its noise
multiplier is stated for."""

_RELATIONS = {
    "add_remove": dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
    "replace_one": dp_accounting.NeighboringRelation.REPLACE_ONE,
}
# TensorFlow Privacy's orders up to 2020 (compute_dp_sgd_privacy); published figures depend on them.
_ORDERS_2017 = (1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0, 4.5, *range(5, 64), 128, 256, 512)


@contextmanager
def _quiet() -> Iterator[None]:
    """dp-accounting logs each Renyi order it leaves out; leaving one out only raises epsilon."""
    logger = logging.getLogger("absl")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def _refused(error: Exception, accountant: str) -> PrivacyError:
    return PrivacyError(f"privacy.accountant {accountant} cannot account this mechanism: {error}; use another")


@lru_cache(maxsize=4096)
def _rdp_of_one(
    event: dp_accounting.DpEvent, relation: Relation, orders: tuple[float, ...] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orders and Renyi DP of one application; the library's cost is here, so it is remembered."""
    accountant = rdp.RdpAccountant(orders, _RELATIONS[relation])
    with _quiet():
        accountant.compose(event)
    return np.asarray(accountant.orders, dtype=float), np.asarray(accountant.rdp, dtype=float)


# Whole orders are computed in closed form, an order of magnitude faster than the fractional ones; fewer orders
# can only raise epsilon, so what fits a budget by these alone fits it.
_WHOLE_ORDERS = (*range(2, 64), 128, 256, 512, 1024)
_LADDER = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 63, 128, 256, 512, 1024)
_ORDERS = tuple(float(order) for order in rdp.RdpAccountant().orders)
"""dp-accounting's own."""


@lru_cache(maxsize=65536)
def _rdp_at_order(event: dp_accounting.DpEvent, relation: Relation, order: float) -> float:
    return float(_rdp_of_one(event, relation, (order,))[1][0])


def _rdp_sum(events: Events, orders: tuple[float, ...] | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orders, and the Renyi DP of all applications together: it composes by addition (Mironov 2017, Proposition 1),
    which is what RdpAccountant does."""
    (first, count, relation), *others = events
    found, one = _rdp_of_one(first, relation, orders)
    total = count * one
    for event, count, relation in others:
        total = total + count * _rdp_of_one(event, relation, orders)[1]
    return found, total


def _rdp_epsilon(events: Events, delta: float) -> float:
    whole = _best_whole_orders(events, delta)
    if whole is None:
        return _rdp_at(None, events, delta)
    low, _, high = whole
    # The lowest has the least Renyi DP, by which the library finds that epsilon is 0.
    near = tuple(order for order in _ORDERS if low < order < high or order == _ORDERS[0])
    return _rdp_at(near, events, delta)


def _best_whole_orders(events: Events, delta: float) -> tuple[float, float, float] | None:
    """The whole order with the least epsilon and its whole neighbours (1 and infinity at the ends), between which the
    least of all orders lies; None where that is not known of the mechanism.

    Epsilon at order a is N(a) / (a - 1), N(a) = (a - 1) rdp(a) + (a - 1) log(a - 1) - a log(a) - log(delta). For the
    Gaussian and its Poisson sampling (a - 1) rdp(a) is a cumulant generating function, so N is convex, and a convex
    function over a positive linear one falls and then rises: orders beyond a rise, and the fractional ones elsewhere,
    which cost the most, need not be computed.
    """
    if any(relation != "add_remove" or not _is_gaussian(event) for event, _, relation in events):
        return None

    def at(order: float) -> float:
        renyi = sum(count * _rdp_at_order(event, relation, order) for event, count, relation in events)
        return renyi + math.log1p(-1 / order) - math.log(delta * order) / (order - 1)

    best, least = 0, at(_LADDER[0])
    for i in range(1, len(_LADDER)):
        value = at(_LADDER[i])
        if value > least:
            break
        best, least = i, value
    low, high = _LADDER[max(0, best - 1)], _LADDER[min(len(_LADDER) - 1, best + 1)]
    inside = [order for order in _WHOLE_ORDERS if low <= order <= high]
    values = [at(order) for order in inside]
    if not np.isfinite(values).all():
        return None
    place = _WHOLE_ORDERS.index(inside[int(np.argmin(values))])
    after = _WHOLE_ORDERS[place + 1] if place + 1 < len(_WHOLE_ORDERS) else math.inf
    return (_WHOLE_ORDERS[place - 1] if place else 1.0), _WHOLE_ORDERS[place], after


def _is_gaussian(event: dp_accounting.DpEvent) -> bool:
    inner = event.event if isinstance(event, dp_accounting.PoissonSampledDpEvent) else event
    return isinstance(inner, dp_accounting.GaussianDpEvent)


def _rdp_at(orders: tuple[float, ...] | None, events: Events, delta: float) -> float:
    found, total = _rdp_sum(events, orders)
    with _quiet():
        epsilon, _ = rdp.compute_epsilon(found, total, delta)
    return float(epsilon)


def _rdp2017_epsilon(events: Events, delta: float) -> float:
    orders, total = _rdp_sum(events, _ORDERS_2017)
    return float(np.min(total + math.log(1 / delta) / (orders - 1)))


def _pld_epsilon(events: Events, delta: float) -> float:
    accountant = pld.PLDAccountant(_RELATIONS[events[0][2]])
    with _quiet():
        for event, count, _ in events:
            accountant.compose(event, count)
        return float(accountant.get_epsilon(delta))


def _quick_epsilon(events: Events, delta: float) -> float:
    whole = _best_whole_orders(events, delta)
    return _rdp_at(_WHOLE_ORDERS if whole is None else (_WHOLE_ORDERS[0], whole[1]), events, delta)


# With noise this small epsilon is in the millions, and further down the library runs out of numbers: at 1e-160 its
# RDP accountant answers 0. Nothing below is asked of it.
_NO_NOISE = 1e-4


def _noise_of(event: dp_accounting.DpEvent) -> float:
    """The noise multiplier of a Gaussian, sampled or not; infinite for other events, which the library judges."""
    sampled = (dp_accounting.PoissonSampledDpEvent, dp_accounting.SampledWithoutReplacementDpEvent)
    inner = event.event if isinstance(event, sampled) else event
    return float(inner.noise_multiplier) if isinstance(inner, dp_accounting.GaussianDpEvent) else math.inf


_NO_NUMBER = (ZeroDivisionError, OverflowError, FloatingPointError, MemoryError)

_EPSILON: dict[str, Callable[[Events, float], float]] = {
    "rdp": _rdp_epsilon,
    "pld": _pld_epsilon,
    "rdp2017": _rdp2017_epsilon,
}


def epsilon(
    event: dp_accounting.DpEvent,
    count: int,
    delta: float,
    accountant: Accountant = "rdp",
    relation: Relation = "add_remove",
    *,
    quick: bool = False,
) -> float:
    """epsilon after `count` applications of `event`, at `delta`; infinite where no finite one is known.

    Args:
        event: one application of the mechanism.
        count: how often it was applied; 0 costs nothing.
        delta: strictly between 0 and 1.
        accountant: which bound.
        relation: the neighbouring relation the event's noise multiplier is stated for.
        quick: an upper bound on accountant rdp's figure at a tenth of its cost; of the others, the figure itself.

    Raises:
        PrivacyError: an unknown accountant, or an event it cannot account.

    >>> from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    >>> step = PoissonSampledDpEvent(250 / 60_000, GaussianDpEvent(1.3))
    >>> round(epsilon(step, 240, 1 / 60_000, "rdp2017"), 3)  # TensorFlow Privacy's MNIST example
    0.685
    >>> round(epsilon(step, 240, 1 / 60_000, "rdp"), 3)
    0.458
    """
    return epsilon_of(((event, count, relation),), delta, accountant, quick=quick)


@lru_cache(maxsize=65536)
def epsilon_of(events: Events, delta: float, accountant: Accountant = "rdp", *, quick: bool = False) -> float:
    """epsilon after several mechanisms, each applied so often, at `delta`; infinite where no finite one is known.

    Args:
        events: what was applied, how often (0 costs nothing), and the relation: the same for all, since guarantees for
            different neighbours do not add up.
        delta: strictly between 0 and 1.
        accountant: which bound.
        quick: as in `epsilon`.

    Raises:
        PrivacyError: an unknown accountant or relation, unlike relations, or an event it cannot account.

    >>> from dp_accounting import GaussianDpEvent
    >>> two = ((GaussianDpEvent(6.0), 1, "add_remove"), (GaussianDpEvent(8.0), 1, "add_remove"))
    >>> round(epsilon_of(two, 1e-5), 6) == round(epsilon(GaussianDpEvent(4.8), 1, 1e-5), 6)  # 1/36 + 1/64 = 1/4.8^2
    True
    """
    open_unit(delta=delta)
    if accountant not in _EPSILON:
        raise PrivacyError(f"unknown accountant {accountant!r}; known: {', '.join(get_args(Accountant))}")
    spent = _merged(events)
    if not spent:
        return 0.0
    if any(_noise_of(event) < _NO_NOISE for event, _, _ in spent):
        return math.inf
    compute = _quick_epsilon if quick and accountant == "rdp" else _EPSILON[accountant]
    try:
        value = compute(spent, delta)
    except dp_accounting.UnsupportedEventError as error:
        raise _refused(error, accountant) from error
    except _NO_NUMBER:
        return math.inf
    if math.isnan(value):
        told = ", ".join(f"{event} applied {count} times" for event, count, _ in spent)
        raise PrivacyError(f"accountant {accountant} gave no number for {told}")
    return max(value, 0.0)


def _merged(events: Events) -> Events:
    """Each mechanism once, without those never applied."""
    counts: dict[tuple[dp_accounting.DpEvent, Relation], int] = {}
    for event, count, relation in events:
        if count < 0:
            raise PrivacyError(f"a mechanism cannot be applied {count} times")
        if relation not in _RELATIONS:
            raise PrivacyError(f"unknown neighbouring relation {relation!r}; known: {', '.join(_RELATIONS)}")
        if count:
            counts[event, relation] = counts.get((event, relation), 0) + count
    if len({relation for _, relation in counts}) > 1:
        raise PrivacyError("guarantees for neighbours that differ by adding and by replacing one do not add up")
    return tuple((event, count, relation) for (event, relation), count in counts.items())


_LEAST_NOISE, _MOST_NOISE = 1e-2, 1e4


def noise_for(cost: Callable[[float], float], target: float, quick: Callable[[float], float] | None = None) -> float:
    """The smallest noise multiplier, to 1e-3 of itself, whose epsilon is <= `target`.

    The search is bisection from the safe side: what is returned was itself found to meet the target.

    Args:
        cost: epsilon by noise multiplier; falls as noise grows.
        target: epsilon to stay within.
        quick: an upper bound on `cost` that is cheaper, to come near with; None where there is none.

    Raises:
        PrivacyError: no noise multiplier up to 10,000 meets the target.
    """
    positive(target=target)
    near = quick or cost
    low, high = _LEAST_NOISE, 1.0
    while near(high) > target:
        low, high = high, high * 2
        if high > _MOST_NOISE:
            raise PrivacyError(
                f"no noise multiplier up to {_MOST_NOISE:,.0f} gives epsilon {target:g}; "
                "raise privacy.epsilon or train for fewer steps"
            )
    high = _bisect(near, target, low, high)
    if quick is None:
        return high
    # The bound is a few percent loose: step down from where it meets the target to where the figure does not.
    low = high
    while low > _LEAST_NOISE and cost(low) <= target:
        low, high = low * 0.97, low
    return _interpolate(cost, target, low, high)


def _interpolate(cost: Callable[[float], float], target: float, low: float, high: float) -> float:
    """As `_bisect`, in fewer steps where `cost` is nearly a power of the noise between `low` and `high`."""
    at_low, at_high = cost(low), cost(high)
    while high - low > 1e-3 * high:
        slope = math.log(at_high / at_low) / math.log(high / low)
        # A little to the safe side of where the power law meets the target, then just below it.
        middle = low * (target / at_low) ** (1 / slope) * (1 + 2e-4)
        if not low < middle < high:
            return _bisect(cost, target, low, high)
        at_middle = cost(middle)
        if at_middle <= target:
            high, at_high = middle, at_middle
            below = middle * (1 - 9e-4)
            if low < below and (at_below := cost(below)) > target:
                low, at_low = below, at_below
            elif low < below:
                high, at_high = below, at_below
        else:
            low, at_low = middle, at_middle
    return high


def _bisect(cost: Callable[[float], float], target: float, low: float, high: float) -> float:
    while high - low > 1e-3 * high:
        middle = math.sqrt(low * high)
        if cost(middle) <= target:
            high = middle
        else:
            low = middle
    return high


def steps_within(cost: Callable[[int], float], target: float, limit: int = 10**8) -> int:
    """The largest number of applications whose epsilon is <= `target`, at most `limit`.

    Args:
        cost: epsilon by number of applications; grows with it.
        target: the budget.
        limit: where to stop looking.

    >>> from dp_accounting import GaussianDpEvent
    >>> n = steps_within(lambda k: epsilon(GaussianDpEvent(20.0), k, 1e-5), 1.0)
    >>> epsilon(GaussianDpEvent(20.0), n, 1e-5) <= 1.0 < epsilon(GaussianDpEvent(20.0), n + 1, 1e-5)
    True
    """
    positive(target=target)
    if cost(1) > target:
        return 0
    low, high = 1, 2
    while high <= limit and cost(high) <= target:
        low, high = high, high * 2
    high = min(high, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= target else (low, middle)
    return low
