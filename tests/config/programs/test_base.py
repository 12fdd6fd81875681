"""The program section: what cannot go together, and what may."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.programs import Program
from accord.config.programs.fedavg import FedAvgProgram
from accord.config.programs.fedopt import FedOptProgram


def test_their_possible_neighbours_are_taken() -> None:
    assert FedAvgProgram(name="fedavg", cohort_sampling="poisson", cohort_size=3).cohort_size == 3
    assert FedOptProgram(name="fedopt", server_optimizer="yogi", tau=0.01).tau == 0.01
    momentum = FedOptProgram(name="fedopt", server_optimizer="sgd")
    assert FedOptProgram.model_validate(momentum.model_dump()) == momentum  # as a run folder's study.yaml has it


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Program, {"name": "fedavg", "weights": "uniform", "weight_cap": 5}),
        (Program, {"name": "fedavg", "cohort_sampling": "poisson"}),
        (Program, {"name": "fedavg", "rounds": 0}),
        (Program, {"name": "cyclic", "order": "random"}),
        (Program, {"name": "fedopt", "server_optimizer": "sgd", "tau": 0.01}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(values)
