"""Two runs share a fingerprint only where they are the same run."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from accord.config.schema import Study
from accord.core.streams import NOISE
from accord.orchestration.fingerprint import fingerprint_of
from accord.orchestration.prepare import prepare

SAMPLE = {"unit": "sample", "epsilon": 3.0, "delta": 1e-4}


def test_noise_is_independent_where_mechanism_or_data_differ(small_study: Callable[..., Study]) -> None:
    """At one seed, two runs' noise would cancel if it depended on the seed alone."""
    base = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-4}
    other_data = {"name": "synthetic", "train_rows": 300, "test_rows": 120, "features": 6, "separation": 2.1}
    studies = [
        small_study(privacy=base),
        small_study(privacy=base | {"clip_norm": 64.0}),
        small_study(privacy=base, data=other_data | {"classes": 3}),
    ]
    draws = [prepare(study).streams(NOISE, 1, 0).standard_normal(1000) for study in studies]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(draws[a], draws[b])[0, 1]) < 0.15
    same = prepare(small_study(privacy=base, evaluation={"every": 2}, fairness=None)).streams(NOISE, 1, 0)
    assert (same.standard_normal(1000) == draws[0]).all()  # how it is judged changes no noise
    rows = [prepare(study).streams("rows", 1, 0).random() for study in studies]
    assert rows[0] == rows[1] == rows[2]


def test_an_edited_network_of_ones_own_draws_other_noise(small_study: Callable[..., Study], tmp_path: Path) -> None:
    """Two models under one noise would differ by what no noise covers."""
    study = small_study(model={"name": "custom", "function": "edited_net:make"}, privacy=SAMPLE)
    source = (
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, n, k):\n"
        "        super().__init__()\n"
        "        self.linear = nn.Linear(n, k)\n"
        "    def forward(self, x):\n"
        "        return self.linear(x * FACTOR)\n"
        "def make(input_shape, classes):\n"
        "    return Net(input_shape[0], classes)\n"
    )
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        for factor in ("1", "-1"):
            (tmp_path / "edited_net.py").write_text(source.replace("FACTOR", factor))
            patch.delitem(sys.modules, "edited_net", raising=False)
            found.append(prepare(study).fingerprint)
    assert found[0] != found[1]


def test_other_first_values_draw_other_noise(small_study: Callable[..., Study], tmp_path: Path) -> None:
    study = small_study(privacy=SAMPLE)
    prepared = prepare(study)
    task = prepared.work.task
    before = fingerprint_of(study, prepared.federated, task)
    with torch.no_grad():
        next(task.model.parameters()).add_(1.0)
    assert fingerprint_of(study, prepared.federated, task) != before
