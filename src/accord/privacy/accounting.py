"""Computes the epsilon of repeated mechanisms with dp-accounting.

A mechanism is described by a `dp_accounting.DpEvent`. Its cost is computed only in this module, by that library.
There are three accountants:

- `rdp` is Renyi DP (Mironov 2017, arXiv 1702.07476). It is converted to (epsilon, delta) as dp-accounting does
  (Canonne, Kamath & Steinke 2020, arXiv 2004.00010, Proposition 12, version 4).
- `pld` uses privacy loss distributions (Koskela, Jalko & Honkela 2020; Doroshenko et al. 2022). It is the tightest.
- `rdp2017` takes the same Renyi values at the orders that TensorFlow Privacy used then. It converts them by Mironov
  2017, Proposition 3, epsilon = min over alpha of rdp(alpha) + log(1/delta)/(alpha - 1). This is looser, so still an
  upper bound. Papers and tutorials before 2020 print it.

Each accountant composes several mechanisms. Renyi values add up order by order (Mironov 2017, Proposition 1), and the
library convolves loss distributions. What an accountant cannot compose is refused (`PrivacyError`), never estimated.
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
"""Mechanisms charged to one account, each as (event, number of applications, neighbouring relation).

The relation is the one for which the event's noise multiplier is stated.
"""

_RELATIONS = {
    "add_remove": dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
    "replace_one": dp_accounting.NeighboringRelation.REPLACE_ONE,
}
# TensorFlow Privacy's orders up to 2020 (compute_dp_sgd_privacy); published figures depend on them.
_ORDERS_2017 = (1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0, 4.5, *range(5, 64), 128, 256, 512)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences dp-accounting, which logs each Renyi order it leaves out. Leaving one out only raises epsilon."""
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
def _rdp_of_event(
    event: dp_accounting.DpEvent, relation: Relation, orders: tuple[float, ...] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orders and Renyi DP of one application. Cached, since nearly all accounting time is spent in this call."""
    accountant = rdp.RdpAccountant(orders, _RELATIONS[relation])
    with _quiet():
        accountant.compose(event)
    return np.asarray(accountant.orders, dtype=float), np.asarray(accountant.rdp, dtype=float)


# Integer orders have a closed form, which is ten times as fast as the series for fractional ones. Using fewer orders
# can only raise epsilon, so a plan that fits a budget at these orders alone fits it.
_INTEGER_ORDERS = (*range(2, 64), 128, 256, 512, 1024)
_LADDER = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 63, 128, 256, 512, 1024)
_ORDERS = tuple(float(order) for order in rdp.RdpAccountant().orders)
"""The default orders of dp-accounting."""


@lru_cache(maxsize=65536)
def _rdp_at_order(event: dp_accounting.DpEvent, relation: Relation, order: float) -> float:
    return float(_rdp_of_event(event, relation, (order,))[1][0])


def _rdp_sum(events: Events, orders: tuple[float, ...] | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orders, and the Renyi DP of all applications together.

    Renyi DP composes by addition (Mironov 2017, Proposition 1), as in `RdpAccountant`.
    """
    (first, count, relation), *others = events
    found, curve = _rdp_of_event(first, relation, orders)
    total = count * curve
    for event, count, relation in others:
        total = total + count * _rdp_of_event(event, relation, orders)[1]
    return found, total


def _rdp_epsilon(events: Events, delta: float) -> float:
    integer_best = _best_integer_orders(events, delta)
    if integer_best is None:
        return _rdp_at(None, events, delta)
    low, _, high = integer_best
    # Keep the lowest order: it has the least Renyi DP, from which the library recognises that epsilon is 0.
    near = tuple(order for order in _ORDERS if low < order < high or order == _ORDERS[0])
    return _rdp_at(near, events, delta)


def _best_integer_orders(events: Events, delta: float) -> tuple[float, float, float] | None:
    """The integer order with the least epsilon, between its two integer neighbours.

    Epsilon at order a is N(a) / (a - 1), N(a) = (a - 1) rdp(a) + (a - 1) log(a - 1) - a log(a) - log(delta). For the
    Gaussian and its Poisson sampling (a - 1) rdp(a) is a cumulant generating function, so N is convex. A convex
    function over a positive linear one falls and then rises. So the best of all orders lies between the neighbours.
    Orders beyond a rise need not be computed, nor fractional ones elsewhere, which cost the most.

    Returns:
        The lower neighbour, the best order and the upper neighbour, with 1 and infinity at the ends. None where the
        mechanism is not known to have this property.
    """
    if any(relation != "add_remove" or not _is_gaussian(event) for event, _, relation in events):
        return None

    def at(order: float) -> float:
        renyi = sum(count * _rdp_at_order(event, relation, order) for event, count, relation in events)
        return renyi + math.log1p(-1 / order) - math.log(delta * order) / (order - 1)

    # A coarse pass first. The curve falls and then rises, so the search stops at the first rise.
    best, least = 0, at(_LADDER[0])
    for i in range(1, len(_LADDER)):
        value = at(_LADDER[i])
        if value > least:
            break
        best, least = i, value
    low, high = _LADDER[max(0, best - 1)], _LADDER[min(len(_LADDER) - 1, best + 1)]
    inside = [order for order in _INTEGER_ORDERS if low <= order <= high]
    values = [at(order) for order in inside]
    if not np.isfinite(values).all():
        return None
    index = _INTEGER_ORDERS.index(inside[int(np.argmin(values))])
    after = _INTEGER_ORDERS[index + 1] if index + 1 < len(_INTEGER_ORDERS) else math.inf
    return (_INTEGER_ORDERS[index - 1] if index else 1.0), _INTEGER_ORDERS[index], after


def _is_gaussian(event: dp_accounting.DpEvent) -> bool:
    inner = event.event if isinstance(event, dp_accounting.PoissonSampledDpEvent) else event
    return isinstance(inner, dp_accounting.GaussianDpEvent)


def _rdp_at(orders: tuple[float, ...] | None, events: Events, delta: float) -> float:
    found, total = _rdp_sum(events, orders)
    with _quiet():
        epsilon, _ = rdp.compute_epsilon(found, total, delta)
    return float(epsilon)


def rdp_curve(event: dp_accounting.DpEvent, relation: Relation = "add_remove") -> NDArray[np.float64]:
    """Renyi DP of one application at each of dp-accounting's default orders. Curves of several add up.

    Takes some 40 ms, and pays where many unlike mechanisms are composed again and again (see `epsilon_of_curve`).
    """
    if _noise_of(event) < _NO_NOISE:
        return np.full(len(_ORDERS), math.inf)
    return _rdp_of_event(event, relation, _ORDERS)[1]


def epsilon_of_curve(total: NDArray[np.float64], delta: float) -> float:
    """epsilon of accountant `rdp` at `delta`, where Renyi DP at each of dp-accounting's default orders is known.

    Raises:
        PrivacyError: it is no number.
    """
    open_unit(delta=delta)
    if not np.isfinite(total).any():
        return math.inf
    with _quiet():
        epsilon, _ = rdp.compute_epsilon(np.asarray(_ORDERS), total, delta)
    if math.isnan(epsilon):
        raise PrivacyError("accountant rdp gave no number")
    return max(float(epsilon), 0.0)


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
    integer_best = _best_integer_orders(events, delta)
    return _rdp_at(_INTEGER_ORDERS if integer_best is None else (_INTEGER_ORDERS[0], integer_best[1]), events, delta)


# With noise this small epsilon is in the millions. Far below, the library underflows: at 1e-160 its RDP accountant
# returns 0. Smaller noise is therefore reported as infinite epsilon without asking the library.
_NO_NOISE = 1e-4


def _noise_of(event: dp_accounting.DpEvent) -> float:
    """The noise multiplier of a Gaussian, sampled or not. Infinity for other events, which the library decides on."""
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
    """epsilon after `count` applications of `event`, at `delta`. Infinite where no finite one is known.

    Args:
        event: one application of the mechanism.
        count: number of applications. 0 costs nothing.
        delta: strictly between 0 and 1.
        accountant: which bound.
        relation: the neighbouring relation for which the event's noise multiplier is stated.
        quick: give an upper bound on the value of accountant rdp, at a tenth of its cost. The other accountants return
            their exact value all the same.

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
    """epsilon of several mechanisms together, at `delta`. Infinite where no finite one is known.

    Args:
        events: mechanisms, number of applications (0 costs nothing), and relation. The relation must be the same for
            all, since guarantees for different neighbours do not add up.
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
    merged = _merged(events)
    if not merged:
        return 0.0
    if any(_noise_of(event) < _NO_NOISE for event, _, _ in merged):
        return math.inf
    compute = _quick_epsilon if quick and accountant == "rdp" else _EPSILON[accountant]
    try:
        value = compute(merged, delta)
    except dp_accounting.UnsupportedEventError as error:
        raise _refused(error, accountant) from error
    except _NO_NUMBER:
        return math.inf
    if math.isnan(value):
        events_text = ", ".join(f"{event} applied {count} times" for event, count, _ in merged)
        raise PrivacyError(f"accountant {accountant} gave no number for {events_text}")
    return max(value, 0.0)


def _merged(events: Events) -> Events:
    """Each mechanism once with its total count, without those never applied."""
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
    """The smallest noise multiplier, to a relative precision of 1e-3, whose epsilon is <= `target`.

    The search approaches from the safe side. The value that it returns was itself checked against the target.

    Args:
        cost: epsilon as a function of the noise multiplier. Decreasing.
        target: epsilon to stay within.
        quick: a cheaper upper bound on `cost`, used to come near the target. None where there is none.

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
    # The quick bound is a few percent loose. Step down from its answer until the exact epsilon exceeds the target.
    low = high
    while low > _LEAST_NOISE and cost(low) <= target:
        low, high = low * 0.97, low
    return _interpolate(cost, target, low, high)


def _interpolate(cost: Callable[[float], float], target: float, low: float, high: float) -> float:
    """As `_bisect`, in fewer steps where `cost` is nearly a power law between `low` and `high`."""
    at_low, at_high = cost(low), cost(high)
    while high - low > 1e-3 * high:
        slope = math.log(at_high / at_low) / math.log(high / low)
        # Probe slightly on the safe side of where the power law meets the target, and then just below that. If the
        # two probes lie on either side of the target, the interval is already as narrow as required.
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
    # Invariant: `high` meets the target. Geometric means, since noise multipliers span orders of magnitude.
    while high - low > 1e-3 * high:
        middle = math.sqrt(low * high)
        if cost(middle) <= target:
            high = middle
        else:
            low = middle
    return high


def max_steps(cost: Callable[[int], float], target: float, limit: int = 10**8) -> int:
    """The largest number of applications whose epsilon is <= `target`, at most `limit`.

    Args:
        cost: epsilon as a function of the number of applications. Increasing.
        target: the budget.
        limit: where to stop looking.

    >>> from dp_accounting import GaussianDpEvent
    >>> n = max_steps(lambda k: epsilon(GaussianDpEvent(20.0), k, 1e-5), 1.0)
    >>> epsilon(GaussianDpEvent(20.0), n, 1e-5) <= 1.0 < epsilon(GaussianDpEvent(20.0), n + 1, 1e-5)
    True
    """
    positive(target=target)
    if cost(1) > target:
        return 0
    # Invariant from here on: `low` is within the target, and `high` exceeds it or the limit.
    low, high = 1, 2
    while high <= limit and cost(high) <= target:
        low, high = high, high * 2
    high = min(high, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= target else (low, middle)
    return low
