"""The data of a run: read or in memory, dealt, and what privacy asks to be stated."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from accord.config.data import CsvData, InMemoryData, SyntheticData
from accord.config.imbalance import Imbalance
from accord.config.partition import IidPartition, NaturalPartition
from accord.core.errors import PrivacyError, StudyError
from accord.data.federated import DataSet
from accord.data.in_memory import CLIENT, from_torch
from accord.data.load import load_data
from accord.data.prepare import check_stated, describe_rows, prepare_data

SYNTHETIC = SyntheticData(name="synthetic", train_rows=60, test_rows=20)
IID = IidPartition(name="iid", num_partitions=3)


def rows() -> DataSet:
    return load_data(SYNTHETIC, seed=0)


def test_rows_are_read_and_dealt() -> None:
    federated = prepare_data(SYNTHETIC, IID, None, seed=0)
    assert federated.train.sizes().tolist() == [20, 20, 20]


def test_rows_in_memory_are_dealt_as_they_are() -> None:
    own = rows()
    federated = prepare_data(SYNTHETIC, IID, None, seed=9, rows=own)
    assert federated.data.train.x is own.train.x


def test_a_study_with_data_of_its_own_takes_no_rows() -> None:
    with pytest.raises(StudyError, match="the study's data is synthetic"):
        describe_rows(SYNTHETIC, IID, rows())


def test_something_else_than_rows_is_refused() -> None:
    with pytest.raises(StudyError, match="not a list"):
        describe_rows(InMemoryData(name="in_memory"), IID, [1, 2])  # type: ignore[arg-type]


def test_rows_by_client_stay_with_their_clients() -> None:
    x, y = torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])
    clients = [torch.utils.data.TensorDataset(x, y), torch.utils.data.TensorDataset(x, y)]
    own = from_torch(clients, test=torch.utils.data.TensorDataset(x, y), classes=["a", "b"])
    section = InMemoryData(name="in_memory")
    with pytest.raises(StudyError, match="by client"):
        describe_rows(section, IID, own)
    natural = NaturalPartition(name="natural", partition_by=CLIENT)
    assert describe_rows(section, natural, own).name == "in_memory"


def test_what_is_read_off_training_rows_is_refused() -> None:
    check_stated(rows())
    with pytest.raises(PrivacyError, match="class_names would be read off the training rows"):
        check_stated(replace(rows(), derived=("class_names",)))


def test_columns_of_all_sections_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("age,sex,site,ill\n" + "1,f,a,0\n2,m,b,1\n" * 20)
    csv = {"name": "csv", "path": str(path), "target": "ill", "groups": ("sex", "site")}
    natural = NaturalPartition(name="natural", partition_by="sitte")
    imbalance = Imbalance(group="sx", value="f", share=0.5)
    with pytest.raises(StudyError) as caught:
        prepare_data(CsvData(**csv | {"features": ("aeg",)}), natural, imbalance, 0, groups=("sex*sitee",))
    told = [line.split(": ")[0] for line in caught.value.problems]
    assert told == ["data.features", "partition.partition_by", "imbalance.group", "fairness.groups"]
    for word, line in zip(["age", "site", "sex", "site"], caught.value.problems, strict=True):
        assert f"did you mean {word!r}?" in line
    with pytest.raises(StudyError) as caught:
        prepare_data(CsvData(**csv), natural, None, 0, groups=("label", "sitee"))
    assert [line.split(": ")[0] for line in caught.value.problems] == ["partition.partition_by", "fairness.groups"]
