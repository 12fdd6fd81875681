"""A layer's part in the gradient of many clients at once, held in the form that is cheapest to use.

A dense layer's gradient is a product `a^T g` that need never be formed: plain SGD subtracts it inside the product
(`baddbmm_`), and its per-sample norms follow from the norms of a and g (Goodfellow 2015, arXiv 1510.01799). What
has no such form is held by sample or already summed. All forms answer the same four questions.

Shapes: clients first, then samples; `stack` holds weights `[clients, in, out]` and vectors `[clients, 1, n]`.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from accord.core.errors import PrivacyError

Stack = dict[str, Tensor]
"""Parameters of several clients by name, each `[clients, ...]`, in the kernels' layout."""

# Longer vectors are normed block by block: PyTorch's norm of a million equal float32 numbers is 6e-4 short, more than
# clipping allows for.
_BLOCK = 1024


class LayerGradient(Protocol):
    """A layer's part in the gradient."""

    def sgd_step_(self, stack: Stack, rate: float) -> None:
        """`w <- w - rate * gradient`, in place, summed over samples."""
        ...

    def sums(self) -> Stack:
        """The gradient summed over samples, in the stack's shapes."""
        ...

    def squares(self) -> Tensor:
        """Squared norm of each sample's gradient, `[clients, samples]`."""
        ...

    def weighted(self, factor: Tensor) -> "LayerGradient":
        """The part with each sample's gradient times its `factor` `[clients, samples]`."""
        ...

    def finite(self) -> "LayerGradient":
        """The part with what is NaN or infinite set to 0."""
        ...


@dataclass(frozen=True)
class Product:
    """Weight gradient `a^T g`, bias gradient `sum g`.

    Attributes:
        weight: name of the weight.
        bias: name of the bias, None where there is none.
        a: inputs, `[clients, samples * places, in]`.
        g: gradient of the loss by the outputs, `[clients, samples * places, out]`.
        places: rows a sample has: 1 for a vector, positions of a sequence, output pixels of a convolution.
    """

    weight: str
    bias: str | None
    a: Tensor
    g: Tensor
    places: int

    def sgd_step_(self, stack: Stack, rate: float) -> None:
        """Subtracted inside the product: no gradient is formed."""
        weight = stack[self.weight]
        if weight.is_contiguous():
            weight.baddbmm_(self.a.transpose(1, 2), self.g, alpha=-rate)
        else:  # laid [out, in]: the product must go into what is whole in memory
            weight.transpose(1, 2).baddbmm_(self.g.transpose(1, 2), self.a, alpha=-rate)
        if self.bias is not None:
            stack[self.bias].baddbmm_(self._ones(), self.g, alpha=-rate)

    def sums(self) -> Stack:
        """The products."""
        sums = {self.weight: torch.bmm(self.a.transpose(1, 2), self.g)}
        return sums if self.bias is None else sums | {self.bias: torch.bmm(self._ones(), self.g)}

    def squares(self) -> Tensor:
        """||a^T g||^2 = ||a||^2 ||g||^2 where a sample has one row (Goodfellow 2015)."""
        if self.places > 1:
            return self.by_sample().squares()
        # A square too small for the dtype counts as the smallest there is: rounded up, never to 0.
        tiny = torch.finfo(self.g.dtype).tiny
        by_output = square_sum(self.g).clamp_min(self.g.shape[2] * tiny)
        return by_output * (square_sum(self.a).clamp_min(self.a.shape[2] * tiny) + (self.bias is not None))

    def weighted(self, factor: Tensor) -> "Product":
        """The factor goes to g."""
        if self.places > 1:
            factor = factor.repeat_interleave(self.places, dim=1)
        return replace(self, g=self.g * factor.unsqueeze(2))

    def finite(self) -> "Product":
        """Both sides."""
        return replace(self, a=_finite(self.a), g=_finite(self.g))

    def reused(self) -> "Product | BySample":
        """The form for both the norms and a weighted sum. Where a sample has several rows its gradient is formed, so
        that what is weighted is, to the last bit, what was normed."""
        return self if self.places == 1 else self.by_sample()

    def by_sample(self) -> "BySample":
        """Each sample's gradient by itself."""
        clients, rows, out = self.g.shape
        samples = rows // self.places
        g = self.g.reshape(clients * samples, self.places, out)
        a = self.a.reshape(clients * samples, self.places, -1)
        values = {self.weight: torch.bmm(a.transpose(1, 2), g).view(clients, samples, -1, out)}
        if self.bias is not None:
            values[self.bias] = g.sum(1).view(clients, samples, 1, out)
        return BySample(values)

    def _ones(self) -> Tensor:
        return _ones(self.g.shape[0], self.g.shape[1], self.g.dtype, self.g.device)


@dataclass(frozen=True)
class BySample:
    """Gradients held by sample: small ones, and those whose norms and weighted sum are both wanted.

    Attributes:
        values: name to `[clients, samples, *shape]`.
    """

    values: Stack

    def sgd_step_(self, stack: Stack, rate: float) -> None:
        """Summed, then subtracted."""
        for name, value in self.sums().items():
            stack[name].sub_(value, alpha=rate)

    def sums(self) -> Stack:
        """Over samples."""
        return {name: value.sum(1) for name, value in self.values.items()}

    def squares(self) -> Tensor:
        """Over all names together."""
        return torch.stack([square_sum(value.flatten(2)) for value in self.values.values()]).sum(0)

    def weighted(self, factor: Tensor) -> "Summed":
        """One product a name: nothing of a sample's size is written."""
        rows = factor.unsqueeze(1)
        return Summed(
            {
                name: torch.bmm(rows, value.flatten(2)).view(len(value), *value.shape[2:])
                for name, value in self.values.items()
            }
        )

    def finite(self) -> "BySample":
        """Each value."""
        return BySample({name: _finite(value) for name, value in self.values.items()})


@dataclass(frozen=True)
class Lookup:
    """Gradient of an embedding's table: rows of `g` added where `tokens` points.

    Attributes:
        weight: name of the table, stacked `[clients, tokens, width]`.
        size: rows of the table.
        tokens: `[clients, samples, places]`, int64.
        g: `[clients, samples, places, width]`.
    """

    weight: str
    size: int
    tokens: Tensor
    g: Tensor

    def sgd_step_(self, stack: Stack, rate: float) -> None:
        """Only the rows looked up are touched."""
        stack[self.weight].index_put_(self._rows(), self.g * -rate, accumulate=True)

    def sums(self) -> Stack:
        """The rows looked up, all others 0."""
        sums = self.g.new_zeros(len(self.g), self.size, self.g.shape[3])
        return {self.weight: sums.index_put_(self._rows(), self.g, accumulate=True)}

    def squares(self) -> Tensor:
        """Over the table's rows, each the sum of the places that look it up."""
        return square_sum(self.reused().g.flatten(2))

    def reused(self) -> "Lookup":
        """The same gradient with each token's places added up at its first: a sum of products over pairs of places,
        which gives the norm too, can cancel to nothing."""
        same = self.tokens.unsqueeze(3) == self.tokens.unsqueeze(2)
        first = ~same.tril(-1).any(3, keepdim=True)
        merged = torch.where(first, torch.matmul(same.to(self.g.dtype), self.g), torch.zeros_like(self.g))
        return replace(self, g=merged)

    def weighted(self, factor: Tensor) -> "Lookup":
        """The factor goes to g."""
        return replace(self, g=self.g * factor[:, :, None, None])

    def finite(self) -> "Lookup":
        """The gradient's side."""
        return replace(self, g=_finite(self.g))

    def _rows(self) -> tuple[Tensor, Tensor]:
        return torch.arange(len(self.g), device=self.g.device).view(-1, 1, 1), self.tokens


@dataclass(frozen=True)
class Summed:
    """A gradient already summed over samples: it has no per-sample norms left.

    Attributes:
        values: name to `[clients, *shape]`.
    """

    values: Stack

    def sgd_step_(self, stack: Stack, rate: float) -> None:
        """Subtracted."""
        for name, value in self.values.items():
            stack[name].sub_(value, alpha=rate)

    def sums(self) -> Stack:
        """As held."""
        return self.values

    def squares(self) -> Tensor:
        """Refused.

        Raises:
            PrivacyError: always: clipping by sample cannot follow summing.
        """
        raise PrivacyError("a gradient summed over samples cannot be clipped by sample")

    def weighted(self, factor: Tensor) -> "Summed":
        """Refused, as `squares` is."""
        raise PrivacyError("a gradient summed over samples cannot be weighted by sample")

    def finite(self) -> "Summed":
        """Each value."""
        return Summed({name: _finite(value) for name, value in self.values.items()})


@lru_cache(maxsize=64)
def _ones(clients: int, rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept: three of these a step are a tenth of a small network's operations. Outside inference mode, which belongs to
    # whoever asks first.
    with torch.inference_mode(mode=False):
        return torch.ones(clients, 1, rows, dtype=dtype, device=device)


def square_sum(value: Tensor) -> Tensor:
    """Sum of squares over the last axis, to a few units of the last place however long it is."""
    value, length = value.contiguous(), value.shape[-1]  # over strides, PyTorch's norm rounds more than clipping allows
    if length <= _BLOCK:
        norms: Tensor = torch.linalg.vector_norm(value, dim=-1)
        return norms.square_()
    whole = length - length % _BLOCK
    norms = torch.linalg.vector_norm(value[..., :whole].reshape(*value.shape[:-1], -1, _BLOCK), dim=-1)
    return square_sum(norms) + square_sum(value[..., whole:])


def _finite(value: Tensor) -> Tensor:
    return torch.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)
