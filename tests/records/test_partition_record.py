"""`partition.json` read in either of its forms."""

from collections import Counter
from statistics import median
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.records.partition_record import holders


def by_size(sizes: list[int]) -> dict[str, Any]:
    """The form that counts clients by their rows."""
    return {"population": len(sizes), "rows": {str(n): k for n, k in Counter(sizes).items()}, "first_clients": []}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40))
@settings(derandomize=True, deadline=None)
def test_both_forms_read_alike(rows: list[int]) -> None:
    clients = [{"client": c, "name": "", "rows": n, "test_rows": 0, "labels": [n]} for c, n in enumerate(rows)]
    partition = {"class_names": ["a"], "clients": clients}
    assert holders(partition).complete
    assert not holders(by_size(rows)).complete
    for read in (holders(partition), holders(by_size(rows))):
        assert (read.population, read.rows) == (len(rows), sum(rows))
        assert (read.fewest, read.median, read.most) == (min(rows), median(rows), max(rows))
        assert sorted(np.repeat(read.sizes, read.clients).tolist()) == sorted(rows)


def test_no_clients_hold_nothing() -> None:
    read = holders({"class_names": ["a"], "clients": []})
    assert (read.population, read.rows, read.fewest, read.median, read.most) == (0, 0, 0, 0.0, 0)
