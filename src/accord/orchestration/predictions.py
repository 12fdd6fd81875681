"""Writes `predictions.parquet`: the test rows one by one, with the final model's prediction of each.

Every other record holds counts and sums. This file holds single rows, so a study has to ask for it with
`evaluation.predictions: true`.
"""

import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np

from accord.config.evaluation import Evaluation
from accord.core.errors import StudyError
from accord.data.federated import DataSet
from accord.fairness.groups import Integers
from accord.records.store import write_bytes
from accord.tasks.base import Evaluated

FILE = "predictions.parquet"


def check_predictions(section: Evaluation) -> None:
    """Refuses to start a run whose predictions could not be written.

    Raises:
        StudyError: the package that writes Parquet is missing.
    """
    if section.predictions and importlib.util.find_spec("pyarrow") is None:
        raise StudyError(
            "evaluation.predictions needs the package pyarrow; install it with: pip install 'accord[tables]'"
        )


def write_predictions(folder: Path, data: DataSet, evaluated: Evaluated) -> None:
    """Writes one row for each test row, in the order of the test set.

    The columns `label` and `prediction` hold class names or numbers. The columns `probability.CLASS` hold the
    probability of every class, where there are at most 100. The columns `group.COLUMN` hold the row's group in every
    group column of the data.

    Args:
        folder: the run folder.
        data: the data whose test rows were evaluated.
        evaluated: the final model on them, with probabilities.

    Raises:
        StorageError: the disk is full or refuses the write.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def named(codes: Integers, names: tuple[str, ...]) -> Any:
        # Decoded, so that readers get plain text and no categories.
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names, pa.string())).dictionary_decode()

    columns: dict[str, Any] = {}
    for name, values in (("label", evaluated.targets), ("prediction", evaluated.predictions)):
        columns[name] = named(values, data.class_names) if evaluated.kind.classes else pa.array(values)
    probabilities = evaluated.extra.get("probabilities")
    if probabilities is not None:
        for code, name in enumerate(data.class_names):
            columns[f"probability.{name}"] = pa.array(np.ascontiguousarray(probabilities[:, code]))
    for column, group in data.test.groups.items():
        columns[f"group.{column}"] = named(group.codes, group.names)
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    write_bytes(folder / FILE, out.getvalue())
