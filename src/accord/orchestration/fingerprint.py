"""What makes two runs the same run: a digest of everything that decides a run's result."""

import hashlib
import json

from accord.config.model import CustomModel
from accord.config.schema import Study
from accord.core.plugins import source_of
from accord.data.federated import FederatedData
from accord.orchestration.charging import add_rows
from accord.tasks.task import Task

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
