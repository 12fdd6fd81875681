"""What a private mechanism releases, written out by its definition for tests to compare with."""

import math
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from accord.core.params import Params


def coarse_step(std: float) -> float:
    """The step of the grid that released numbers lie on."""
    return 2.0 ** math.floor(math.log2(std)) * 2.0**-12


def widened(std: float, sensitivity: float, numbers: int) -> float:
    """The noise that a sum gets which rounding may move by sqrt(numbers) steps of 2^-20 times it."""
    return std / (1 - std / sensitivity * math.sqrt(numbers) / 2**20)


def released(total: Params, noise: Params, std: float) -> Params:
    """Sum and noise in whole fine steps, added exactly, and rounded to whole coarse ones."""
    return {name: _released(value, noise[name], std) for name, value in total.items()}


def _released(total: Tensor, noise: Tensor, std: float) -> Tensor:
    coarse = coarse_step(std)
    fine = Fraction(coarse / 256)
    pairs = zip(total.reshape(-1).tolist(), noise.reshape(-1).tolist(), strict=True)
    steps = [round(Fraction(a) / fine) + round(Fraction(b) / fine) for a, b in pairs]
    rounded = np.array([float(round(Fraction(step, 256)) * Fraction(coarse)) for step in steps])
    return torch.from_numpy(rounded).to(total.dtype).view(total.shape)
