"""Builds the program of a run across sites, from the study's schema and from what the sites stated of their rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from accord.config.schema import Study
from accord.core.params import Params
from accord.core.timing import Timed
from accord.data.federated import ClientRows, FederatedData
from accord.data.sources.sites import stand_in
from accord.engines.federation.engine import Federation
from accord.engines.federation.works import works_of
from accord.orchestration.requester_plan import requester_plan
from accord.orchestration.site_requests import Asked
from accord.program import client_work, registry, study_task
from accord.program.base import Program
from accord.program.local import ClientWork


@dataclass(frozen=True)
class SiteProgram:
    """A program and the engine that it runs on.

    Attributes:
        federated: clients of the stated sizes, without any row of theirs.
        work: client work as the requester knows it.
        program: the federated algorithm.
        engine: asks the sites.
        initial: the model's first parameters.
    """

    federated: FederatedData
    work: ClientWork
    program: Program
    engine: Federation
    initial: Params


def build(study: Study, asked: Asked, device: torch.device, timed: Timed) -> SiteProgram:
    """Builds the program, whose model is on `device`.

    Raises:
        RequestError: network, program and privacy do not go together, or not across sites.
    """
    data, plans = stand_in(asked.data), asked.plans
    sizes = np.array([plan.rows for plan in plans], dtype=np.int64)
    registry.check_population(study, len(plans))
    task = study_task.make_task(study.model, data, study.seed, study.training)
    work = client_work.make_work(study.training, task, requester_plan(study, plans), study.program.rounds)
    program = registry.make_program(study, work, sizes)
    initial = {key: value.to(device) for key, value in task.init(work.dtype).items()}
    works = works_of(program, initial, len(plans))
    names = asked.job.sites
    federated = FederatedData(data, _stated(sizes, names), _stated(np.zeros_like(sizes), names))
    return SiteProgram(
        federated, work, program, Federation(asked.calls, works, asked.engine.shard_size, timed), initial
    )


def _stated(sizes: Any, names: tuple[str, ...]) -> ClientRows:
    """Returns clients of these sizes without any row of theirs."""
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return ClientRows(np.zeros(0, dtype=np.int64), offsets, names)
