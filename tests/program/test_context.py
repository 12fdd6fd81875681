"""Clients weigh what the section says."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from accord.config.schema import Study
from accord.orchestration.prepare import prepare
from accord.program.base import Cohort

WEIGHTS: list[tuple[dict[str, Any], tuple[float, float]]] = [
    ({}, (50 / 300, 250 / 300)),
    ({"weights": "uniform"}, (0.5, 0.5)),
    ({"weight_cap": 100}, (0.5 / 1.5, 1 / 1.5)),
]


@pytest.mark.parametrize(("weights", "shares"), WEIGHTS)
def test_weights_by_size_uniform_and_capped(
    small_study: Callable[..., Study], weights: dict[str, Any], shares: tuple[float, float]
) -> None:
    run = prepare(
        small_study(
            data={"name": "synthetic", "train_rows": 300, "test_rows": 30},
            partition={"name": "size", "partition_sizes": [50, 250]},
            program={"name": "fedavg", "rounds": 1} | weights,
            training={"batch_size": "full", "dtype": "float64"},
        )
    )
    state, _ = run.program.round(run.program.init(run.initial), Cohort(1, (0, 1)), run.engine, run.streams)
    updates = [r.update for r in run.engine.run_cohort(run.work, [0, 1], run.initial, 1)]
    for name, before in run.initial.items():
        expected = shares[0] * updates[0][name] + shares[1] * updates[1][name]
        torch.testing.assert_close(state.params[name] - before, expected, rtol=1e-9, atol=1e-12)
