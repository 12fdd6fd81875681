"""A user's own networks, as `model.function` names them."""

import torch
from torch import Tensor, nn


def with_batch_norm(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(input_shape[0], 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))


def explosive(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """A deep linear network: it diverges at any learning rate worth the name."""
    return nn.Sequential(
        *[nn.Linear(input_shape[0], input_shape[0]) for _ in range(6)], nn.Linear(input_shape[0], classes)
    )


class Rememberer(nn.Module):
    """Scales its input by a running mean that it keeps as a plain attribute, past every buffer."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)
        self.mean = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean()
        return self.linear(x - self.mean)  # type: ignore[no-any-return]


def remembers(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return Rememberer(input_shape[0], classes)


class SelfWriter(nn.Module):
    """Writes its input into a parameter while it runs."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)
        self.memory = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        self.memory.data.copy_(x.detach().mean(0) * 100)
        return self.linear(x) + 0 * self.memory.sum()  # type: ignore[no-any-return]


def writes_itself(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return SelfWriter(input_shape[0], classes)


def with_embedding(input_shape: tuple[int, ...], classes: int, vocabulary: int = 12) -> nn.Module:
    """Takes tokens; layers that the vectorised engine has kernels for."""
    return nn.Sequential(nn.Embedding(vocabulary, 6), nn.Flatten(), nn.Linear(6 * input_shape[0], classes))


class BagOfTokens(nn.Module):
    """The mean of a row's embedded tokens: no `nn.Sequential`, so it runs under vmap."""

    def __init__(self, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 6)
        self.linear = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.embedding(x).mean(dim=1))  # type: ignore[no-any-return]


def bag_of_tokens(input_shape: tuple[int, ...], classes: int, vocabulary: int = 12) -> nn.Module:
    return BagOfTokens(vocabulary, classes)


def reads_tokens(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Embedding(classes, 4), nn.Flatten(), nn.Linear(4 * input_shape[0], classes))


class Branching(nn.Module):
    """Branches on its data, so that no gradient can be mapped over samples."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x if bool(x.sum() > 0) else -x)
        return out


def branches(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return Branching(input_shape[0], classes)


class Spare(nn.Module):
    """Has a layer that it does not use."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)
        self.spare = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)  # type: ignore[no-any-return]


def with_a_spare_layer(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return Spare(input_shape[0], classes)


class Clamped(nn.Module):
    """Keeps its weights within bounds, which they are to begin with."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        self.linear.weight.data.clamp_(-1, 1)
        return self.linear(x)  # type: ignore[no-any-return]


def clamped(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return Clamped(input_shape[0], classes)


def spectral(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Its norm is followed by power iteration, whose vectors are buffers that forward writes."""
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(input_shape[0], classes)))


def renormed(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Embedding(12, 6, max_norm=50.0), nn.Flatten(), nn.Linear(6 * input_shape[0], classes))
