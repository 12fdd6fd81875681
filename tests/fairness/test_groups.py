"""Groups and counts against naive counting, and the laws counts obey."""

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core.errors import DataError
from accord.fairness.groups import CONFUSION, GroupCounts, Grouping, count, intersect

derandomised = settings(derandomize=True, deadline=None, max_examples=60)


def grouping(codes: list[int], names: tuple[str, ...] = ("a", "b", "c"), column: str = "g") -> Grouping:
    return Grouping(column, names, np.array(codes, dtype=np.int64))


def rows(classes: int, groups: int = 3) -> st.SearchStrategy[list[tuple[int, int, int]]]:
    """Lists of (group, label, prediction)."""
    label = st.integers(0, classes - 1)
    return st.lists(st.tuples(st.integers(0, groups - 1), label, label), max_size=40)


def counted(table: list[tuple[int, int, int]], positive: int | None) -> GroupCounts:
    columns = np.array(table, dtype=np.int64).reshape(-1, 3).T
    return count(Grouping("g", ("a", "b", "c"), columns[0]), columns[1], columns[2], positive)


@derandomised
@given(rows(classes=4), st.sampled_from([None, 0, 1, 3]))
def test_count_agrees_with_counting_by_hand(table: list[tuple[int, int, int]], positive: int | None) -> None:
    found = counted(table, positive).to_json()
    for code in range(3):
        own = [(label, prediction) for group, label, prediction in table if group == code]
        assert found["n"][code] == len(own)
        assert found["correct"][code] == sum(label == prediction for label, prediction in own)
        if positive is None:
            assert all(found[name] is None for name in CONFUSION)
            continue
        cells = {(True, True): "tp", (False, True): "fp", (False, False): "tn", (True, False): "fn"}
        for (condition, selected), name in cells.items():
            expected = sum((y == positive) == condition and (p == positive) == selected for y, p in own)
            assert found[name][code] == expected


@derandomised
@given(rows(classes=3), rows(classes=3), st.sampled_from([None, 2]))
def test_counts_of_two_sites_add_to_the_counts_of_their_rows(
    here: list[tuple[int, int, int]], there: list[tuple[int, int, int]], positive: int | None
) -> None:
    together = counted(here, positive) + counted(there, positive)
    assert together.to_json() == counted(here + there, positive).to_json()


@derandomised
@given(rows(classes=3), st.sampled_from([None, 1]))
def test_counts_survive_json(table: list[tuple[int, int, int]], positive: int | None) -> None:
    sent = counted(table, positive).to_json()
    assert GroupCounts.from_json(json.loads(json.dumps(sent))).to_json() == sent


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": None}, "n must be a list of whole numbers"),
        ({"n": [1.5, 1]}, "n must be a list of whole numbers"),
        ({"n": [True, 1]}, "n must be a list of whole numbers"),
        ({"n": [-1, 2]}, "n must be a list of whole numbers"),
        ({"n": [2**70, 2]}, "n must be a list of whole numbers"),
        ({"n": [2]}, "n must hold one int64"),
        ({"correct": [9, 1]}, "more correct rows than rows"),
        ({"tp": None}, "need tp, fp, tn and fn"),
        ({"positive": None}, "need tp, fp, tn and fn"),
        ({"positive": None, "tp": None}, "need tp, fp, tn and fn"),
        ({"positive": "1"}, "positive must be a label"),
        ({"tn": [1, 5]}, "must be n in every group"),
        ({"correct": [0, 1]}, "between tp and tp"),
        ({"correct": [2, 2]}, "between tp and tp"),
        ({"names": ["a", "a"]}, "names 'a' twice"),
        ({"names": "ab"}, "names a list of strings"),
        ({"column": 3}, "column must be a string"),
    ],
)
def test_what_no_rows_could_give_is_refused(change: dict[str, Any], message: str) -> None:
    sent = counted([(0, 1, 1), (0, 0, 0), (1, 0, 1), (1, 1, 1)], positive=1).to_json()
    sent |= {"names": ["a", "b"]} | {name: sent[name][:2] for name in ("n", "correct", *CONFUSION)}
    GroupCounts.from_json(sent)
    with pytest.raises(DataError, match=message):
        GroupCounts.from_json(sent | change)


def test_a_missing_key_is_named() -> None:
    sent = counted([(0, 1, 1)], positive=1).to_json()
    del sent["fn"]
    with pytest.raises(DataError, match="counts lack fn"):
        GroupCounts.from_json(sent)


def test_counts_that_do_not_belong_together_do_not_add() -> None:
    one, labels = grouping([0, 1]), np.array([0, 1])
    other_names, other_column = grouping([0, 1], names=("a", "b")), grouping([0, 1], column="h")
    base = count(one, labels, labels, positive=1)
    received = GroupCounts.from_json(json.loads(json.dumps(base.to_json())))
    assert (base + received).n.tolist() == [2, 2, 0]
    with pytest.raises(DataError, match="names differs"):
        base + count(other_names, labels, labels, positive=1)
    with pytest.raises(DataError, match="column differs"):
        base + count(other_column, labels, labels, positive=1)
    with pytest.raises(DataError, match="positive differs"):
        base + count(one, labels, labels, positive=0)


@derandomised
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 1)), max_size=30))
def test_an_intersection_of_three_columns_names_each_row_as_its_parts_do(
    table: list[tuple[int, int, int]],
) -> None:
    codes = np.array(table, dtype=np.int64).reshape(-1, 3).T
    names = (("Female", "Male"), ("Black", "White", "Other"), ("old", "young"))
    parts = [Grouping(c, n, k) for c, n, k in zip(("sex", "race", "age"), names, codes, strict=True)]
    both = intersect(*parts)
    assert both.column == "sex*race*age"
    assert both.names == tuple(", ".join(combination) for combination in itertools.product(*names))
    expected = [", ".join(names[i][code] for i, code in enumerate(row)) for row in table]
    assert [both.names[code] for code in both.codes] == expected
    nested = intersect(intersect(parts[0], parts[1]), parts[2])
    assert (nested.names, nested.codes.tolist()) == (both.names, both.codes.tolist())


def test_groupings_that_cannot_be_are_refused() -> None:
    with pytest.raises(DataError, match="run from 0 to 3, but it has 3 names"):
        grouping([0, 3])
    with pytest.raises(DataError, match="run from -1 to 0"):
        grouping([-1, 0])
    with pytest.raises(DataError, match="names no groups"):
        grouping([], names=())
    with pytest.raises(DataError, match="names 'x' twice"):
        grouping([0], names=("x", "y", "x"))
    with pytest.raises(DataError, match="vector of int64"):
        Grouping("g", ("a",), np.zeros((2, 2), dtype=np.int64))
    with pytest.raises(DataError, match="differ in length"):
        intersect(grouping([0, 1]), grouping([0], column="h"))
    for codes in ([0], [0, 1, 0]):
        with pytest.raises(DataError, match="2 labels and 2 predictions"):
            count(grouping(codes), np.array([0, 1]), np.array([0, 1]), positive=None)
    with pytest.raises(DataError, match="1 labels and 2 predictions"):
        count(grouping([0, 1]), np.array([0]), np.array([0, 1]), positive=None)
