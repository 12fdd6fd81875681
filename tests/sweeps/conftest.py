"""A small study with a sweep, written as a file with its settings in the order given."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accord.config import yaml_text


@pytest.fixture
def sweep_file(tmp_path: Path) -> Callable[..., Path]:
    """`sweep_file({"seeds": 2}, program=...)`; keyword arguments replace sections."""

    def write(sweep: dict[str, Any], **sections: Any) -> Path:
        base: dict[str, Any] = {
            "data": {"name": "synthetic", "train_rows": 300, "test_rows": 120, "features": 6, "classes": 3},
            "partition": {"name": "iid", "num_partitions": 6},
            "model": {"name": "logistic"},
            "training": {"learning_rate": 0.2, "batch_size": 10},
            "program": {"name": "fedavg", "rounds": 3},
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml_text.write(base | sections | {"sweep": sweep}), encoding="utf-8")
        return path

    return write
