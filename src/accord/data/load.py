"""From the study's settings to data: `load_data` reads a data set, `deal` deals it to clients."""

from collections.abc import Callable, Mapping
from typing import Any

from accord.config.data import AdultData, CustomData, Data, DigitsData, FashionMnistData, MnistData, SyntheticData
from accord.config.partition import Partition
from accord.data.federated import DataSet, FederatedData
from accord.data.partition import deal_test, partition
from accord.data.sources.adult import load_adult
from accord.data.sources.custom import load_custom
from accord.data.sources.digits import load_digits
from accord.data.sources.idx import load_fashion_mnist, load_mnist
from accord.data.sources.synthetic import load_synthetic

_SOURCES: Mapping[type, Callable[[Any, int], DataSet]] = {
    DigitsData: lambda settings, seed: load_digits(settings),
    MnistData: lambda settings, seed: load_mnist(settings),
    FashionMnistData: lambda settings, seed: load_fashion_mnist(settings),
    AdultData: lambda settings, seed: load_adult(settings),
    SyntheticData: load_synthetic,
    CustomData: lambda settings, seed: load_custom(settings),
}


def load_data(settings: Data, seed: int) -> DataSet:
    """Reads or draws the data set that `settings` names.

    Args:
        settings: the study's `data` section.
        seed: the study's seed; only drawn data depends on it.

    Raises:
        DataError: data is missing, truncated, mislabelled or of the wrong shape.
        StudyError: a function named by the study is not found.

    >>> from accord.config.data import SyntheticData
    >>> len(load_data(SyntheticData(name="synthetic", train_rows=30), seed=0).train)
    30
    """
    return _SOURCES[type(settings)](settings, seed)


def deal(data: DataSet, settings: Partition, seed: int) -> FederatedData:
    """Deals training and test rows to clients; see `partition` and `deal_test`.

    Raises:
        DataError: the partition cannot be made of these rows, or leaves a client without any.
        StudyError: `partition_by` names no column.

    >>> from accord.config.data import SyntheticData
    >>> from accord.config.partition import IidPartition
    >>> data = load_data(SyntheticData(name="synthetic", train_rows=30, test_rows=12), seed=0)
    >>> dealt = deal(data, IidPartition(name="iid", num_partitions=3), seed=0)
    >>> dealt.train.sizes().tolist(), dealt.test.sizes().sum().tolist()
    ([10, 10, 10], 12)
    """
    train = partition(settings, data.train, seed)
    return FederatedData(data, train, deal_test(settings, data.train, train, data.test, seed))
