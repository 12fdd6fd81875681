"""A study made ready to run: everything that can be refused is refused here, before anything is written.

The composition root in two halves: this one builds values and touches no disk but the data's; `run` executes
them and writes records. (The house plan had one `run.py`; "nothing half-written" is easier to see, and to
test, when the half that can say no cannot write.)
"""

import hashlib
import json
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from accord.config.data import HandedData
from accord.config.engine import EngineSection, SequentialEngine, VectorisedEngine
from accord.config.model import CustomModel
from accord.config.partition import NaturalPartition
from accord.config.schema import Study
from accord.core.errors import PrivacyError, StudyError
from accord.core.params import Params
from accord.core.plugins import source_of
from accord.core.streams import Streams
from accord.core.task import Task
from accord.core.timing import Timed, untimed
from accord.data.federated import DataSet, FederatedData, refuse_numbers
from accord.data.in_memory import CLIENT
from accord.data.load import deal, load_data
from accord.engines.sequential import Sequential
from accord.engines.stacked.network import stack_network
from accord.engines.vectorised.engine import Vectorised
from accord.fairness.groups import Grouping
from accord.models.build import build
from accord.models.pretrained import pin
from accord.orchestration.charging import add_rows, check_ledger, open_accounts
from accord.privacy import noise
from accord.privacy.ledger import Ledger
from accord.program.attacks import make_attacked, poisoned
from accord.program.base import Engine, Program
from accord.program.build import check_cohort, make_program, make_work
from accord.program.evaluate import groupings, positive_label
from accord.program.fine_tuning import check_clients
from accord.program.local import ClientWork
from accord.program.per_sample_check import check_by_sample
from accord.program.validation import hold_out
from accord.records.ledger_file import Entry, JointLedger
from accord.records.trackers import check_trackers


@dataclass(frozen=True)
class Prepared:
    """A study and all it is made of.

    Attributes:
        study: as resolved.
        name: what the study is called in reports.
        federated: rows and who holds them, those held out for early stopping taken out of the test rows.
        work: client work, with the task and the privacy plan.
        program: the federated algorithm.
        engine: where client work runs.
        ledger: accounts with nothing spent by this run; None without privacy.
        streams: the run's named streams.
        initial: the model's first parameters, on the engine's device.
        groups: sensitive groups of the test rows, by column.
        positive: the label that counts as selected, None where there is none.
        fingerprint: of mechanism, data and who holds what; a run is taken up only where it is the same.
        entry: the run's place in a joint ledger; None where it has none.
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
    entry: Entry | None = None

    @property
    def population(self) -> int:
        """How many clients there are."""
        return len(self.federated.train)


def prepare(
    study: Study,
    name: str = "study",
    federated: FederatedData | None = None,
    timed: Timed = untimed,
    *,
    handed: DataSet | None = None,
    joint: JointLedger | None = None,
) -> Prepared:
    """Builds everything a run needs.

    Args:
        study: what to run.
        name: what to call it.
        federated: data already loaded and dealt for this study's `data`, `partition`, `imbalance` and `seed`.
        timed: a stopwatch.
        handed: rows handed over in Python, for a study whose `data` is `handed`.
        joint: a joint ledger, opened, that the run is to charge.

    Raises:
        RequestError: anything wrong with the study, the data, or their combination.
    """
    check_trackers(study)
    if joint is not None:
        check_ledger(study, joint.path)
    if handed is not None:
        study = _handed(study, handed)
    with timed("data"):
        if federated is None:
            rows = load_data(study.data, study.seed) if handed is None else handed
            federated = deal(rows, study.partition, study.seed, study.imbalance)
    sizes = federated.train.sizes()
    check_cohort(study, len(sizes))
    judging = study.evaluation
    if judging.early_stopping is not None:
        if judging.early_stopping.metric == "accuracy":
            refuse_numbers(federated.data.test, "evaluation.early_stopping.metric accuracy", "set it to loss")
        federated = hold_out(federated, judging.early_stopping.fraction, study.seed)
    if judging.fine_tune is not None:
        check_clients(judging.fine_tune.clients, len(sizes))
    data = federated.data
    model = study.model.model_copy(update=pin(study.model.pretrained, study.model.pretrained_sha256))
    study = study.model_copy(update={"model": model})
    task = _task(study, data)
    fingerprint = fingerprint_of(study, federated, task)
    with timed("accounting"):
        accounts = open_accounts(study, name, federated, fingerprint, joint)
    if accounts.plan is not None:
        _refuse_under_privacy(study, data, task, accounts.streams)
    work = make_work(study, task, accounts.plan)
    if stack_network(task.model, data.train.x.dim() - 1, by_sample=True) is None:  # kernels are known to
        check_by_sample(work, data.train)
    if work.plan is not None:
        with timed("noise"):
            noise.ready()
    device = pick_device(study.engine.device)
    initial = {key: value.to(device) for key, value in task.init(work.dtype).items()}
    fairness = study.fairness
    return Prepared(
        study=study,
        name=name,
        federated=federated,
        work=work,
        program=make_program(study, work, sizes),
        engine=_engine(study, federated, accounts.streams, device, work, initial, timed),
        ledger=accounts.ledger,
        streams=accounts.streams,
        initial=initial,
        groups=groupings(data, fairness.groups) if fairness else {},
        positive=positive_label(fairness.positive, len(data.class_names)) if fairness else None,
        fingerprint=accounts.fingerprint,
        entry=accounts.entry,
    )


_STATED = {
    "custom": "let the function return class_names, and test rows of every value of a group",
    "csv": "give data.ranges and data.categories",
    "handed": "hand over classes",
}
"""How a user states what would be read off the rows."""


def _handed(study: Study, data: DataSet) -> Study:
    """The study with what its file is to say of the rows handed over.

    Raises:
        StudyError: the study has data of its own, or deals clients' rows in another way than they were handed over.
    """
    if not isinstance(data, DataSet):
        kind = type(data).__name__
        raise StudyError(f"data=: hand over what accord.from_datasets or accord.from_torch returns, not a {kind}")
    if not isinstance(study.data, HandedData):
        raise StudyError(f"data= is given, but the study's data is {study.data.name}; make that {{name: handed}}")
    deals = study.partition
    if CLIENT in data.train.groups and not (isinstance(deals, NaturalPartition) and deals.partition_by == CLIENT):
        raise StudyError(
            f"partition {deals.name}: the rows were handed over by client; set it to {{name: natural, partition_by: "
            f"{CLIENT}}}, or hand over one data set"
        )
    about = study.data.about or data.about
    return study.model_copy(update={"data": study.data.model_copy(update={"about": about})})


def _task(study: Study, data: DataSet) -> Task:
    """The study's network over this data, with its loss."""
    options = study.model.model_dump(exclude={"name"})
    classes, shape, tokens = len(data.class_names), tuple(data.train.x.shape[1:]), data.tokens()
    task = Task(build(study.model.name, options, shape, classes, study.seed, tokens=tokens), classes)
    if tokens is not None:
        _check_tokens(study, task, shape, tokens)
    return task


def _check_tokens(study: Study, task: Task, shape: tuple[int, ...], tokens: int) -> None:
    """Refuses a network that has no place for the data's highest token."""
    try:
        with torch.no_grad():
            task.losses(task.init(), torch.full((1, *shape), tokens - 1), torch.zeros(1, dtype=torch.int64))
    except IndexError as error:
        raise StudyError(
            f"model {study.model.name}: its network has no place for token {tokens - 1}, the highest of the data; "
            f"make its embedding {tokens} or larger"
        ) from error


def _refuse_under_privacy(study: Study, data: DataSet, task: Task, streams: Streams) -> None:
    if data.derived:
        raise PrivacyError(
            f"data {data.name}: {', '.join(data.derived)} would be read off the training rows, which no noise covers; "
            f"{_STATED.get(data.name, 'state it in the study')}"
        )
    shape = tuple(data.train.x.shape[1:])
    if task.remembers(shape, streams("trial", 0, 0), tokens=data.train.holds_tokens):
        raise PrivacyError(
            f"model {study.model.name}: the network remembers rows it has seen, so clipping one sample or client does "
            "not bound what it changes; make forward depend on its input and parameters alone"
        )


_NEUTRAL = (("target_kind", "class"), ("target_range", None))
"""Settings of `data` that change nothing at these values: left out of the fingerprint, so that studies from before
there were such settings keep their noise."""


def fingerprint_of(study: Study, federated: FederatedData, task: Task) -> str:
    """A digest of what decides a run's result: the study but for how it is run and judged, the training rows, who
    holds them, and the network: its layers, its first values, and the file of a network of the user's own.

    Two runs that differ in any of these must not share noise: the difference of their models would be free of it.
    """
    digest = hashlib.blake2b(digest_size=16)
    meaning = study.model_dump(mode="json", exclude={"engine", "evaluation", "fairness", "trackers"})
    meaning["data"] = {name: value for name, value in meaning["data"].items() if (name, value) not in _NEUTRAL}
    digest.update(json.dumps(meaning, sort_keys=True).encode())
    digest.update(repr(task.model).encode())
    for name, value in task.init().items():
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().data)
    if isinstance(study.model, CustomModel):
        digest.update(source_of(study.model.function))
    add_rows(digest, federated)
    return digest.hexdigest()


def _engine(
    study: Study,
    federated: FederatedData,
    streams: Streams,
    device: torch.device,
    work: ClientWork,
    initial: Params,
    timed: Timed,
) -> Engine:
    """The engine the study names, ready to work, some of its clients malicious where the study has an attack."""
    clients, cohort = len(federated.train), study.program.cohort_size or len(federated.train)
    rows = sum(work.steps(n) * min(n, work.batch_size or n) for n in federated.train.sizes().tolist())
    samples = study.program.rounds * rows * cohort / max(1, clients)
    rows_of = poisoned(study.attack, federated, streams)
    engine = make_engine(study.engine, rows_of, streams, device, timed, samples)
    if isinstance(engine, Vectorised):
        engine.ready(work, initial, cohort)
    return make_attacked(study.attack, engine, clients, streams, work.plan)


def make_engine(
    section: EngineSection,
    federated: FederatedData,
    streams: Streams,
    device: torch.device,
    timed: Timed = untimed,
    samples: float = math.inf,
) -> Engine:
    """The engine the study names, for a run of about so many training samples."""
    return _ENGINES[type(section)](section, federated, streams, device, timed, samples)


def _sequential(
    section: SequentialEngine,
    federated: FederatedData,
    streams: Streams,
    device: torch.device,
    timed: Timed,
    samples: float,
) -> Engine:
    return Sequential(federated, streams, section.shard_size, device, timed)


def _vectorised(
    section: VectorisedEngine,
    federated: FederatedData,
    streams: Streams,
    device: torch.device,
    timed: Timed,
    samples: float,
) -> Engine:
    return Vectorised(
        federated,
        streams,
        section.shard_size,
        device,
        section.threads,
        section.chunk_size,
        timed,
        section.compile,
        samples,
    )


_ENGINES: dict[type, Callable[[Any, FederatedData, Streams, torch.device, Timed, float], Engine]] = {
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
