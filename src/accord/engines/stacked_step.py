"""One local step of many clients at once: by stacked kernels where the network has them, else `vmap(step)`.

The kernels fuse what plain SGD does with a gradient into the product that makes it (`baddbmm` with the negative
learning rate), so that no gradient tensor is formed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional as F

from accord.engines.stacked import Product, Stack, StackedNetwork
from accord.errors import PrivacyError
from accord.params import Params
from accord.privacy.clipping import factor_of
from accord.privacy.plan import PrivacyPlan
from accord.program import local
from accord.program.local import Batch, ClientState, ClientWork


def mapped_step(
    work: ClientWork, state: ClientState, batch: Batch, divisors: Tensor, noise: Params | None
) -> ClientState:
    """`local.step` mapped over clients; every leaf of `state`, `batch` and `noise` has clients first."""

    def one(state: ClientState, batch: Batch, divisor: Tensor, noise: Params | None) -> ClientState:
        return local.step(work, state, batch, divisor, noise)

    return vmap(one, in_dims=(0, 0, 0, None if noise is None else 0))(state, batch, divisors, noise)


@dataclass(frozen=True)
class KernelStep:
    """A step by stacked kernels, of a network that has them.

    Attributes:
        work: what to do; its optimiser is any.
        network: the stacked form of the work's network.
    """

    work: ClientWork
    network: StackedNetwork

    def fused(self, stack: Stack, batch: Batch, divisors: Tensor | None, noise: Stack | None) -> None:
        """A step of plain SGD, in place.

        Args:
            stack: parameters in the kernels' layout, changed.
            batch: `[clients, width, ...]`.
            divisors: unit `sample`: what each client's noised sum is divided by, `[clients]`; else None.
            noise: in the kernels' layout, where the plan noises steps.
        """
        rate = self.work.optimizer.plain_rate
        if rate is None or (self.work.local_plan is not None and self.work.local_plan.unit != "sample"):
            raise PrivacyError("only plain SGD, unclipped or clipped by sample, is fused")
        plan = self.work.local_plan
        logits, kept = self.network.forward(stack, batch.x)
        if plan is None:
            g = _loss_gradient(logits, batch, mean=True)
            self.network.backward(stack, g, kept, lambda product: _descend(stack, product, rate))
            return
        if noise is None or divisors is None:
            raise PrivacyError("privacy.unit sample adds noise in every step, but a step came without")
        products, factor = self._clipped(stack, logits, kept, batch, plan)
        scale = (rate / divisors).view(-1, 1)
        for product in products:
            _descend(stack, _weighted(product, factor * scale), 1.0)
        for name, value in noise.items():
            stack[name].sub_(value * scale.view(-1, *[1] * (value.dim() - 1)))

    def gradients(self, stack: Stack, batch: Batch, divisors: Tensor | None, noise: Stack | None) -> Stack:
        """What `local.step` hands its optimiser, in the kernels' layout; arguments as in `fused`."""
        plan = self.work.local_plan
        logits, kept = self.network.forward(stack, batch.x)
        out: Stack = {}
        if plan is None or plan.unit == "batch":
            g = _loss_gradient(logits, batch, mean=True)
            self.network.backward(stack, g, kept, lambda product: out.update(_sums(product)))
            if plan is None:
                return out
            squares = torch.stack([value.square().flatten(1).sum(1) for value in out.values()]).sum(0)
            factor = factor_of(squares, plan.clip_norm)
            out = {k: _by_client(_finite(v), factor) for k, v in out.items()}
            return _noised(out, noise)
        if plan.unit != "sample" or divisors is None:
            raise PrivacyError(f"no stacked mechanism for privacy.unit {plan.unit}")
        products, factor = self._clipped(stack, logits, kept, batch, plan)
        for product in products:
            out.update(_sums(_weighted(product, factor)))
        return {k: _by_client(v, 1 / divisors) for k, v in _noised(out, noise).items()}

    def _clipped(
        self, stack: Stack, logits: Tensor, kept: list[tuple[Tensor, ...]], batch: Batch, plan: PrivacyPlan
    ) -> tuple[list[Product], Tensor]:
        """Each layer's product of the unweighted rows, and each row's clipping factor `[clients, width]`."""
        products: list[Product] = []
        g = _loss_gradient(logits, batch, mean=False)
        self.network.backward(stack, g, kept, products.append)
        squares = torch.stack([_squares(product, batch.weight.shape[1]) for product in products]).sum(0)
        factor = factor_of(squares, plan.clip_norm) * (batch.weight > 0)
        if not bool(torch.isfinite(squares).all()):
            # 0 * NaN is NaN: rows that are dropped must be made finite before they are weighted.
            products = [Product(q.weight, q.bias, _finite(q.a), _finite(q.g), q.places) for q in products]
        return products, factor


def _loss_gradient(logits: Tensor, batch: Batch, *, mean: bool) -> Tensor:
    """Gradient of cross-entropy by the logits: softmax less one-hot, 0 where weight is 0, over the count if `mean`."""
    g = F.softmax(logits, dim=-1)
    g.scatter_add_(2, batch.y.unsqueeze(2), g.new_full((1, 1, 1), -1.0).expand(*batch.y.shape, 1))
    weight = batch.weight
    if mean:
        weight = weight / weight.sum(1, keepdim=True).clamp(min=1.0)
    return torch.where(
        weight.unsqueeze(2) > 0, g * weight.unsqueeze(2), torch.zeros((), dtype=g.dtype, device=g.device)
    )


def _descend(stack: Stack, product: Product, rate: float) -> None:
    stack[product.weight].baddbmm_(product.g.transpose(1, 2), product.a, alpha=-rate)
    if product.bias is not None:
        stack[product.bias].sub_(product.g.sum(1), alpha=rate)


def _sums(product: Product) -> Stack:
    sums = {product.weight: torch.bmm(product.g.transpose(1, 2), product.a)}
    return sums if product.bias is None else sums | {product.bias: product.g.sum(1)}


def _squares(product: Product, width: int) -> Tensor:
    """Squared norm of each row's gradient in this layer, `[clients, width]`."""
    clients = len(product.a)
    if product.places == 1:
        # ||g a^T||^2 = ||g||^2 ||a||^2 (Goodfellow 2015); the bias adds ||g||^2.
        by_output = product.g.square().sum(2)
        return by_output * (product.a.square().sum(2) + (product.bias is not None))
    g = product.g.reshape(clients * width, product.places, -1)
    a = product.a.reshape(clients * width, product.places, -1)
    squares = torch.bmm(g.transpose(1, 2), a).square().flatten(1).sum(1)
    if product.bias is not None:
        squares = squares + g.sum(1).square().sum(1)
    return squares.view(clients, width)


def _weighted(product: Product, factor: Tensor) -> Product:
    """The product with each sample's rows of `g` times its factor."""
    if product.places > 1:
        factor = factor.repeat_interleave(product.places, dim=1)
    return Product(product.weight, product.bias, product.a, product.g * factor.unsqueeze(2), product.places)


def _noised(gradients: Stack, noise: Stack | None) -> Stack:
    if noise is None:
        raise PrivacyError("the plan adds noise in every step, but a step came without")
    return {name: value + noise[name] for name, value in gradients.items()}


def _by_client(value: Tensor, scale: Tensor) -> Tensor:
    return value * scale.view(-1, *[1] * (value.dim() - 1))


def _finite(value: Tensor) -> Tensor:
    return torch.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)
