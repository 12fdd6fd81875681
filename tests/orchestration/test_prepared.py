"""A study made ready is one frozen value."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest

from accord.config.schema import Study
from accord.orchestration.prepare import prepare


def test_the_population_is_the_clients_with_rows_and_nothing_is_replaced(small_study: Callable[..., Study]) -> None:
    prepared = prepare(small_study(partition={"name": "iid", "num_partitions": 7}))
    assert prepared.population == 7
    with pytest.raises(FrozenInstanceError):
        prepared.name = "other"  # type: ignore[misc]
