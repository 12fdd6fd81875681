"""The study file's sections as frozen values. Unknown keys are refused, see `load` for the messages.

A section names its variety with `name` (`privacy` with `unit`). The rest of the section is that variety's settings.
What can be checked from the file alone is checked here. What needs the data (an empty client, delta against n) is
checked where the data is known.
"""

from pydantic import Field, model_validator

from accord.config.attack import Attack
from accord.config.compose import combination
from accord.config.data import Data
from accord.config.engine import Engine, VectorisedEngine
from accord.config.evaluation import Evaluation, Fairness
from accord.config.imbalance import Imbalance
from accord.config.model import MlpModel, Model
from accord.config.partition import IidPartition, Partition
from accord.config.privacy import Privacy
from accord.config.programs import FedAvgProgram, Program
from accord.config.study_base import StudyBase
from accord.config.sweep import Seed, Sweep
from accord.config.tracking import TensorBoardTracking, Trackers
from accord.config.training import Training


class Study(StudyBase):  # type: ignore[metaclass] # mypy takes the metaclass to be pydantic's own
    """A study: what to run. `accord run --print-schema` prints this as JSON Schema.

    >>> study = Study(data={"name": "digits"}, partition={"name": "iid", "num_partitions": 5})
    >>> study.program.name, study.privacy
    ('fedavg', None)
    """

    data: Data
    partition: Partition = IidPartition(name="iid")
    model: Model = MlpModel(name="mlp")
    training: Training = Training()
    program: Program = FedAvgProgram(name="fedavg")
    privacy: Privacy | None = None
    attack: Attack | None = None
    imbalance: Imbalance | None = None
    fairness: Fairness | None = None
    evaluation: Evaluation = Evaluation()
    engine: Engine = VectorisedEngine(name="vectorised")
    trackers: Trackers = (TensorBoardTracking(name="tensorboard"),)
    seed: Seed = 0
    # Never dumped: a run is what it is whichever sweep asked for it, so no digest may depend on this.
    sweep: Sweep | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _possible(self) -> "Study":
        if self.imbalance is not None and self.evaluation.early_stopping is not None:
            raise ValueError(
                "evaluation.early_stopping would take rows out of the test set that imbalance keeps fixed and "
                "balanced; set one of the two to null"
            )
        if self.privacy is not None and self.evaluation.fine_tune is not None:
            raise ValueError(
                f"evaluation.fine_tune trains without noise, and what it tells is no part of what privacy.unit "
                f"{self.privacy.unit} accounts for; leave one of the two out"
            )
        by_site = self.partition.name == "natural" and self.partition.partition_by == "site"
        if self.data.name == "sites" and not by_site:
            raise ValueError("data sites has one client for each site; leave partition out")
        for refused in (combination(self.program, self.privacy), self.program.refuse_training(self.training)):
            if refused is not None:
                raise ValueError(refused)
        return self
