"""Says how many rows of a table are left out because of missing values."""

from accord.core.output import say
from accord.data.federated import DataSet


def say_left_out(data: DataSet) -> None:
    """Says on standard error how many rows have missing values and are left out, if any.

    It is said to whoever reads the table, and recorded by no private run, since no noise covers it.
    """
    if data.left_out:
        rows = len(data.train) + len(data.test) + data.left_out
        say(f"accord: data {data.name}: {data.left_out:,} of {rows:,} rows have missing values and are left out")
