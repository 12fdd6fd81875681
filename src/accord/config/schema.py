"""The study file's sections as frozen values. Unknown keys are refused; see `load` for the messages.

A section names its variety with `name` (`privacy` with `unit`); the rest of the section is that variety's
settings. What can be judged from the file alone is judged here; what needs the data (an empty client,
delta against n) is judged where the data is known.
"""

from pydantic import model_validator

from accord.config.base import Section, Whole
from accord.config.data import Data
from accord.config.engine import Engine, VectorisedEngine
from accord.config.judging import Evaluation, Fairness
from accord.config.model import MlpModel, Model
from accord.config.partition import IidPartition, Partition
from accord.config.privacy import ClientPrivacy, Privacy
from accord.config.program import FedAvgProgram, Program
from accord.config.training import Training


class Study(Section):
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
    fairness: Fairness | None = None
    evaluation: Evaluation = Evaluation()
    engine: Engine = VectorisedEngine(name="vectorised")
    seed: Whole = 0

    @model_validator(mode="after")
    def _possible(self) -> "Study":
        if isinstance(self.privacy, ClientPrivacy):
            if not isinstance(self.program, FedAvgProgram):
                raise ValueError(  # noqa: TRY004 - pydantic reports ValueError as the study's fault
                    f"privacy.unit client needs a noised sum; program {self.program.name} has none, use fedavg"
                )
            if self.program.weights == "size" and self.program.weight_cap is None:
                raise ValueError(
                    "privacy.unit client with program.weights size has no bound on a client's weight; "
                    "set program.weights to uniform or give program.weight_cap"
                )
        return self
