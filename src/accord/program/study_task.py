"""Builds the task of a study: the network it names, built for its data, with its loss."""

from dataclasses import replace

import numpy as np
import torch

from accord.config.model import Model
from accord.config.training import Training
from accord.core.errors import PrivacyError, StudyError
from accord.core.streams import stream
from accord.data.federated import DataSet
from accord.models.build import build
from accord.models.pretrained import pin
from accord.program.custom_parts import custom_loss
from accord.tasks.task import Task


def make_task(model: Model, data: DataSet, seed: int, training: Training | None = None) -> Task:
    """Builds the network for this data, with its loss.

    Args:
        model: the study's `model` section.
        data: gives the shape of one sample, the classes and the number of tokens.
        seed: the study's seed. Initial values come from its stream `model`.
        training: the study's `training` section, which may name a loss. None names none.

    Raises:
        StudyError: the network does not fit the data, or writes its parameters in `forward`.
    """
    options = model.model_dump(exclude={"name"})
    classes, shape, tokens = len(data.class_names), tuple(data.train.x.shape[1:]), data.tokens()
    network = build(model.name, options, shape, classes, seed, tokens=tokens)
    loss = None
    if training is not None and training.loss is not None:
        loss = custom_loss(training.loss, training.loss_settings, classes)
    task = Task(network, classes, loss)
    if tokens is not None:
        _check_tokens(model.name, task, shape, tokens)
    rows = _trial_rows(shape, stream(seed, "rows that the network is tried on"), tokens)
    written = [name for name in task.written(rows) if name not in task.buffers]
    if written:
        raise StudyError(
            f"model {model.name}: its network writes parameter {written[0]!r} in forward, past the optimizer, so that "
            "clients would train otherwise than in PyTorch; make forward read its parameters alone"
        )
    return replace(task, unused=task.unreached(rows))


def _trial_rows(shape: tuple[int, ...], rng: np.random.Generator, tokens: int | None) -> torch.Tensor:
    if tokens is None:
        return torch.from_numpy(rng.standard_normal((2, *shape), dtype=np.float32))
    return torch.from_numpy(rng.integers(tokens, size=(2, *shape)))


def pin_weights(model: Model) -> Model:
    """Adds the digest of the pretrained file to the `model` section, so that a run resumes with the same weights.

    Raises:
        StudyError: the file cannot be read, or its digest differs from the one given.
    """
    return model.model_copy(update=pin(model.pretrained, model.pretrained_sha256))


def _check_tokens(name: str, task: Task, shape: tuple[int, ...], tokens: int) -> None:
    """Refuses a network whose embedding is too small for the data's highest token."""
    try:
        with torch.no_grad():
            task.losses(task.init(), torch.full((1, *shape), tokens - 1), torch.zeros(1, dtype=torch.int64))
    except IndexError as error:
        raise StudyError(
            f"model {name}: its network has no place for token {tokens - 1}, the highest of the data; "
            f"make its embedding {tokens} or larger"
        ) from error


def check_stateless(name: str, task: Task, data: DataSet, rng: np.random.Generator) -> None:
    """Refuses a network whose output depends on rows it has seen before, or that writes its buffers.

    Args:
        name: the network's name.
        task: the task with the network.
        data: gives the shape of one sample.
        rng: draws the rows it is tried on.

    Raises:
        PrivacyError: the network remembers rows, or writes buffers in `forward`.
    """
    shape = tuple(data.train.x.shape[1:])
    if task.remembers(shape, rng, tokens=data.train.holds_tokens):
        raise PrivacyError(
            f"model {name}: the network remembers rows it has seen, so clipping one sample or client does "
            "not bound what it changes; make forward depend on its input and parameters alone"
        )
    written = () if task.keeps_statistics() else task.written(_trial_rows(shape, rng, data.tokens()))
    if written:  # running statistics have a refusal of their own
        raise PrivacyError(
            f"model {name}: the network writes {written[0]!r} in forward, which no noise covers and no client sends "
            "under privacy; make forward depend on its input and parameters alone"
        )
