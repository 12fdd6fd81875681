"""Accord: one model trained over data that stays with its holders, under differential privacy.

A study says what to run; a run is its execution and its records.

>>> import accord, tempfile
>>> study = accord.Study(
...     data={"name": "synthetic", "train_rows": 200, "test_rows": 100},
...     partition={"name": "iid", "num_partitions": 4},
...     model={"name": "logistic"},
...     program={"name": "fedavg", "rounds": 2},
... )
>>> with tempfile.TemporaryDirectory() as folder:
...     finished = accord.run(study, folder)
>>> finished.result["rounds"], len(finished.rounds)
(2, 2)
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accord.api import budget, compare, export, sweep
    from accord.config.load import load_study
    from accord.config.schema import Study
    from accord.core.errors import (
        AccordError,
        ClientError,
        DataError,
        DivergedError,
        Fault,
        PrivacyError,
        RequestError,
        RunFolderError,
        StoppedEarly,
        StorageError,
        StudyError,
    )
    from accord.data.in_memory import from_datasets, from_torch
    from accord.orchestration.resume_or_start import resume_or_start
    from accord.orchestration.run_folder import Run, load_model, open_run
    from accord.orchestration.runs import resume, run

__version__ = _version("accord")

__all__ = [
    "AccordError",
    "ClientError",
    "DataError",
    "DivergedError",
    "Fault",
    "PrivacyError",
    "RequestError",
    "Run",
    "RunFolderError",
    "StoppedEarly",
    "StorageError",
    "Study",
    "StudyError",
    "__version__",
    "budget",
    "compare",
    "export",
    "from_datasets",
    "from_pandas",
    "from_torch",
    "load_model",
    "load_study",
    "open_run",
    "resume",
    "resume_or_start",
    "run",
    "sweep",
]

_HOMES = {
    "budget": "accord.api",
    "compare": "accord.api",
    "export": "accord.api",
    "sweep": "accord.api",
    "Run": "accord.orchestration.run_folder",
    "Study": "accord.config.schema",
    "from_datasets": "accord.data.in_memory",
    "from_pandas": "accord.data.pandas_frames",
    "from_torch": "accord.data.in_memory",
    "load_model": "accord.orchestration.run_folder",
    "load_study": "accord.config.load",
    "open_run": "accord.orchestration.run_folder",
    "resume": "accord.orchestration.runs",
    "resume_or_start": "accord.orchestration.resume_or_start",
    "run": "accord.orchestration.runs",
}


def __getattr__(name: str) -> Any:
    # Names are imported when first used: `accord --help` need not wait seconds for torch.
    if name not in __all__:
        raise AttributeError(f"module 'accord' has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "accord.core.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
