"""Low-rank factors on dense layers.

E. Hu, Y. Shen, P. Wallis, Z. Allen-Zhu, Y. Li, S. Wang, L. Wang, W. Chen. LoRA: Low-Rank Adaptation of Large Language
Models. ICLR 2022, arXiv 2106.09685, eq. 3: h = W x + (alpha / r) B A x. W is frozen, A is drawn Gaussian, and B is zero
at first, so that training starts from W.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accord.core.errors import StudyError
from accord.core.params import Params

FACTOR_A, FACTOR_B = "lora_a", "lora_b"


class LoraLinear(nn.Linear):
    """A dense layer with low-rank factors, from `[..., into]` to `[..., out]`.

    The layer's own `weight` and `bias` keep their names, so the network's parameters are those it had plus the factors.

    Attributes:
        lora_a: A, `[rank, into]`, normal of variance 1 / into, so that A x is about as large as the entries of x.
        lora_b: B, `[out, rank]`, zeros.
        scale: alpha / rank.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        # On the meta device, since these weights are replaced by the base layer's at once.
        super().__init__(base.in_features, base.out_features, base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        into, out, weight = base.in_features, base.out_features, base.weight
        a = torch.randn(rank, into, dtype=weight.dtype, device=weight.device)
        self.lora_a = nn.Parameter(a * into**-0.5)
        self.lora_b = nn.Parameter(torch.zeros(out, rank, dtype=weight.dtype, device=weight.device))
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        """Computes W x + b + scale B A x."""
        return F.linear(x, self.weight, self.bias) + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)


def add_factors(model: nn.Module, layers: Sequence[str], rank: int, alpha: float) -> nn.Module:
    """Adds factors to the dense layers that `layers` names, and freezes everything else in the network.

    Args:
        model: the network, which is changed in place unless it is itself a dense layer.
        layers: names of dense layers, with wildcards as in a shell.
        rank: r.
        alpha: the change is scaled by alpha / r.

    Returns:
        The network.

    Raises:
        StudyError: the network has no dense layer, or a pattern names none.
    """
    # Not subclasses, which may use their weights outside of `forward` (the projections of attention do).
    dense = {name: module for name, module in model.named_modules(remove_duplicate=False) if type(module) is nn.Linear}
    if not dense:
        raise StudyError("model.lora: the network has no dense layer to put factors on; leave lora out")
    for pattern in layers:
        if not any(fnmatchcase(name, pattern) for name in dense):
            raise StudyError(f"model.lora.layers: {pattern!r} names no dense layer (they are: {', '.join(dense)})")
    for value in model.parameters():
        value.requires_grad_(False)
    made: dict[nn.Linear, LoraLinear] = {}  # a layer used in two places stays one
    for name, layer in dense.items():
        if not any(fnmatchcase(name, pattern) for pattern in layers):
            continue
        if layer not in made:
            made[layer] = LoraLinear(layer, rank, alpha)
        if not name:
            return made[layer]
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, made[layer])
    return model


def merge(params: Mapping[str, Tensor], alpha: float) -> Params:
    """Merges the factors into the weights, W + (alpha / r) B A, for an equivalent network without factors.

    Args:
        params: parameters of a network with factors, as in `Run.params` and `model.safetensors`.
        alpha: the study's `model.lora.alpha`. r is the shape of the factors.

    Raises:
        ValueError: there are no factors among them.

    >>> params = {"w.weight": torch.zeros(2, 3), "w.lora_a": torch.ones(1, 3), "w.lora_b": torch.ones(2, 1)}
    >>> merge(params, alpha=2.0)
    {'w.weight': tensor([[2., 2., 2.],
            [2., 2., 2.]])}
    """
    factors = [name.removesuffix(FACTOR_A) for name in params if name.rpartition(".")[2] == FACTOR_A]
    if not factors:
        raise ValueError("no LoRA factors among the parameters; they are merged already, or never had any")
    merged = {name: value for name, value in params.items() if name.rpartition(".")[2] not in (FACTOR_A, FACTOR_B)}
    for prefix in factors:
        a, b = params[prefix + FACTOR_A], params[prefix + FACTOR_B]
        merged[f"{prefix}weight"] = params[f"{prefix}weight"] + alpha / len(a) * (b @ a)
    return merged
