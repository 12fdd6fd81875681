"""A whole run on the vectorised engine ends where the sequential one does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import accord
from accord.config.schema import Study

SAMPLE = {"unit": "sample", "epsilon": 3.0, "delta": 1e-4}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sample": {"privacy": SAMPLE},
    "batch": {"privacy": SAMPLE | {"unit": "batch"}},
    "client": {
        "privacy": SAMPLE | {"unit": "client", "delta": 1e-2},
        "program": {
            "name": "fedavg",
            "rounds": 4,
            "cohort_size": 3,
            "cohort_sampling": "poisson",
            "weights": "uniform",
        },
    },
    "cyclic": {"program": {"name": "cyclic", "rounds": 3}},
    "ragged": {"partition": {"name": "size", "partition_sizes": [10, 20, 30, 45, 95, 100]}, "privacy": SAMPLE},
}


@pytest.mark.usefixtures("engines_share_draws")
@pytest.mark.parametrize("kind", KINDS)
def test_runs_agree(small_study: Callable[..., Study], tmp_path: Path, kind: str) -> None:
    training = {"learning_rate": 0.2, "batch_size": 10, "dtype": "float64", "momentum": 0.5}
    model = {"name": "mlp", "hidden": [8]}
    ends = []
    for engine in ("sequential", "vectorised"):
        study = small_study(**({"training": training, "model": model} | KINDS[kind]), engine={"name": engine})
        ends.append(accord.run(study, tmp_path / engine))
    slow, fast = ends
    for name, value in slow.params.items():
        torch.testing.assert_close(fast.params[name], value, rtol=1e-9, atol=1e-12)
    for a, b in zip(slow.rounds, fast.rounds, strict=True):
        assert (a.clients, a.samples, a.steps, a.epsilon) == (b.clients, b.samples, b.steps, b.epsilon)
    assert slow.result is not None
    assert fast.result is not None
    assert slow.result["privacy"] == fast.result["privacy"]
