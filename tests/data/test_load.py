import typing

import pytest
from pydantic import TypeAdapter

from accord.config.data import Data, SyntheticData
from accord.config.partition import IidPartition, Partition
from accord.data import partition as partition_module
from accord.data.load import deal, load_data
from accord.data.registry import BY_SECTION


def varieties(union: object) -> set[type]:
    """The section classes of a discriminated union of the schema."""
    return set(typing.get_args(typing.get_args(union)[0]))


def test_every_data_set_and_partition_of_the_schema_is_served() -> None:
    assert set(BY_SECTION) == varieties(Data)
    assert set(partition_module._RULES) == varieties(Partition)


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_data_without_files_loads_and_is_dealt(name: str) -> None:
    section: Data = TypeAdapter(Data).validate_python({"name": name})
    data = load_data(section, seed=3)
    dealt = deal(data, IidPartition(name="iid", num_partitions=4), seed=3)
    assert data.name == name
    assert dealt.data is data
    assert len(dealt.train) == len(dealt.test) == 4
    assert dealt.train.sizes().sum() == len(data.train)
    assert dealt.test.sizes().sum() == len(data.test)


def test_the_seed_reaches_data_and_partition() -> None:
    section = SyntheticData(name="synthetic", train_rows=50)
    assert not load_data(section, 1).train.x.equal(load_data(section, 2).train.x)
    data = load_data(section, 1)
    iid = IidPartition(name="iid", num_partitions=5)
    assert (deal(data, iid, 1).train.order != deal(data, iid, 2).train.order).any()
