"""The parts of a result: groups, intervals, classes."""

from accord.records.result_parts import DataResult, FairnessResult, GroupResult
from reports.results import GROUP, fairness_json


def test_groups_belong_to_the_longest_column_that_their_name_starts_with() -> None:
    fairness = FairnessResult.model_validate(fairness_json())
    assert fairness.column_of("a=b=c") == "a=b"
    assert list(fairness.groups_of("a=b")) == ["a=b=c"]  # the other has no rows
    assert list(fairness.groups_of("a")) == ["a=x"]
    assert fairness.columns["a=b"].score("accuracy_gap") == 0.25


def test_what_rests_on_few_rows() -> None:
    assert GroupResult.model_validate(GROUP).few == {"accuracy", "tpr"}  # of an earlier version
    assert GroupResult.model_validate({**GROUP, "too_small_rates": ["tpr"]}).few == {"tpr"}
    assert GroupResult.model_validate({**GROUP, "too_small": False}).few == set()


def test_an_interval_that_is_undefined_is_none() -> None:
    group = GroupResult.model_validate(GROUP)
    assert group.interval("accuracy") == (0.1, 0.2)
    assert group.interval("tpr") is None
    assert group.interval("unheard_of") is None


def test_classes_of_an_earlier_version_are_counted() -> None:
    about = {"name": "digits", "about": "", "train_rows": 1, "test_rows": 1}
    assert DataResult.model_validate({**about, "classes": ["a", "b"]}).num_classes == 2
    assert DataResult.model_validate({**about, "classes": 10}).num_classes == 10
