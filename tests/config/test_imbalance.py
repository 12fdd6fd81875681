"""The imbalance section: one way to say the shares, and what contradicts itself is refused in one line."""

from typing import Any

import pytest
from pydantic import ValidationError

from accord.config.imbalance import Imbalance
from accord.config.load import make_study, parse_study
from accord.core.errors import StudyError

SEX: dict[str, Any] = {"group": "sex", "value": "Female", "share": 0.1}
RACE: dict[str, Any] = {"group": "race", "shares": {"White": 0.7, "Black": 0.2, "Other": 0.1}}


@pytest.mark.parametrize("values", [SEX, RACE, SEX | {"share": 0}, SEX | {"share": 1}])
def test_shares_are_said_in_one_of_two_ways(values: dict[str, Any]) -> None:
    made = Imbalance(**values)
    assert (made.rows, made.balance_labels, made.test_rows_per_group, made.test_seed) == (None, False, None, 0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"group": "sex"}, "give value and share, or shares"),
        ({"group": "sex", "value": "Female"}, "give value and share, or shares"),
        (RACE | {"value": "White"}, "not both"),
        (RACE | {"shares": {"White": 0.7, "Black": 0.2}}, "shares add up to 0.9; make them add up to 1"),
        (SEX | {"group": "label", "balance_labels": True}, "would undo the shares of group label"),
        (SEX | {"share": 1.5}, "less than or equal to 1"),
        (SEX | {"share": -0.1}, "greater than or equal to 0"),
        (SEX | {"rows": 0}, "greater than or equal to 1"),
        (RACE | {"shares": {}}, "shares add up to 0; make them"),
    ],
)
def test_what_contradicts_itself_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Imbalance(**values)


def test_thirds_add_up_to_one() -> None:
    assert Imbalance(group="a", shares={"x": 1 / 3, "y": 1 / 3, "z": 1 / 3}).shares is not None


def test_a_study_is_without_it_and_takes_it_from_the_file_and_from_the_command_line() -> None:
    assert make_study({"data": "digits"}).imbalance is None
    text = "data: digits\nimbalance: {group: stroke, shares: {heavy: 0.25, light: 0.75}}\n"
    made = parse_study(text, ["imbalance.rows=200", "imbalance.shares={heavy: 0.5, light: 0.5}"]).imbalance
    assert made == Imbalance(group="stroke", shares={"heavy": 0.5, "light": 0.5}, rows=200)
    assert parse_study(text, ["imbalance=null"]).imbalance is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("imbalance: {group: label, value: 1, share: 0.5}", "imbalance.value: expected text, got 1; put it in quotes"),
        ("imbalance: {group: label, shares: {0: 0.5, 1: 0.5}}", "put 0 in quotes"),
        ("imbalance: {group: sex, value: Female, shares: 0.5}", "imbalance.shares: expected a mapping"),
        ("imbalance: {group: sex, valeu: Female}", "did you mean 'value'"),
        (
            "imbalance: {group: s, value: a, share: 0.5}\nevaluation: {early_stopping: {}}",
            "early_stopping would take rows out of the test set",
        ),
    ],
)
def test_slips_in_a_file_are_one_line(text: str, said: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_study(f"data: digits\n{text}\n")
    assert any(said in line for line in caught.value.problems)
    assert str(caught.value) == "\n".join(caught.value.problems)
