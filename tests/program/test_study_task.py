"""A study's network over its data."""

import numpy as np
import pytest
import torch

import networks
from accord.config.data import SyntheticData
from accord.config.model import CustomModel, LogisticModel, MlpModel
from accord.core.errors import PrivacyError, StudyError
from accord.data.load import load_data
from accord.program.study_task import check_stateless, make_task
from accord.tasks.task import Task

DATA = load_data(SyntheticData(name="synthetic", train_rows=30, test_rows=12, features=6, classes=3), seed=0)


def test_the_network_fits_the_data() -> None:
    task = make_task(LogisticModel(name="logistic"), DATA, seed=0)
    assert task.logits(task.init(), DATA.train.x[:4].float()).shape == (4, 3)


def test_initial_values_follow_the_seed() -> None:
    model = MlpModel(name="mlp", hidden=(4,))
    one, two, other = (make_task(model, DATA, seed).init() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_network_that_remembers_rows_is_refused() -> None:
    rng = np.random.default_rng(0)
    check_stateless("logistic", make_task(LogisticModel(name="logistic"), DATA, seed=0), DATA, rng)
    task = make_task(CustomModel(name="custom", function="networks:remembers"), DATA, seed=0)
    with pytest.raises(PrivacyError, match="remembers rows it has seen"):
        check_stateless("custom", task, DATA, rng)


@pytest.mark.parametrize(("function", "name"), [("writes_itself", "memory"), ("clamped", r"linear\.weight")])
def test_a_network_that_writes_its_parameters_is_refused(function: str, name: str) -> None:
    """Even where they are within the bounds that it keeps them in."""
    with pytest.raises(StudyError, match=rf"writes parameter '{name}' in forward") as refused:
        make_task(CustomModel(name="custom", function=f"networks:{function}"), DATA, seed=0)
    assert "\n" not in str(refused.value)


def test_an_embedding_with_a_largest_norm_is_refused() -> None:
    with pytest.raises(StudyError, match=r"layer '0' has a max_norm"):
        Task(networks.renormed((6,), 3), 3)


def test_buffers_that_forward_writes_are_refused_under_privacy_alone() -> None:
    task = make_task(CustomModel(name="custom", function="networks:spectral"), DATA, seed=0)
    with pytest.raises(PrivacyError, match=r"writes '0\.parametrizations\.weight\.0\._u' in forward"):
        check_stateless("custom", task, DATA, np.random.default_rng(0))


def test_parameters_that_outputs_do_not_depend_on_are_found() -> None:
    assert make_task(LogisticModel(name="logistic"), DATA, seed=0).unused == ()
    spare = make_task(CustomModel(name="custom", function="networks:with_a_spare_layer"), DATA, seed=0)
    assert spare.unused == ("spare.weight", "spare.bias")
