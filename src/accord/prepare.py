"""A study made ready to run: everything that can be refused is refused here, before anything is written.

The composition root in two halves: this one builds values and touches no disk but the data's; `run` executes
them and writes records. (The house plan had one `run.py`; "nothing half-written" is easier to see, and to
test, when the half that can say no cannot write.)
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from accord.config.engine import EngineSection, SequentialEngine, VectorisedEngine
from accord.config.schema import Study
from accord.data.federated import DataSet, FederatedData
from accord.data.load import deal, load_data
from accord.engines.sequential import Sequential
from accord.engines.vectorised import Vectorised
from accord.errors import PrivacyError, StudyError
from accord.fairness.groups import Grouping
from accord.models.build import build
from accord.params import Params
from accord.privacy.ledger import Ledger
from accord.program.base import Engine, Program
from accord.program.build import check_cohort, make_plan, make_program, make_work
from accord.program.evaluate import groupings, positive_label
from accord.program.local import ClientWork
from accord.streams import Streams, bind
from accord.task import Task
from accord.timing import Timed, untimed


@dataclass(frozen=True)
class Prepared:
    """A study and all it is made of.

    Attributes:
        study: as resolved.
        name: what the study is called in reports.
        federated: rows and who holds them.
        work: client work, with the task and the privacy plan.
        program: the federated algorithm.
        engine: where client work runs.
        ledger: accounts with nothing spent; None without privacy.
        streams: the run's named streams.
        initial: the model's first parameters, on the engine's device.
        groups: sensitive groups of the test rows, by column.
        positive: the label that counts as selected, None where there is none.
        fingerprint: of mechanism, data and who holds what; a run is taken up only where it is the same.
    """

    study: Study
    name: str
    federated: FederatedData
    work: ClientWork
    program: Program
    engine: Engine
    ledger: Ledger | None
    streams: Streams
    initial: Params
    groups: Mapping[str, Grouping]
    positive: int | None
    fingerprint: str

    @property
    def population(self) -> int:
        """How many clients there are."""
        return len(self.federated.train)


def prepare(
    study: Study, name: str = "study", federated: FederatedData | None = None, timed: Timed = untimed
) -> Prepared:
    """Builds everything a run needs.

    Args:
        study: what to run.
        name: what to call it.
        federated: data already loaded and dealt for this study's `data`, `partition` and `seed`.
        timed: a stopwatch.

    Raises:
        RequestError: anything wrong with the study, the data, or their combination.
    """
    with timed("data"):
        federated = federated or deal(load_data(study.data, study.seed), study.partition, study.seed)
    data = federated.data
    sizes = federated.train.sizes()
    check_cohort(study, len(sizes))
    model = study.model
    options = model.model_dump(exclude={"name"})
    classes = len(data.class_names)
    task = Task(build(model.name, options, tuple(data.train.x.shape[1:]), classes, study.seed), classes)
    fingerprint = fingerprint_of(study, federated)
    streams = bind(study.seed, fingerprint)
    with timed("accounting"):
        plan = make_plan(study, sizes, streams)
    if plan is not None:
        _refuse_under_privacy(study, data, task, streams)
    work = make_work(study, task, plan)
    device = pick_device(study.engine.device)
    fairness = study.fairness
    return Prepared(
        study=study,
        name=name,
        federated=federated,
        work=work,
        program=make_program(study, work, sizes),
        engine=make_engine(study.engine, federated, streams, device, timed),
        ledger=None if plan is None else Ledger.open(plan, sizes),
        streams=streams,
        initial={key: value.to(device) for key, value in task.init(work.dtype).items()},
        groups=groupings(data, fairness.groups) if fairness else {},
        positive=positive_label(fairness.positive, classes) if fairness else None,
        fingerprint=fingerprint,
    )


def _refuse_under_privacy(study: Study, data: DataSet, task: Task, streams: Streams) -> None:
    if data.derived:
        raise PrivacyError(
            f"data {data.name}: {', '.join(data.derived)} would be read off the training rows, which no noise covers; "
            "let the function return class_names"
        )
    x = data.train.x
    if task.remembers(tuple(x.shape[1:]), streams("trial", 0, 0), tokens=not x.is_floating_point()):
        raise PrivacyError(
            f"model {study.model.name}: the network remembers rows it has seen, so clipping one sample or client does "
            "not bound what it changes; make forward depend on its input and parameters alone"
        )


def fingerprint_of(study: Study, federated: FederatedData) -> str:
    """A digest of what decides a run's result: the study but for how it is run and judged, the training rows,
    and who holds them."""
    digest = hashlib.blake2b(digest_size=16)
    meaning = study.model_dump(mode="json", exclude={"engine", "evaluation", "fairness"})
    digest.update(json.dumps(meaning, sort_keys=True).encode())
    table, shares = federated.data.train, federated.train
    for array in (table.x.contiguous().numpy(), table.y.contiguous().numpy(), shares.order, shares.offsets):
        digest.update(str((array.dtype, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def make_engine(
    section: EngineSection, federated: FederatedData, streams: Streams, device: torch.device, timed: Timed = untimed
) -> Engine:
    """The engine the study names."""
    return _ENGINES[type(section)](section, federated, streams, device, timed)


def _sequential(
    section: SequentialEngine, federated: FederatedData, streams: Streams, device: torch.device, timed: Timed
) -> Engine:
    return Sequential(federated, streams, section.shard_size, device, timed)


def _vectorised(
    section: VectorisedEngine, federated: FederatedData, streams: Streams, device: torch.device, timed: Timed
) -> Engine:
    return Vectorised(federated, streams, section.shard_size, device, section.threads, section.chunk_size, timed)


_ENGINES: dict[type, Callable[[Any, FederatedData, Streams, torch.device, Timed], Engine]] = {
    SequentialEngine: _sequential,
    VectorisedEngine: _vectorised,
}


def pick_device(name: str) -> torch.device:
    """`auto` takes CUDA where present, else the CPU.

    Raises:
        StudyError: cuda was asked for and there is none.
    """
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise StudyError("engine.device cuda: this machine has no CUDA device; use auto or cpu")
    return torch.device("cuda" if name != "cpu" and present else "cpu")


@contextmanager
def reproducible_arithmetic() -> Iterator[None]:
    """One intra-operation thread while a run computes, then what was set before.

    With more, how a sum is split depends on the machine's cores, and so do its last bits.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def versions() -> dict[str, str]:
    """What a reader needs to repeat the figures: versions and the machine's kind."""
    from importlib.metadata import version

    names = ("accord", "torch", "numpy", "dp-accounting", "scikit-learn")
    return {name: version(name) for name in names} | {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
