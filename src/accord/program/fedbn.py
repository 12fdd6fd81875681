"""Federated averaging of all layers but those that each client keeps for itself.

X. Li, M. Jiang, X. Zhang, M. Kamp, Q. Dou. FedBN: Federated Learning on Non-IID Features via Local Batch
Normalization. ICLR 2021, arXiv 2102.07623, Algorithm 1 (the normalisation layers stay). M. G. Arivazhagan et al.
Federated Learning with Personalization Layers. 2019, arXiv 1912.00818 (the last layers stay).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from torch import nn

from accord.config.programs.fedbn import FedBnProgram
from accord.core.errors import StudyError
from accord.program.base import ClientId, Program
from accord.program.context import ProgramContext
from accord.program.fedavg import fedavg
from accord.program.local import ClientWork
from accord.program.local_rule import LocalRule
from accord.tasks.task import Task

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def own_names(task: Task, patterns: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the names of the parameters and buffers that stay with the client.

    Args:
        task: the task with the network.
        patterns: patterns of names, as `fnmatch` reads them. None takes the normalisation layers.

    Raises:
        StudyError: nothing matches, or nothing is left to send.
    """
    names = (*task.trainable, *task.buffers)
    if patterns is None:
        inside = [name for name, module in task.model.named_modules() if isinstance(module, _NORMS)]
        own = tuple(name for name in names if name.rpartition(".")[0] in inside)
        if not own:
            raise StudyError("program fedbn: the model has no normalisation layer; name layers in program.local_layers")
    else:
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise StudyError(
                    f"program.local_layers: {pattern!r} matches no parameter; the model has {', '.join(names)}"
                )
        own = tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))
    if set(task.trainable) <= set(own):
        raise StudyError("program.local_layers: every layer would stay with its client; leave one to share")
    return own


def fedbn(
    work: ClientWork, weigh: Callable[[ClientId], float], population: int, patterns: Sequence[str] | None = None
) -> Program:
    """Federated averaging of all but the clients' own layers.

    Args:
        work: what each client does.
        weigh: as in `fedavg`.
        population: as in `fedavg`.
        patterns: as in `own_names`.

    Raises:
        StudyError: as in `own_names`.
    """
    return fedavg(replace(work, rule=LocalRule(own=own_names(work.task, patterns))), weigh, population)


def build(section: FedBnProgram, context: ProgramContext) -> Program:
    """Builds the program from its section of a study."""
    return fedbn(context.work, context.weigh(section), context.population, section.local_layers)
