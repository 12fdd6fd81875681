"""A user's own networks, as `model.function` names them."""

from torch import nn


def with_batch_norm(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(input_shape[0], 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))


def explosive(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """A deep linear network: it diverges at any learning rate worth the name."""
    return nn.Sequential(
        *[nn.Linear(input_shape[0], input_shape[0]) for _ in range(6)], nn.Linear(input_shape[0], classes)
    )
