"""The data of a run: read or in memory, dealt, and what privacy asks to be stated."""

from dataclasses import replace

import pytest
import torch

from accord.config.data import InMemoryData, SyntheticData
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
