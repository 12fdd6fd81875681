"""What `accord run --help` says a study can name."""

import subprocess
import sys
from pathlib import Path

from accord.cli.varieties import varieties


def test_every_section_has_its_names() -> None:
    found = varieties()
    assert set(found["trackers"]) == {"tensorboard", "wandb", "mlflow"}
    assert {"fedavg", "scaffold", "qffl", "krum"} <= set(found["program"])
    assert {"csv", "celeba", "diabetes"} <= set(found["data"])
    assert all(len(names) > 1 for names in found.values())


def test_the_help_lists_them() -> None:
    command = [str(Path(sys.executable).with_name("accord")), "run", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for section, names in varieties().items():
        assert f" {section}: " in said
        for name in names:
            assert name in said
