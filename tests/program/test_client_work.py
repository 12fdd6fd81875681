"""Client work is what `training` says."""

from collections.abc import Callable

import pytest
import torch

from accord.config.schema import Study
from accord.program.client_work import make_optimizer, make_work, trial_values
from accord.tasks.task import Task


def test_work_carries_what_training_says(small_study: Callable[..., Study], task: Callable[..., Task]) -> None:
    study = small_study(training={"batch_size": "full", "local_steps": 3, "dtype": "float64"})
    work = make_work(study.training, task(), None)
    assert (work.batch_size, work.local_epochs, work.local_steps, work.dtype) == (None, None, 3, torch.float64)
    assert make_work(small_study().training, task(), None).local_epochs == 1


def test_optimizers_by_name(small_study: Callable[..., Study]) -> None:
    w = {"w": torch.tensor([1.0])}
    adam = make_optimizer(small_study(training={"optimizer": "adam", "learning_rate": 0.5}).training)
    after, _ = adam.update({"w": torch.tensor([100.0])}, adam.init(w), w)
    assert float(after["w"]) == pytest.approx(0.5, abs=1e-6)


def test_built_in_parts_need_no_trial(small_study: Callable[..., Study], task: Callable[..., Task]) -> None:
    training = small_study(
        training={"optimizer": "adam", "learning_rate": 0.5, "schedule": {"name": "cosine"}}
    ).training
    assert trial_values(training, task(), 3) == {}
