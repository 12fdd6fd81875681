"""Robust means, which replace the mean of the updates where some clients may send anything.

These are pure functions of updates stacked as a tensor `[clients, numbers]`, to `[numbers]` of the same dtype, on the
CPU. They promise nothing about privacy. One client's influence is bounded by the other clients' updates, not by a
number.

**NaN and infinity.** A row that contains one is dropped before the rule is applied. Whoever sends it has no more
influence than a client that sends nothing. Dropping never weakens a rule. The share `trim` is taken of the rows left.
Krum's f falls only as far as the rows left require, which is never by more than was dropped. Numbers that are finite
but too large to square count as infinitely far away, except for the geometric median, which uses their direction.
"""

import math

import numpy as np
import torch
from torch import Tensor

from accord.core.checks import positive

_TRY_NEAREST = 8
"""Iterations of the geometric median after which the nearest update is tried, at the cost of another pass."""


def finite_rows(updates: Tensor) -> Tensor:
    """Marks the rows that contain finite numbers only, as bool of shape `[clients]`.

    >>> finite_rows(torch.tensor([[1.0, 2.0], [float("nan"), 0.0], [0.0, float("inf")]])).tolist()
    [True, False, False]
    """
    return updates.isfinite().all(dim=1)


def median(updates: Tensor) -> Tensor:
    """Computes the median of each coordinate, which is the mean of the two middle values for an even number of clients.

    D. Yin, Y. Chen, K. Ramchandran, P. Bartlett. Byzantine-Robust Distributed Learning: Towards Optimal Statistical
    Rates. ICML 2018, arXiv 1803.01498, Definition 1 and Algorithm 1, option I.

    Args:
        updates: shape `[clients, numbers]`.

    Raises:
        ValueError: no row is finite.

    >>> median(torch.tensor([[1.0, 5.0], [2.0, 6.0], [900.0, -900.0]]))
    tensor([2., 5.])
    """
    finite = _finite_updates(updates)
    return _middle(finite, (len(finite) - 1) // 2)


def trimmed_count(clients: int, trim: float) -> int:
    """Returns how many values of each coordinate are left out at either end, the integer part of `trim * clients`.

    >>> trimmed_count(100, 0.29), trimmed_count(7, 0.2)
    (29, 1)
    """
    # 0.29 * 100 is 28.999... in floating point, and must not be rounded down.
    return math.floor(trim * clients + 1e-9)


def trimmed_mean(updates: Tensor, trim: float) -> Tensor:
    """Computes the mean of each coordinate without its largest and smallest values, a share `trim` at either end.

    Yin et al. 2018, arXiv 1803.01498, Definition 2 (beta is `trim`) and Algorithm 1, option II.

    Args:
        updates: shape `[clients, numbers]`.
        trim: beta, 0 <= beta < 1/2. With fewer clients than 1/beta, no value is left out.

    Raises:
        ValueError: `trim` is out of range, or no row is finite.

    >>> trimmed_mean(torch.tensor([[1.0], [2.0], [3.0], [6.0], [900.0]]), 0.2)
    tensor([3.6667])
    """
    if not 0 <= trim < 0.5:
        raise ValueError(f"trim must be at least 0 and below 0.5, got {trim}: values would be trimmed away")
    finite = _finite_updates(updates)
    return _middle(finite, trimmed_count(len(finite), trim))


def krum_scores(updates: Tensor, malicious: int) -> Tensor:
    """Computes each client's Krum score, the sum of its squared distances to its n - f - 2 nearest neighbours, float64.

    P. Blanchard, E. M. El Mhamdi, R. Guerraoui, J. Stainer. Machine Learning with Adversaries: Byzantine Tolerant
    Gradient Descent. NeurIPS 2017, section 4: s(i) = sum over i -> j of ||V_i - V_j||^2.

    Args:
        updates: shape `[clients, numbers]`, finite.
        malicious: f, how many clients may be malicious.

    Raises:
        ValueError: n < 2f + 3 clients.

    >>> krum_scores(torch.tensor([[0.0], [1.0], [3.0], [9.0]]), 0).tolist()
    [10.0, 5.0, 13.0, 100.0]
    """
    clients = len(updates)
    _enough(clients, malicious)
    squares = torch.zeros(clients, clients, dtype=torch.float64)
    upper = torch.triu_indices(clients, clients, 1)
    squares[upper[0], upper[1]] = torch.pdist(updates.double()).square()
    squares = squares + squares.T
    # The first of each sorted row is the client itself, at distance 0.
    return squares.sort(dim=1).values[:, 1 : clients - malicious - 1].sum(dim=1)


def krum(updates: Tensor, malicious: int) -> Tensor:
    """Returns the update with the smallest Krum score (Blanchard et al. 2017, section 4), the first in a tie.

    Args:
        updates: shape `[clients, numbers]`.
        malicious: f, how many clients may be malicious.

    Raises:
        ValueError: n < 2f + 3 clients, or no row is finite.

    >>> krum(torch.tensor([[0.0], [1.0], [3.0], [9.0]]), 0)
    tensor([1.])
    """
    return multi_krum(updates, malicious, 1)


def multi_krum(updates: Tensor, malicious: int, keep: int | None = None) -> Tensor:
    """Computes Multi-Krum, the mean of the `keep` updates with the smallest Krum scores.

    Blanchard et al. 2017, as in its experiments.

    Args:
        updates: shape `[clients, numbers]`.
        malicious: f, how many clients may be malicious.
        keep: m, at least 1 and at most n - f. None takes n - f, and 1 is Krum.

    Raises:
        ValueError: n < 2f + 3 clients, `keep` is out of range, or no row is finite.

    >>> multi_krum(torch.tensor([[0.0], [1.0], [3.0], [9.0], [900.0]]), 1, 2)
    tensor([0.5000])
    """
    clients = len(updates)
    _enough(clients, malicious)
    if keep is not None and not 1 <= keep <= clients - malicious:
        raise ValueError(
            f"keep must be between 1 and clients - malicious = {clients} - {malicious} = {clients - malicious}, "
            f"got {keep}"
        )
    finite = _finite_updates(updates)
    left = min(malicious, (len(finite) - 3) // 2)
    if left < 0:
        raise ValueError(f"krum needs 3 clients that send finite numbers, got {len(finite)} of {clients}")
    # A stable sort takes the first client among equal scores.
    order = krum_scores(finite, left).sort(stable=True).indices
    chosen = order[: min(keep or len(finite), len(finite) - left)]
    return finite[chosen.sort().values].double().mean(dim=0).to(updates.dtype)


def geometric_median(
    updates: Tensor,
    weights: Tensor | None = None,
    smoothing: float = 1e-6,
    iterations: int = 100,
    tolerance: float = 1e-6,
) -> Tensor:
    """Computes the point with the smallest weighted sum of distances to the updates.

    The objective is that of RFA (K. Pillutla, S. M. Kakade, Z. Harchaoui. Robust Aggregation for Federated Learning.
    IEEE Transactions on Signal Processing 70, 2022, arXiv 1912.13445, equation 2). It is minimised by the modified
    Weiszfeld algorithm of Y. Vardi and C.-H. Zhang (The multivariate L1-median and associated data depth. PNAS 97(4),
    2000, equation 10). Weiszfeld's own step, smoothed or not, gets stuck at any update that it meets.

    It starts from the median of each coordinate, which no minority can move far. Computed in float64.

    Args:
        updates: shape `[clients, numbers]`.
        weights: a_i >= 0, shape `[clients]`. None gives equal weights.
        smoothing: nu > 0. An update counts as met where it is nearer than this share of the median distance.
        iterations: the maximum number of iterations.
        tolerance: stops when a step is shorter than this share of the median distance to the updates.

    Raises:
        ValueError: weights are negative, not one for each client, or all 0, no row is finite, or a number is out of
            range.

    >>> geometric_median(torch.tensor([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0], [1.0, 1.0]]))
    tensor([1., 1.])
    """
    positive(smoothing=smoothing, iterations=iterations)
    points = _finite_updates(updates).double()
    a = torch.ones(len(points), dtype=torch.float64)
    if weights is not None:
        a = _weights(weights, updates)[finite_rows(updates)]
        points, a = points[a > 0], a[a > 0]
    if len(points) == 0:
        raise ValueError("weights: no client that sent finite numbers has a weight above 0")
    v = _middle(points, (len(points) - 1) // 2)
    for iteration in range(iterations):
        distances = _distances(points, v)
        candidate = _vardi_zhang(points, a, v, smoothing)
        short = _length(candidate - v) <= tolerance * float(distances.median())
        if short or iteration % _TRY_NEAREST == _TRY_NEAREST - 1:
            # A step is short at the median, but also close to an update, which iterations leave or reach slowly. From
            # the update itself the step is long if the update is not the median, and zero if it is.
            left = _vardi_zhang(points, a, points[distances.argmin()], smoothing)
            if float(a @ _distances(points, left)) < float(a @ _distances(points, candidate)):
                candidate = left
            elif short:
                return candidate.to(updates.dtype)
        v = candidate
    return v.to(updates.dtype)


def _vardi_zhang(points: Tensor, a: Tensor, v: Tensor, smoothing: float) -> Tensor:
    """Computes one step of Vardi & Zhang 2000, equation 10: max(0, 1 - eta / r) T(v) + min(1, eta / r) v.

    T is Weiszfeld's step over the updates away from v, and eta the weight of those at v. r is the length of the pull
    R(v) = sum_i a_i (x_i - v) / ||x_i - v|| of the others. Where r <= eta, v is the median.
    """
    distances = _distances(points, v)
    away = distances > smoothing * distances.median()
    if not bool(away.any()):
        return v
    far, b = distances[away], a[away]
    # Multiplied by the smallest distance, which cancels in the mean, since 1 / far alone may overflow.
    b = b * (far.min() / far)
    weiszfeld = (b / b.sum()) @ points[away]
    eta = float(a[~away].sum())
    if eta == 0:
        return weiszfeld
    r = _length((a[away] / far) @ (points[away] - v))
    if r <= eta:
        return v
    return (1 - eta / r) * weiszfeld + (eta / r) * v


def _distances(points: Tensor, v: Tensor) -> Tensor:
    """Computes the distance of each point to v, shape `[clients]`, even where its square overflows."""
    apart = points - v
    distances: Tensor = torch.linalg.vector_norm(apart, dim=1)
    if bool(distances.isfinite().all()):
        return distances
    largest = apart.abs().amax(dim=1).clamp(min=torch.finfo(apart.dtype).tiny)
    scaled: Tensor = torch.linalg.vector_norm(apart / largest[:, None], dim=1)
    return largest * scaled


def _length(step: Tensor) -> float:
    return float(torch.linalg.vector_norm(step))


def bulyan(updates: Tensor, malicious: int) -> Tensor:
    """Averages each coordinate's values nearest to their median, over updates that Krum selected one by one.

    E. M. El Mhamdi, R. Guerraoui, S. Rouault. The Hidden Vulnerability of Distributed Learning in Byzantium. ICML 2018,
    arXiv 1802.07927, section 4. theta = n - 2f updates are selected, each by Krum among those left. Then
    beta = theta - 2f values of each coordinate are averaged.

    Krum's n - f - 2 neighbours are counted among those left, and are at least one. The paper's count falls to 0 for the
    last update that f = 1 selects.

    Args:
        updates: shape `[clients, numbers]`.
        malicious: f, how many clients may be malicious.

    Raises:
        ValueError: n < 4f + 3 clients, or no row is finite.

    >>> bulyan(torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [900.0]]), 1)
    tensor([2.])
    """
    _enough(len(updates), malicious, 4, "bulyan")
    points = _finite_updates(updates)
    f = min(malicious, (len(points) - 3) // 4)
    if f < 0:
        raise ValueError(f"bulyan needs 3 clients that send finite numbers, got {len(points)} of {len(updates)}")
    # By differences, since the matrix product form loses digits where updates are close together.
    squares = torch.cdist(points.double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    left, selected = list(range(len(points))), []
    for _ in range(len(points) - 2 * f):
        neighbours = max(1, len(left) - f - 2)
        among = squares[left][:, left].sort(dim=1).values
        # The first of each sorted row is the client itself, at distance 0.
        scores = among[:, 1 : neighbours + 1].sum(dim=1)
        selected.append(left.pop(int(scores.argmin())))
    chosen = points[sorted(selected)].double()
    middle = _middle(chosen, (len(chosen) - 1) // 2)
    nearest = (chosen - middle).abs().argsort(dim=0, stable=True)[: len(chosen) - 2 * f]
    return chosen.gather(0, nearest).mean(dim=0).to(updates.dtype)


def centred_clipping(updates: Tensor, radius: float, iterations: int, start: Tensor | None = None) -> Tensor:
    """Computes v <- v + mean_i (x_i - v) min(1, tau / ||x_i - v||), repeated `iterations` times.

    S. P. Karimireddy, L. He, M. Jaggi. Learning from History for Byzantine Robust Optimization. ICML 2021,
    arXiv 2012.10333, Algorithm 2.

    Args:
        updates: shape `[clients, numbers]`.
        radius: tau > 0.
        iterations: L.
        start: the first v, shape `[numbers]`, which is the last round's result. None takes zeros.

    Raises:
        ValueError: no row is finite, or a number is out of range.

    >>> centred_clipping(torch.tensor([[1.0], [2.0], [900.0]]), 3.0, 1)
    tensor([2.])
    """
    positive(radius=radius, iterations=iterations)
    points = _finite_updates(updates).double()
    v = torch.zeros_like(points[0]) if start is None else start.double()
    for _ in range(iterations):
        far = _distances(points, v)
        factor = radius / far.clamp(min=radius)
        v = v + (factor / len(points)) @ (points - v)
    return v.to(updates.dtype)


def _enough(clients: int, malicious: int, times: int = 2, rule: str = "krum") -> None:
    if malicious < 0:
        raise ValueError(f"malicious must be at least 0, got {malicious}")
    fewest = times * malicious + 3
    if clients < fewest:
        raise ValueError(
            f"{rule} with malicious {malicious} needs {fewest} clients ({times} x {malicious} + 3), got {clients}"
        )


def _weights(weights: Tensor, updates: Tensor) -> Tensor:
    if weights.shape != updates.shape[:1]:
        raise ValueError(f"weights must be one a client: {len(updates)} clients, shape {tuple(weights.shape)}")
    if not bool((weights >= 0).all() & weights.isfinite().all()):
        raise ValueError("weights must be finite and at least 0")
    return weights.double()


def _finite_updates(updates: Tensor) -> Tensor:
    """Selects the finite rows."""
    if updates.dim() != 2:
        raise ValueError(f"updates must have shape [clients, numbers], got {tuple(updates.shape)}")
    rows = finite_rows(updates)
    if not bool(rows.any()):
        raise ValueError(f"no client of {len(updates)} sent finite numbers")
    return updates if bool(rows.all()) else updates[rows]


def _middle(rows: Tensor, trim: int) -> Tensor:
    """Computes the mean of each column without its `trim` smallest and largest values."""
    # NumPy sorts columns with the processor's vector instructions, ten times as fast as torch.
    ordered = torch.from_numpy(np.sort(rows.numpy(), axis=0))
    middle = ordered[trim : len(rows) - trim]
    return middle[0].clone() if len(middle) == 1 else middle.double().mean(dim=0).to(rows.dtype)
