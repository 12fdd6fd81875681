"""Represents a layer's part of the gradient, for many clients at once, in the form that is cheapest to use.

A dense layer's gradient is a product `a^T g` that need never be formed. Plain SGD subtracts it inside the product
(`baddbmm_`). Its per-sample norms follow from the norms of a and g (Goodfellow 2015, arXiv 1510.01799). Gradients
without such a form are stored by sample or already summed. All forms have the same methods.

Shapes have clients first, then samples. A `stack` has weights `[clients, in, out]` and vectors `[clients, 1, n]`.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from accord.core.errors import PrivacyError

Stack = dict[str, Tensor]
"""Parameters of several clients by name, each `[clients, ...]`, in the kernels' layout."""

# Norms of longer vectors are taken block by block. PyTorch's norm of a million equal float32 numbers is 6e-4 too small,
# which is more than clipping allows for.
_BLOCK = 1024


class LayerGradient(Protocol):
    """A layer's part of the gradient."""

    def sgd_step_(self, stack: Stack, rate: float) -> None:
        """Takes the step `w <- w - rate * gradient` in place, with the gradient summed over samples."""
        ...

    def sums(self) -> Stack:
        """The gradient summed over samples, in the stack's shapes."""
        ...

    def squares(self) -> Tensor:
        """Squared norm of each sample's gradient, `[clients, samples]`."""
        ...

    def weighted(self, factor: Tensor) -> "LayerGradient":
        """The part with each sample's gradient multiplied by its `factor` `[clients, samples]`."""
        ...

    def finite(self) -> "LayerGradient":
        """The part with NaN and infinite values set to 0."""
        ...


@dataclass(frozen=True)
class Product:
    """A weight gradient `a^T g` with a bias gradient `sum g`, neither of them formed.

    Attributes:
        weight: name of the weight.
        bias: name of the bias, None where there is none.
        a: inputs, `[clients, samples * places, in]`.
        g: gradient of the loss by the outputs, `[clients, samples * places, out]`.
        positions: rows of each sample. This is 1 for a vector, and otherwise the positions of a sequence or the output
            pixels of a convolution.
    """

    weight: str
    bias: str | None
    a: Tensor
    g: Tensor
    positions: int

    def sgd_step_(self, stack: Stack, rate: float) -> None:
        """Subtracts inside the product, so that no gradient is formed."""
        weight = stack[self.weight]
        if weight.is_contiguous():
            weight.baddbmm_(self.a.transpose(1, 2), self.g, alpha=-rate)
        else:  # stored as [out, in], and baddbmm_ is fast only into contiguous memory
            weight.transpose(1, 2).baddbmm_(self.g.transpose(1, 2), self.a, alpha=-rate)
        if self.bias is not None:
            stack[self.bias].baddbmm_(self._ones(), self.g, alpha=-rate)

    def sums(self) -> Stack:
        """Forms the products."""
        sums = {self.weight: torch.bmm(self.a.transpose(1, 2), self.g)}
        return sums if self.bias is None else sums | {self.bias: torch.bmm(self._ones(), self.g)}

    def squares(self) -> Tensor:
        """Computes ||a^T g||^2 = ||a||^2 ||g||^2 where a sample has one row (Goodfellow 2015)."""
        if self.positions > 1:
            return self.by_sample().squares()
        # A square that underflows counts as the smallest normal number. Rounding a norm up is safe. Rounding it to 0
        # would leave the gradient unclipped.
        tiny = torch.finfo(self.g.dtype).tiny
        by_output = square_sum(self.g).clamp_min(self.g.shape[2] * tiny)
        # The bias is a weight whose input is 1, so it adds 1 to ||a||^2.
        return by_output * (square_sum(self.a).clamp_min(self.a.shape[2] * tiny) + (self.bias is not None))

    def weighted(self, factor: Tensor) -> "Product":
        """Multiplies g by the factor."""
        if self.positions > 1:
            factor = factor.repeat_interleave(self.positions, dim=1)
        return replace(self, g=self.g * factor.unsqueeze(2))

    def finite(self) -> "Product":
        """Makes both a and g finite."""
        return replace(self, a=_finite(self.a), g=_finite(self.g))

    def reused(self) -> "Product | BySample":
        """The form to use for both the norms and a weighted sum.

        Where a sample has several rows its gradient is formed. What is weighted is then bit for bit what the norm was
        taken of.
        """
        return self if self.positions == 1 else self.by_sample()

    def by_sample(self) -> "BySample":
        """Forms each sample's gradient."""
        clients, rows, out = self.g.shape
        samples = rows // self.positions
        g = self.g.reshape(clients * samples, self.positions, out)
        a = self.a.reshape(clients * samples, self.positions, -1)
        values = {self.weight: torch.bmm(a.transpose(1, 2), g).view(clients, samples, -1, out)}
        if self.bias is not None:
            values[self.bias] = g.sum(1).view(clients, samples, 1, out)
        return BySample(values)

    def _ones(self) -> Tensor:
        return _ones(self.g.shape[0], self.g.shape[1], self.g.dtype, self.g.device)


@dataclass(frozen=True)
class BySample:
    """Gradients stored by sample. Used for small ones and where both norms and a weighted sum are needed.

    Attributes:
        values: name to `[clients, samples, *shape]`.
    """

    values: Stack

    def sgd_step_(self, stack: Stack, rate: float) -> None:
        """Sums over samples, then subtracts."""
        for name, value in self.sums().items():
            stack[name].sub_(value, alpha=rate)

    def sums(self) -> Stack:
        """Sums over samples."""
        return {name: value.sum(1) for name, value in self.values.items()}

    def squares(self) -> Tensor:
        """Squared norms over all names together."""
        return torch.stack([square_sum(value.flatten(2)) for value in self.values.values()]).sum(0)

    def weighted(self, factor: Tensor) -> "Summed":
        """Sums in one product a name, so that no scaled copy of the per-sample gradients is written."""
        rows = factor.unsqueeze(1)
        return Summed(
            {
                name: torch.bmm(rows, value.flatten(2)).view(len(value), *value.shape[2:])
                for name, value in self.values.items()
            }
        )

    def finite(self) -> "BySample":
        """Makes each value finite."""
        return BySample({name: _finite(value) for name, value in self.values.items()})


@dataclass(frozen=True)
class Lookup:
    """The gradient of an embedding's table, stored as rows `g` to be added at the rows `tokens` of the table.

    Attributes:
        weight: name of the table, stacked `[clients, tokens, width]`.
        size: number of rows of the table.
        tokens: `[clients, samples, places]`, int64.
        g: `[clients, samples, places, width]`.
    """

    weight: str
    size: int
    tokens: Tensor
    g: Tensor

    def sgd_step_(self, stack: Stack, rate: float) -> None:
        """Changes only the rows that were looked up."""
        stack[self.weight].index_put_(self._rows(), self.g * -rate, accumulate=True)

    def sums(self) -> Stack:
        """The whole table's gradient, 0 in rows that were not looked up."""
        sums = self.g.new_zeros(len(self.g), self.size, self.g.shape[3])
        return {self.weight: sums.index_put_(self._rows(), self.g, accumulate=True)}

    def squares(self) -> Tensor:
        """Squared norms over the table's rows, each the sum of the places that look it up."""
        return square_sum(self.reused().g.flatten(2))

    def reused(self) -> "Lookup":
        """The same gradient, with the places of each token added up at the first of them.

        A sum of products over pairs of places would also give the norm, but it can cancel to 0.
        """
        same = self.tokens.unsqueeze(3) == self.tokens.unsqueeze(2)
        # A place is its token's first where no earlier place of the sample has the same token.
        first = ~same.tril(-1).any(3, keepdim=True)
        merged = torch.where(first, torch.matmul(same.to(self.g.dtype), self.g), torch.zeros_like(self.g))
        return replace(self, g=merged)

    def weighted(self, factor: Tensor) -> "Lookup":
        """Multiplies g by the factor."""
        return replace(self, g=self.g * factor[:, :, None, None])

    def finite(self) -> "Lookup":
        """Makes g finite."""
        return replace(self, g=_finite(self.g))

    def _rows(self) -> tuple[Tensor, Tensor]:
        return torch.arange(len(self.g), device=self.g.device).view(-1, 1, 1), self.tokens


@dataclass(frozen=True)
class Summed:
    """A gradient already summed over samples, without per-sample norms.

    Attributes:
        values: name to `[clients, *shape]`.
    """

    values: Stack

    def sgd_step_(self, stack: Stack, rate: float) -> None:
        """Subtracts the sums."""
        for name, value in self.values.items():
            stack[name].sub_(value, alpha=rate)

    def sums(self) -> Stack:
        """The stored sums."""
        return self.values

    def squares(self) -> Tensor:
        """Always refused, since clipping by sample cannot follow summing.

        Raises:
            PrivacyError: always.
        """
        raise PrivacyError("a gradient summed over samples cannot be clipped by sample")

    def weighted(self, factor: Tensor) -> "Summed":
        """Always refused, as `squares` is."""
        raise PrivacyError("a gradient summed over samples cannot be weighted by sample")

    def finite(self) -> "Summed":
        """Makes each value finite."""
        return Summed({name: _finite(value) for name, value in self.values.items()})


@lru_cache(maxsize=64)
def _ones(clients: int, rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Cached, since making three of these a step is a tenth of a small network's operations. Made outside inference
    # mode, since the first caller may be in it, and an inference tensor could not be used for training later.
    with torch.inference_mode(mode=False):
        return torch.ones(clients, 1, rows, dtype=dtype, device=device)


def square_sum(value: Tensor) -> Tensor:
    """Sum of squares over the last axis, right to a few units in the last place at any length."""
    value, length = value.contiguous(), value.shape[-1]  # over strides, PyTorch's norm rounds more than clipping allows
    if length <= _BLOCK:
        norms: Tensor = torch.linalg.vector_norm(value, dim=-1)
        return norms.square_()
    full_blocks = length - length % _BLOCK
    norms = torch.linalg.vector_norm(value[..., :full_blocks].reshape(*value.shape[:-1], -1, _BLOCK), dim=-1)
    return square_sum(norms) + square_sum(value[..., full_blocks:])


def _finite(value: Tensor) -> Tensor:
    return torch.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)
