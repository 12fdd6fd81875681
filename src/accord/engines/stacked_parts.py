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

from accord.errors import PrivacyError

Stack = dict[str, Tensor]
"""Parameters of several clients by name, each `[clients, ...]`, in the kernels' layout."""

# Per-sample gradients are kept for reuse up to this many numbers (256 MB in float32); beyond, they are formed twice.
_KEPT_NUMBERS = 2**26


class Part(Protocol):
    """A layer's part in the gradient."""

    def descend(self, stack: Stack, rate: float) -> None:
        """`w <- w - rate * gradient`, in place, summed over samples."""
        ...

    def sums(self) -> Stack:
        """The gradient summed over samples, in the stack's shapes."""
        ...

    def squares(self) -> Tensor:
        """Squared norm of each sample's gradient, `[clients, samples]`."""
        ...

    def weighted(self, factor: Tensor) -> "Part":
        """The part with each sample's gradient times its `factor` `[clients, samples]`."""
        ...

    def finite(self) -> "Part":
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

    def descend(self, stack: Stack, rate: float) -> None:
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
        """||a^T g||^2 = ||a||^2 ||g||^2 where a sample has one row (Goodfellow 2015); else client by client."""
        if self.places == 1:
            return _square_sum(self.g) * (_square_sum(self.a) + (self.bias is not None))
        parts = [self._only(client).by_sample().squares() for client in range(len(self.a))]
        return torch.cat(parts)

    def weighted(self, factor: Tensor) -> "Product":
        """The factor goes to g."""
        if self.places > 1:
            factor = factor.repeat_interleave(self.places, dim=1)
        return replace(self, g=self.g * factor.unsqueeze(2))

    def finite(self) -> "Product":
        """Both sides."""
        return replace(self, a=_finite(self.a), g=_finite(self.g))

    def reused(self) -> "Product | BySample":
        """The form that is cheapest where both the norms and a weighted sum are wanted."""
        clients, rows, out = self.g.shape
        numbers = clients * (rows // self.places) * self.a.shape[2] * out
        return self if self.places == 1 or numbers > _KEPT_NUMBERS else self.by_sample()

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

    def _only(self, client: int) -> "Product":
        one = slice(client, client + 1)
        return replace(self, a=self.a[one], g=self.g[one])

    def _ones(self) -> Tensor:
        return _ones(self.g.shape[0], self.g.shape[1], self.g.dtype, self.g.device)


@dataclass(frozen=True)
class BySample:
    """Gradients held by sample: small ones, and those whose norms and weighted sum are both wanted.

    Attributes:
        values: name to `[clients, samples, *shape]`.
    """

    values: Stack

    def descend(self, stack: Stack, rate: float) -> None:
        """Summed, then subtracted."""
        for name, value in self.sums().items():
            stack[name].sub_(value, alpha=rate)

    def sums(self) -> Stack:
        """Over samples."""
        return {name: value.sum(1) for name, value in self.values.items()}

    def squares(self) -> Tensor:
        """Over all names together."""
        return torch.stack([_square_sum(value.flatten(2)) for value in self.values.values()]).sum(0)

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

    def descend(self, stack: Stack, rate: float) -> None:
        """Only the rows looked up are touched."""
        stack[self.weight].index_put_(self._rows(), self.g * -rate, accumulate=True)

    def sums(self) -> Stack:
        """The rows looked up, all others 0."""
        sums = self.g.new_zeros(len(self.g), self.size, self.g.shape[3])
        return {self.weight: sums.index_put_(self._rows(), self.g, accumulate=True)}

    def squares(self) -> Tensor:
        """sum over places i, j with the same token of <g_i, g_j>."""
        same = self.tokens.unsqueeze(3) == self.tokens.unsqueeze(2)
        return (torch.matmul(self.g, self.g.transpose(2, 3)) * same).sum((2, 3))

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

    def descend(self, stack: Stack, rate: float) -> None:
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


def _square_sum(value: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(value, dim=2)
    return norms.square_()


def _finite(value: Tensor) -> Tensor:
    return torch.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)
