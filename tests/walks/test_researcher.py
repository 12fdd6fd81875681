"""A researcher's program: FedDyn of docs/extending.md in a file beside the study, on both engines, and compared."""

import json
import shutil
from pathlib import Path

import pytest

from walks.conftest import ROOT, Shell


@pytest.mark.slow
def test_a_program_of_ones_own(shell: Shell, tmp_path: Path) -> None:
    for name in ("feddyn.py", "feddyn.yaml"):
        shutil.copy(ROOT / "examples" / name, tmp_path / name)
    fewer = "--set program.rounds=3 --quiet --json"
    results = {}
    for engine in ("vectorised", "sequential"):
        line = f"accord run feddyn.yaml {fewer} --engine {engine} --set training.dtype=float64 --out {engine}"
        results[engine] = json.loads(shell(line).stdout)
    assert results["vectorised"]["test"]["loss"] == pytest.approx(results["sequential"]["test"]["loss"], rel=1e-9)
    shell(f"accord run feddyn.yaml {fewer} --set program=fedavg --out fedavg")
    compared = json.loads(shell("accord compare vectorised fedavg --json").stdout)
    assert compared
    refused = shell(
        "accord run feddyn.yaml --set privacy.unit=client --set privacy.epsilon=3 --set privacy.delta=1e-4", 2
    )
    assert len(refused.stderr.splitlines()) == 1
