"""`Prepared`: a study and all it is made of, as one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass

from accord.config.schema import Study
from accord.core.params import Params
from accord.core.streams import Streams
from accord.data.federated import FederatedData
from accord.fairness.groups import Grouping
from accord.privacy.ledger import Ledger
from accord.program.base import Engine, Program
from accord.program.local import ClientWork
from accord.records.ledger_file import Entry
from accord.tasks.base import Score


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
        metrics: scores of the user's own.
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

    @property
    def population(self) -> int:
        """How many clients there are."""
        return len(self.federated.train)
