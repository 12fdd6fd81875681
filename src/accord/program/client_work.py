"""Builds client work from the study's `training` section."""

from functools import cache

import torch

from accord.config.training import Schedule, Training
from accord.core.errors import PrivacyError
from accord.privacy.plan import PrivacyPlan
from accord.program.custom_parts import custom_optimizer, loss_trial, optimizer_trial
from accord.program.local import ClientWork
from accord.program.optimizers import Optimizer, adam, adamw, sgd
from accord.program.schedules import make_factor
from accord.tasks.task import Task

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def batch_size(training: Training) -> int | None:
    """Returns the rows of a local step, or None for all rows of a client."""
    return None if training.batch_size == "full" else training.batch_size


def make_optimizer(training: Training, factor: float = 1.0) -> Optimizer:
    """Builds the local optimiser that the study names, at `factor` times its learning rate.

    Raises:
        StudyError: a user-defined optimiser breaks its contract.
    """
    rate = factor * training.learning_rate
    if training.optimizer == "sgd":
        return sgd(rate, training.momentum, training.weight_decay)
    if training.optimizer in ("adam", "adamw"):
        make = adam if training.optimizer == "adam" else adamw
        return make(rate, training.beta1, training.beta2, training.weight_decay)
    return custom_optimizer(training.optimizer, rate, training.optimizer_settings)


def make_work(training: Training, task: Task, plan: PrivacyPlan | None, rounds: int = 1) -> ClientWork:
    """Builds what each client does in a round.

    Args:
        training: the study's section.
        task: the task with its network.
        plan: the privacy plan, or None without privacy.
        rounds: the number of rounds of the whole run, which learning-rate schedules depend on.

    Raises:
        StudyError: a user-defined function breaks its contract.
        PrivacyError: a user-defined optimiser does not state the plan's unit.
    """
    optimizer = make_optimizer(training)
    if plan is not None and plan.unit not in optimizer.units:
        raise PrivacyError(
            f"training.optimizer {training.optimizer!r} does not state that it composes with privacy.unit {plan.unit}; "
            "let it return Optimizer(..., units=...), or use a built-in optimizer"
        )
    factor = make_factor(training.schedule or Schedule(), rounds)

    @cache  # rounds of one rate share an optimiser, so that engines need not rebuild their kernels
    def at_rate(share: float) -> Optimizer:
        return make_optimizer(training, share)

    return ClientWork(
        task=task,
        optimizer=optimizer,
        batch_size=batch_size(training),
        local_epochs=None if training.local_steps is not None else training.local_epochs or 1,
        local_steps=training.local_steps,
        plan=plan,
        dtype=DTYPES[training.dtype],
        optimizer_at=None if training.constant_rate else lambda number: at_rate(factor(number)),
    )


def trial_values(training: Training, task: Task, rounds: int) -> dict[str, torch.Tensor]:
    """What the user-defined loss, optimiser and schedule give for fixed arguments; empty without such functions.

    A function may read numbers from a file. The values show a change there that its source does not.

    Args:
        training: the study's section.
        task: the task with its loss.
        rounds: the number of rounds of the whole run.

    Raises:
        StudyError: a user-defined function breaks its contract.
    """
    found: dict[str, torch.Tensor] = {}
    if training.loss is not None and task.loss is not None:
        found["loss"] = loss_trial(task.loss, task.classes)
    if ":" in training.optimizer:
        after = optimizer_trial(make_optimizer(training))
        found |= {f"optimizer/{name}": value for name, value in after.items()}
    if training.schedule is not None and ":" in training.schedule.name:
        factor = make_factor(training.schedule, rounds)
        found["schedule"] = torch.tensor([factor(number) for number in range(1, rounds + 1)], dtype=torch.float64)
    return found
