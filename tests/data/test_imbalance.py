"""Rows drawn for a share of a group: counts, balance, nesting, and a test set that no share changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

import accord
from accord.config.imbalance import Imbalance
from accord.config.partition import Partition
from accord.config.schema import Study
from accord.core.errors import DataError, StudyError
from accord.data.federated import DataSet, GroupColumn, Table
from accord.data.imbalance import imbalanced, shared_out
from accord.data.load import deal
from accord.records import store
from label_tables import is_whole

SITES = ("north", "east", "south")


def people(n: int, m: int, classes: int = 2, seed: int = 0) -> DataSet:
    """n training and m test rows whose only feature is the row's number; three sites, two sexes."""
    rng = np.random.default_rng(seed)

    def part(rows: int) -> Table:
        site = GroupColumn(rng.choice(3, size=rows, p=[0.6, 0.3, 0.1]), SITES)
        sex = GroupColumn(rng.integers(2, size=rows), ("Female", "Male"))
        y = torch.from_numpy((rng.random(rows) ** 2 * classes).astype(np.int64))
        return Table(torch.arange(rows, dtype=torch.float64)[:, None], y, {"site": site, "sex": sex})

    return DataSet("people", part(n), part(m), tuple(map(str, range(classes))), "Invented people")


def rows_of(table: Table) -> list[int]:
    return [int(row) for row in table.x[:, 0]]


def counted(table: Table, column: str, name: str, classes: int) -> tuple[int, ...]:
    member = table.groups[column].codes == table.groups[column].names.index(name)
    return tuple(int((member & (table.y.numpy() == label)).sum()) for label in range(classes))


def of_sex(share: float, **values: Any) -> Imbalance:
    return Imbalance(group="sex", value="Female", share=share, **values)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    st.lists(st.integers(0, 10), min_size=3, max_size=3).filter(lambda parts: sum(parts) > 0),
    st.integers(1, 60),
    st.booleans(),
    st.integers(2, 4),
    st.integers(0, 99),
)
def test_groups_have_their_shares_and_no_row_is_drawn_twice(
    parts: list[int], rows: int, balance: bool, classes: int, seed: int
) -> None:
    data = people(600, 400, classes, seed)
    shares = {name: part / sum(parts) for name, part in zip(SITES, parts, strict=True)}
    section = Imbalance(group="site", shares=shares, rows=rows, balance_labels=balance, test_rows_per_group=3)
    try:
        kept = imbalanced(data, section, seed)
    except DataError as refused:
        assert "\n" not in str(refused)  # noqa: PT017 - either outcome is right, a two-line message is not
        return
    drawn = rows_of(kept.train)
    assert drawn == sorted(set(drawn))  # each once, in the order of the file
    assert len(drawn) == rows
    assert (kept.train.y == data.train.y[torch.tensor(drawn)]).all()
    assert kept.drawn is not None
    for name, part in zip(SITES, parts, strict=True):
        labels = counted(kept.train, "site", name, classes)
        assert kept.drawn.train[name] == labels
        assert abs(sum(labels) - rows * part / sum(parts)) < 1
        assert sum(counted(kept.test, "site", name, classes)) == 3
        assert kept.drawn.test[name] == counted(kept.test, "site", name, classes)
        if balance:
            assert max(labels) - min(labels) <= 1
    assert (kept.drawn.train_rows, kept.drawn.test_rows) == (600, 400)


@pytest.mark.parametrize("balance", [False, True])
def test_test_rows_are_the_same_for_every_share_and_every_seed(balance: bool) -> None:
    data = people(2000, 900)
    tests = [
        rows_of(imbalanced(data, of_sex(share, rows=rows, balance_labels=balance, test_rows_per_group=100), seed).test)
        for share in (0.5, 0.1, 0.01, 0.0, 1.0)
        for rows in (100, 500)
        for seed in (0, 7)
    ]
    assert all(each == tests[0] for each in tests)
    other = of_sex(0.5, rows=100, balance_labels=balance, test_rows_per_group=100, test_seed=1)
    assert rows_of(imbalanced(data, other, 0).test) != tests[0]
    # Which of two groups the share is said of, and the order of several, change nothing either.
    men = Imbalance(group="sex", value="Male", share=0.2, rows=100, balance_labels=balance, test_rows_per_group=100)
    both = {"Male": 0.2, "Female": 0.8}
    listed = Imbalance(group="sex", shares=both, rows=100, balance_labels=balance, test_rows_per_group=100)
    assert rows_of(imbalanced(data, men, 0).test) == rows_of(imbalanced(data, listed, 0).test) == tests[0]
    assert rows_of(imbalanced(data, men, 0).train) == rows_of(imbalanced(data, listed, 0).train)


def test_the_test_set_is_balanced_over_groups_and_labels() -> None:
    data = people(2000, 901, classes=3)
    kept = imbalanced(data, of_sex(0.3, rows=90, balance_labels=True), 0)
    (least,) = {n for name in ("Female", "Male") for n in counted(kept.test, "sex", name, 3)}
    assert least == min(n for name in ("Female", "Male") for n in counted(data.test, "sex", name, 3))
    loose = imbalanced(data, of_sex(0.3, rows=90), 0)
    (each,) = {sum(counted(loose.test, "sex", name, 3)) for name in ("Female", "Male")}
    assert each == min(sum(counted(data.test, "sex", name, 3)) for name in ("Female", "Male"))


def test_a_smaller_share_keeps_rows_that_a_larger_one_keeps() -> None:
    data = people(3000, 300)

    def women(share: float) -> set[int]:
        kept = imbalanced(data, of_sex(share, rows=800, balance_labels=True), 4)
        rows = np.array(rows_of(kept.train))
        return set(rows[kept.train.groups["sex"].codes == 0].tolist())

    assert women(0.01) < women(0.1) < women(0.5)
    assert [len(women(share)) for share in (0.01, 0.1, 0.5)] == [8, 80, 400]


def test_another_seed_draws_other_training_rows_of_the_same_counts() -> None:
    data = people(3000, 300)
    one, other = (imbalanced(data, of_sex(0.25, rows=400), seed) for seed in (0, 1))
    assert rows_of(one.train) != rows_of(other.train)
    assert sum(counted(one.train, "sex", "Female", 2)) == sum(counted(other.train, "sex", "Female", 2)) == 100


def test_every_row_of_a_group_is_as_likely_to_be_kept() -> None:
    data = people(40, 60)
    kept = np.zeros(40)
    for seed in range(400):
        kept[rows_of(imbalanced(data, of_sex(0.5, rows=10), seed).train)] += 1
    women = data.train.groups["sex"].codes == 0
    for member in (women, ~women):
        expected = 400 * 5 / member.sum()
        assert np.abs(kept[member] - expected).max() < 5 * np.sqrt(expected)


def test_of_more_than_two_values_all_others_are_one_group() -> None:
    data = people(2000, 900)
    section = Imbalance(group="site", value="north", share=0.2, rows=500, test_rows_per_group=50)
    kept = imbalanced(data, section, 0)
    assert kept.drawn is not None
    assert {name: sum(labels) for name, labels in kept.drawn.train.items()} == {"north": 100, "not north": 400}
    assert {name: sum(labels) for name, labels in kept.drawn.test.items()} == {"north": 50, "not north": 50}
    left_out = Imbalance(group="site", shares={"north": 0.5, "east": 0.5}, rows=500)
    assert sum(counted(imbalanced(data, left_out, 0).train, "site", "south", 2)) == 0


def test_labels_are_a_group_column_too() -> None:
    kept = imbalanced(people(2000, 900), Imbalance(group="label", value="1", share=0.05, rows=200), 0)
    assert kept.train.y.bincount().tolist() == [190, 10]
    assert len(set(kept.test.y.bincount().tolist())) == 1


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 20), min_size=3, max_size=3).filter(lambda parts: sum(parts) > 0),
    st.integers(5, 80),
    st.booleans(),
    st.integers(0, 99),
)
def test_the_rows_named_in_a_refusal_are_the_most_that_work(parts: list[int], n: int, balance: bool, seed: int) -> None:
    data = people(n, 200, seed=seed)
    shares = {name: part / sum(parts) for name, part in zip(SITES, parts, strict=True)}

    def draw(rows: int | None) -> DataSet | str:
        section = Imbalance(group="site", shares=shares, rows=rows, balance_labels=balance, test_rows_per_group=2)
        try:
            return imbalanced(data, section, 0)
        except DataError as refused:
            return str(refused)

    said = draw(n + 1)  # more than there are: never works
    assert isinstance(said, str)
    works = [rows for rows in range(1, n + 1) if isinstance(draw(rows), DataSet)]
    if "no number of rows works" in said:
        assert works == []
        return
    assert said.endswith(f"the largest imbalance.rows that works is {max(works)}")
    most = draw(None)
    assert isinstance(most, DataSet)
    assert len(most.train) == max(works)


def test_too_few_rows_are_one_line_that_says_how_many_there_are() -> None:
    data = people(1000, 300)
    women = counted(data.train, "sex", "Female", 2)
    with pytest.raises(DataError) as caught:
        imbalanced(data, of_sex(0.5, rows=1000, balance_labels=True), 0)
    most = min(women[1], counted(data.train, "sex", "Male", 2)[1])
    assert str(caught.value).startswith("imbalance.rows 1000: share 0.5 of sex=Female takes 250 training rows of ")
    assert f"sex=Female with label 1, but there are {women[1]}; the largest" in str(caught.value)
    assert int(str(caught.value).rsplit(" ", 1)[1]) in range(4 * most, 4 * most + 4)
    there = min(sum(counted(data.test, "sex", name, 2)) for name in ("Female", "Male"))
    with pytest.raises(DataError, match=rf"_per_group 200 takes 200 test .*; the largest that works is {there}$"):
        imbalanced(data, of_sex(0.5, test_rows_per_group=200), 0)
    nobody = Imbalance(group="label", shares={"0": 0.5, "1": 0.5})
    alike = DataSet("x", data.train, Table(data.test.x, data.test.y * 0 + 1, data.test.groups), ("0", "1"), "")
    with pytest.raises(DataError, match="1 test rows of label=0, but there are 0; no number works"):
        imbalanced(alike, nobody, 0)


def test_unknown_columns_and_values_name_the_nearest() -> None:
    data = people(100, 100)
    with pytest.raises(StudyError, match=r"^imbalance.group: the data has no column 'sexe'; did you mean 'sex'\?"):
        imbalanced(data, Imbalance(group="sexe", value="Female", share=0.5), 0)
    with pytest.raises(StudyError, match=r"^imbalance.value: .* no value 'female'; did you mean 'Female'\?"):
        imbalanced(data, Imbalance(group="sex", value="female", share=0.5), 0)
    with pytest.raises(StudyError, match=r"^imbalance.shares: column 'site' has no value 'west'"):
        imbalanced(data, Imbalance(group="site", shares={"north": 0.5, "west": 0.5}), 0)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(any), st.integers(0, 200))
@settings(derandomize=True, deadline=None)
def test_rows_are_shared_out_by_largest_remainder(weights: list[int], rows: int) -> None:
    sizes = list(shared_out(rows, {str(place): weight for place, weight in enumerate(weights)}).values())
    quotas = [rows * weight / sum(weights) for weight in weights]
    assert sum(sizes) == rows
    up = [quota % 1 for size, quota in zip(sizes, quotas, strict=True) if size > quota]
    down = [quota % 1 for size, quota in zip(sizes, quotas, strict=True) if size <= quota]
    assert all(abs(size - quota) < 1 for size, quota in zip(sizes, quotas, strict=True))
    assert not up or not down or min(up) >= max(down) - 1e-9


def test_a_share_is_taken_as_the_decimal_it_is_written_as() -> None:
    data = people(40_000, 100)
    for share, women in ((0.29, 29), (0.07, 7), (0.58, 58)):  # in binary 100 times these is a little less, or more
        assert sum(counted(imbalanced(data, of_sex(share, rows=100), 0).train, "sex", "Female", 2)) == women


@pytest.mark.parametrize(
    "chosen",
    [
        {"name": "iid", "num_partitions": 4},
        {"name": "dirichlet", "num_partitions": 4},
        {"name": "natural", "partition_by": "sex"},
        {"name": "inner-dirichlet", "num_partitions": 4, "quantity": "log-normal"},
        {"name": "size", "partition_sizes": [100, 300]},
    ],
    ids=lambda chosen: str(chosen["name"]),
)
def test_the_rows_kept_are_dealt_by_any_partition(chosen: dict[str, Any]) -> None:
    section: Partition = TypeAdapter(Partition).validate_python(chosen)
    dealt = deal(people(2000, 900), section, 3, of_sex(0.1, rows=400, test_rows_per_group=60))
    assert len(dealt.data.train) == 400
    assert is_whole(dealt.train, 400)
    assert is_whole(dealt.test, 120)


def test_a_run_records_and_reports_what_was_kept(tmp_path: Path) -> None:
    def run(share: float) -> accord.Run:
        study = Study(
            data={"name": "synthetic", "train_rows": 400, "test_rows": 200, "features": 4},
            partition={"name": "iid", "num_partitions": 3},
            program={"name": "fedavg", "rounds": 1},
            imbalance={"group": "group", "value": "0", "share": share, "rows": 100, "test_rows_per_group": 40},
            fairness={"groups": ["group"]},
        )
        return accord.run(study, tmp_path / str(share))

    for share, there in ((0.5, 50), (0.05, 5)):
        done = run(share)
        assert done.result is not None
        assert [group["n"] for group in done.result["fairness"]["groups"].values()] == [40, 40]
        told = store.read_json(done.folder / "partition.json")["imbalance"]
        assert {name: sum(labels) for name, labels in told["train"].items()} == {"0": there, "1": 100 - there}
        assert (told["column"], told["train_rows"], told["test_rows"]) == ("group", 400, 200)
        page = (done.folder / "report.html").read_text(encoding="utf-8")
        assert f"drawn without replacement from 400 so that of “group” {there} are “0”" in page
