"""Clipping, which bounds the influence of one sample or one client.

Guarantee. For every input, finite or not, the output of `clip` and every term that `clipped_sum` adds has L2 norm
<= `clip_norm`, in float32 as computed. To ensure this the factor is rounded down by 1e-5.

The sum itself is rounded as float32 sums are. Those roundings also change when a term is left out, by 3e-6 of
`clip_norm` at 600 terms of ordinary data and 2e-3 at 60,000 (measured). A row's own gradient is rounded too, by a
product whose order may depend on how many rows are beside it. Data built to lie within rounding of a ReLU's kink moved
a sum by 4.5 `clip_norm` when one row was left out. These effects are outside what epsilon accounts for. What happens to
the sum after it is formed is accounted for (see `rounding.py`).

    =========================  =============================
    gradient                   contribution
    =========================  =============================
    zero                       zero
    norm <= clip_norm          itself
    norm > clip_norm           itself, scaled to clip_norm
    norm overflows, infinite   zero
    any NaN                    zero
    weight 0 (padding)         zero, whatever the gradient
    =========================  =============================
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from accord.core.checks import positive
from accord.core.params import Params

ROUNDING = 1 + 1e-5
"""Factor by which a computed norm is enlarged, so that rounding cannot leave a clipped norm above the bound."""


def factor_of(squares: Tensor, clip_norm: float) -> Tensor:
    """min(1, C / norm) from squared norms of any shape, rounded down. 0 where the norm is not finite."""
    norms = squares.sqrt()
    # A zero norm gives C / 0, infinity, which is clamped to 1.
    factor = (clip_norm / (norms * ROUNDING)).clamp(max=1.0)
    return torch.where(torch.isfinite(norms), factor, torch.zeros_like(factor))


def _finite(value: Tensor) -> Tensor:
    # 0 * NaN is NaN, so a dropped value must be made finite before it is multiplied by factor 0.
    return torch.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)


def clip(update: Mapping[str, Tensor], clip_norm: float) -> Params:
    """Scales `update` so that its L2 norm over all tensors together is at most `clip_norm`.

    The result is min(1, C/||u||) u (Abadi et al. 2016, arXiv 1607.00133, Algorithm 1; for whole updates McMahan et al.
    2018, arXiv 1710.06963). Works under `vmap`.

    Args:
        update: tensors of any shapes.
        clip_norm: C > 0.

    Returns:
        The same names and shapes. All zeros where the norm is not finite.

    >>> clip({"w": torch.tensor([3.0, 4.0])}, 1.0)["w"].norm() <= 1.0
    tensor(True)
    >>> clip({"w": torch.tensor([float("nan"), 4.0])}, 1.0)
    {'w': tensor([0., 0.])}
    """
    return clip_by(update, clip_norm)[0]


def clip_by(update: Mapping[str, Tensor], clip_norm: float, per_layer: bool = False) -> tuple[Params, Tensor]:
    """Clips as `clip` does, and also returns whether the update was within the norm before (a boolean scalar).

    Args:
        update: tensors of any shapes.
        clip_norm: C > 0, the bound on the whole.
        per_layer: clip each of L layers to C / sqrt(L) instead (McMahan et al. 2018, section 3.1). The whole then has
            at most norm C. Tensors whose names agree up to the last dot form a layer.
    """
    positive(clip_norm=clip_norm)
    groups = layers(update) if per_layer else [list(update)]
    bound = clip_norm / len(groups) ** 0.5
    clipped, unclipped = {}, []
    for names in groups:
        factor = factor_of(torch.stack([update[name].square().sum() for name in names]).sum(), bound)
        clipped.update({name: _finite(update[name]) * factor for name in names})
        unclipped.append(factor == 1)
    return {name: clipped[name] for name in update}, torch.stack(unclipped).all()


def layers(names: Iterable[str]) -> list[list[str]]:
    """Groups names by layer. Names that agree up to the last dot share one.

    >>> layers(["0.weight", "0.bias", "2.weight"])
    [['0.weight', '0.bias'], ['2.weight']]
    """
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.rpartition(".")[0], []).append(name)
    return list(found.values())


def clipped_sum(gradients: Mapping[str, Tensor], weight: Tensor, clip_norm: float, per_layer: bool = False) -> Params:
    """The sum over samples of each sample's clipped gradient (Abadi et al. 2016, Algorithm 1).

    Args:
        gradients: per-sample gradients, each of shape `[batch, *shape]`.
        weight: shape `[batch]`, 1 for a sample and 0 for padding. Any other positive value counts as 1.
        clip_norm: C > 0.
        per_layer: clip each of L layers to C / sqrt(L), as in `clip_by`.

    Returns:
        One tensor of shape `shape` a name. Together their sensitivity to adding or removing a sample is `clip_norm`.
    """
    positive(clip_norm=clip_norm)
    groups = layers(gradients) if per_layer else [list(gradients)]
    bound = clip_norm / len(groups) ** 0.5
    total = {}
    for names in groups:
        squares = torch.stack([gradients[name].square().reshape(len(weight), -1).sum(1) for name in names]).sum(0)
        # The weight is a mask only. A weight above 1 would scale a clipped gradient beyond the bound.
        factor = factor_of(squares, bound) * (weight > 0)
        total.update({name: torch.tensordot(factor, _finite(gradients[name]), dims=1) for name in names})
    return {name: total[name] for name in gradients}
