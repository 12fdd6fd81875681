"""From the study's settings to data: `load_data` reads a data set, `deal` assigns it to clients."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from accord.config.data import Data
from accord.config.imbalance import Imbalance
from accord.config.partition import Partition
from accord.data.federated import DataSet, FederatedData
from accord.data.imbalance import imbalanced
from accord.data.left_out import say_left_out
from accord.data.partition import deal_test, partition
from accord.data.registry import BY_SECTION

_cache: ContextVar[list[tuple[Data, int, DataSet]] | None] = ContextVar("cache", default=None)


@contextmanager
def kept_data() -> Iterator[None]:
    """Within this context, `load_data` caches the last data set and returns it again where it would read the same.

    >>> from accord.config.data import DigitsData
    >>> with kept_data():
    ...     load_data(DigitsData(name="digits"), seed=0) is load_data(DigitsData(name="digits"), seed=1)
    True
    """
    token = _cache.set([])
    try:
        yield
    finally:
        _cache.reset(token)


def load_data(settings: Data, seed: int) -> DataSet:
    """Reads or draws the data set that `settings` names.

    Args:
        settings: the study's `data` section.
        seed: the study's seed. Only drawn data depends on it.

    Raises:
        DataError: data is missing, truncated, mislabelled or of the wrong shape.
        StudyError: a function named by the study is not found.

    >>> from accord.config.data import SyntheticData
    >>> len(load_data(SyntheticData(name="synthetic", train_rows=30), seed=0).train)
    30
    """
    source = BY_SECTION[type(settings)]
    cache = _cache.get()
    if cache is None:
        return _loaded(settings, seed)
    for known, known_seed, data in cache:
        if known == settings and (known_seed == seed or not source.seeded):
            return data
    cache.clear()  # before reading: two large data sets need not fit at once
    cache.append((settings, seed, _loaded(settings, seed)))
    return cache[0][2]


def _loaded(settings: Data, seed: int) -> DataSet:
    data = BY_SECTION[type(settings)].load(settings, seed)
    say_left_out(data)
    return data


def deal(data: DataSet, settings: Partition, seed: int, imbalance: Imbalance | None = None) -> FederatedData:
    """Assigns training and test rows to clients, see `partition` and `deal_test`.

    Args:
        data: all rows.
        settings: the study's `partition` section.
        seed: the study's seed.
        imbalance: the study's `imbalance` section, which selects rows before any is assigned. None keeps all.

    Raises:
        DataError: the partition cannot be made of these rows, or leaves a client without any, or a group has too few
            rows.
        StudyError: `partition_by`, or the imbalance, names no column of the data.

    >>> from accord.config.data import SyntheticData
    >>> from accord.config.partition import IidPartition
    >>> data = load_data(SyntheticData(name="synthetic", train_rows=30, test_rows=12), seed=0)
    >>> dealt = deal(data, IidPartition(name="iid", num_partitions=3), seed=0)
    >>> dealt.train.sizes().tolist(), dealt.test.sizes().sum().tolist()
    ([10, 10, 10], 12)
    """
    if imbalance is not None:
        data = imbalanced(data, imbalance, seed)
    train = partition(settings, data.train, seed)
    return FederatedData(data, train, deal_test(settings, data.train, train, data.test, seed))
