"""What was kept of the rows, in words and in the terminal."""

from typing import Any

from rich.console import Console

from accord.reports.run.terminal import partition_table
from accord.reports.words.imbalance_text import imbalance_text

TOLD: dict[str, Any] = {
    "class_names": ["no", "yes"],
    "clients": [{"client": 0, "name": "", "rows": 100, "test_rows": 40, "labels": [80, 20]}],
    "imbalance": {
        "column": "race",
        "train": {"White": [60, 10], "Black": [15, 5], "Other": [5, 5]},
        "test": {"White": [10, 10], "Black": [10, 10], "Other": [10, 10]},
        "train_rows": 32561,
        "test_rows": 16281,
    },
}


def test_nothing_is_said_where_all_rows_were_kept() -> None:
    assert imbalance_text({"class_names": [], "clients": []}) == ""


def test_every_group_is_told_with_its_rows_and_share() -> None:
    said = imbalance_text(TOLD)
    assert "70 are “White” (70.0%), 20 are “Black” (20.0%) and 10 are “Other” (10.0%). The test rows" in said
    assert "drawn without replacement from 32,561" in said
    assert "20 of each group, drawn from 16,281, with equally many rows of each label in a group" in said


def test_a_share_of_nothing_is_told() -> None:
    told = TOLD["imbalance"] | {"train": {"a": [0, 0], "b": [0, 9]}}
    assert "0 are “a” (0.0%) and 9 are “b” (100.0%)" in imbalance_text({"imbalance": told})


def test_the_terminal_says_it_below_the_clients() -> None:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(partition_table(TOLD))
    assert "10 are “Other” (10.0%)" in captured.get()


def test_rows_with_a_number_to_predict_are_not_called_balanced_by_label() -> None:
    told = {
        "column": "sex",
        "train_rows": 353,
        "test_rows": 89,
        "train": {"F": [30], "M": [90]},
        "test": {"F": [40], "M": [40]},
    }
    assert imbalance_text({"imbalance": told}) == (
        "The training rows were drawn without replacement from 353 so that of “sex” 30 are “F” (25.0%) and 90 are “M” "
        "(75.0%). The test rows are 40 of each group, drawn from 89; the same rows for every share."
    )
