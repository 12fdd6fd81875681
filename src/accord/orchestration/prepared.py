"""Defines `Prepared`: a study and everything built from it, as one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from accord.config.schema import Study
from accord.core.params import Params
from accord.core.streams import Streams
from accord.core.user_code import functions_in, read_code
from accord.data.federated import FederatedData
from accord.fairness.groups import Grouping
from accord.orchestration.site_run import SiteRun
from accord.privacy.ledger import Ledger
from accord.program.base import Engine, Program
from accord.program.local import ClientWork
from accord.records.ledger_file import Entry
from accord.tasks.base import Score


@dataclass(frozen=True)
class Prepared:
    """A study and everything built from it.

    Attributes:
        study: the resolved study.
        name: the study's name in reports.
        federated: the rows and their assignment to clients. Rows held out for early stopping are no longer test rows.
        work: client work, with the task and the privacy plan.
        program: the federated algorithm.
        engine: where client work runs.
        ledger: accounts with nothing spent by this run, or None without privacy.
        streams: the run's named streams.
        initial: the model's first parameters, on the engine's device.
        groups: sensitive groups of the test rows, by column.
        positive: the label that counts as selected, or None where there is none.
        fingerprint: a digest of the mechanism, the data and the rows of each client. A run is resumed only where it is
            the same.
        entry: the run's entry in a joint ledger, or None where it has none.
        metrics: user-defined scores.
        sites: the run as its sites see it, or None where all clients are in this process.
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
    metrics: tuple[Score, ...] = ()
    sites: SiteRun | None = None

    @cached_property
    def code(self) -> str:
        """The digest of all files that the user's own functions run, as they were when the run began."""
        return read_code(functions_in(self.study.model_dump(mode="json"))).digest

    @property
    def device(self) -> torch.device:
        """Where the run computes."""
        return next(iter(self.initial.values())).device

    @property
    def has_twin(self) -> bool:
        """Whether the same study is trained without privacy, too."""
        return self.study.evaluation.twin and self.ledger is not None

    @property
    def population(self) -> int:
        """The number of clients."""
        return len(self.federated.train)
