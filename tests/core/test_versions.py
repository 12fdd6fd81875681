"""Versions in a record are those that ran."""

import numpy as np
import torch

import accord
from accord.core.versions import versions


def test_versions_are_those_imported() -> None:
    found = versions()
    assert found["accord"] == accord.__version__
    assert found["torch"] == torch.__version__
    assert found["numpy"] == np.__version__
