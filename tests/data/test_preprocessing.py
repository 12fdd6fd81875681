"""A model's input from later rows: to the bit what the loader made of the same rows, or refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from accord.config.data import CsvData, DiabetesData, SyntheticData
from accord.core.errors import DataError, RunFolderError
from accord.data.feature_columns import CategoryColumn, NumberColumn
from accord.data.federated import DataSet
from accord.data.frames import frame_of
from accord.data.load import load_data
from accord.data.preprocessing import Preprocessing, TableInput, TensorInput, preprocessing_of
from accord.data.sources.table import load_csv
from accord.data.sources.table_file import open_table

RNG = np.random.default_rng(5)
N = 60
PEOPLE = pd.DataFrame(
    {
        "age": RNG.integers(18, 90, N),
        "debt": np.where(RNG.random(N) < 0.2, np.nan, np.round(RNG.lognormal(6, 2, N), 2)),
        "job": RNG.choice(["cook", "clerk", "guard, night", "?"], N),
        "town": RNG.choice(["Ulm", "Bonn", "Köln"], N),
        "pay": RNG.choice(["low", "high"], N),
    }
)
SECTIONS: list[dict[str, Any]] = [
    {"missing": "value", "fill": {"debt": 100.0, "job": "cook"}},
    {"missing": "category", "fill": {"debt": 1.5}},
    {"missing": "value", "fill": {"debt": 0.0, "job": "guard, night"}, "logarithmic": ["debt"]},
    {"features": ["town", "age"], "ranges": {"age": [0, 120]}, "categories": {"town": ["Ulm", "Bonn", "Köln"]}},
    {"features": ["job", "age"], "categories": {"job": ["?", "cook", "clerk", "guard, night"]}},
    {"groups": ["town"], "features": ["age"], "ranges": {"age": [18, 89]}},
]


def table_of(path: Path, section: dict[str, Any]) -> DataSet:
    PEOPLE.to_csv(path, index=False)
    base = {"name": "csv", "path": str(path), "target": "pay", "categorical": ["job", "town"]}
    return load_csv(CsvData.model_validate(base | section))


def read(path: Path, table: TableInput) -> torch.Tensor:
    file = open_table(path, table.delimiter, table.names)
    table.check_names(file.names, str(path))
    return table.features(file.read(table.number_names(), table.category_names(), table.missing_values))


@pytest.mark.parametrize("section", SECTIONS)
def test_features_of_a_file_are_those_that_the_model_was_trained_on(tmp_path: Path, section: dict[str, Any]) -> None:
    data = table_of(tmp_path / "people.csv", section)
    table = preprocessing_of(data).input
    assert isinstance(table, TableInput)
    again = read(tmp_path / "people.csv", table)
    assert table.shape == data.train.x.shape[1:]
    both = sorted(map(tuple, torch.cat([data.train.x, data.test.x]).tolist()))
    assert sorted(map(tuple, again.tolist())) == both


@pytest.mark.parametrize("section", SECTIONS)
def test_a_frame_in_memory_gives_what_its_file_gives(tmp_path: Path, section: dict[str, Any]) -> None:
    table = preprocessing_of(table_of(tmp_path / "people.csv", section)).input
    assert isinstance(table, TableInput)
    from_file = read(tmp_path / "people.csv", table)
    for rows in (PEOPLE, {name: list(PEOPLE[name]) for name in PEOPLE}):
        assert torch.equal(table.features(frame_of(rows, table, "rows")), from_file)


@pytest.mark.parametrize("section", SECTIONS)
def test_what_is_stored_is_what_is_read_back(tmp_path: Path, section: dict[str, Any]) -> None:
    made = preprocessing_of(table_of(tmp_path / "people.csv", section))
    assert Preprocessing.from_json(made.as_json(), "model.json") == made


def test_built_in_tables_describe_themselves() -> None:
    from sklearn.datasets import load_diabetes

    data = load_data(DiabetesData(name="diabetes", keep_protected=True), seed=0)
    table = preprocessing_of(data).input
    assert isinstance(table, TableInput)
    source = load_diabetes(scaled=False, as_frame=True).data
    x = table.features(frame_of(source, table, "rows"))
    both = sorted(map(tuple, torch.cat([data.train.x, data.test.x]).tolist()))
    assert sorted(map(tuple, x.tolist())) == both


def test_rows_that_are_features_are_tensors() -> None:
    data = load_data(SyntheticData(name="synthetic", train_rows=10, test_rows=5, features=4), seed=0)
    made = preprocessing_of(data)
    assert made == Preprocessing(TensorInput((4,), "float32"), ("0", "1"))
    assert Preprocessing.from_json(made.as_json(), "model.json") == made


TABLE = TableInput(
    (NumberColumn("age", (0.0, 100.0)), CategoryColumn("job", ("cook", "clerk"))), ("pay",), missing_values=("", "NA")
)


@pytest.mark.parametrize(
    ("dtype", "rows", "told"),
    [
        ("uint8", np.full((2, 1, 2, 2), 300), "pixels are whole numbers from 0 to 255"),
        ("uint8", np.full((2, 1, 2, 2), 1.5), "pixels are whole numbers from 0 to 255"),
        (
            "uint8",
            np.zeros((2, 1, 3, 2), dtype=np.uint8),
            r"shape \[2, 1, 3, 2\], but the model takes \[rows, 1, 2, 2\]",
        ),
        ("int64", np.full((2, 1, 2, 2), -1), "tokens are whole numbers"),
        ("float32", np.zeros(4), "but the model takes"),
    ],
)
def test_tensors_of_another_shape_or_type_are_refused(dtype: str, rows: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        TensorInput((1, 2, 2), dtype).tensor(rows, "rows")


def test_tensors_are_given_shape_and_type() -> None:
    pixels = TensorInput((1, 2, 2), "uint8")
    assert pixels.tensor(np.arange(8).reshape(2, 4), "rows").dtype == torch.uint8
    assert pixels.tensor(np.arange(8).reshape(2, 4), "rows").shape == (2, 1, 2, 2)
    assert pixels.tensor(np.full((1, 4), 0.5), "rows").dtype == torch.float32
    assert TensorInput((3,), "int64").tensor([[1.0, 2.0, 3.0]], "rows").dtype == torch.int64
    assert TensorInput((3,), "float32").tensor([[1, 2, 3]], "rows").dtype == torch.float32


@pytest.mark.parametrize("damage", ["input", "classes", "target_range"])
def test_a_damaged_description_is_refused(damage: str) -> None:
    value = {name: each for name, each in Preprocessing(TABLE, ("a", "b")).as_json().items() if name != damage}
    with pytest.raises(RunFolderError, match="damaged"):
        Preprocessing.from_json(value, "model.json")
    with pytest.raises(RunFolderError, match="format 2, but"):
        Preprocessing.from_json({"format": 2}, "model.json")


def test_predictions_of_numbers_are_in_the_targets_unit() -> None:
    outputs = torch.tensor([[0.0], [0.5], [1.25]])
    assert Preprocessing(TABLE, (), "pay", (100.0, 300.0)).predicted(outputs).tolist() == [100.0, 200.0, 350.0]
    assert Preprocessing(TABLE, ()).predicted(outputs).tolist() == [0.0, 0.5, 1.25]
