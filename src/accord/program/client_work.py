"""Client work from the study's `training` section."""

import torch

from accord.config.training import Training
from accord.privacy.plan import PrivacyPlan
from accord.program.local import ClientWork
from accord.program.optimizers import Optimizer, adam, sgd
from accord.tasks.task import Task

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def batch_size(training: Training) -> int | None:
    """Rows of a local step; None for all of a client's."""
    return None if training.batch_size == "full" else training.batch_size


def make_optimizer(training: Training) -> Optimizer:
    """The local optimiser the study names."""
    if training.optimizer == "adam":
        return adam(training.learning_rate, training.beta1, training.beta2, training.weight_decay)
    return sgd(training.learning_rate, training.momentum, training.weight_decay)


def make_work(training: Training, task: Task, plan: PrivacyPlan | None) -> ClientWork:
    """What each client does in a round."""
    epochs = None if training.local_steps is not None else training.local_epochs or 1
    return ClientWork(
        task=task,
        optimizer=make_optimizer(training),
        batch_size=batch_size(training),
        local_epochs=epochs,
        local_steps=training.local_steps,
        plan=plan,
        dtype=DTYPES[training.dtype],
    )
