"""The parts of a result: groups, intervals, classes."""

from accord.records.result_parts import (
    CalibrationResult,
    DataResult,
    FairnessResult,
    FaultsResult,
    GroupResult,
    JointResult,
)
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


def test_what_an_earlier_version_did_not_write_reads_as_nothing() -> None:
    spread = {"min": 0.1, "median": 0.2, "max": 0.3}
    joint = JointResult.model_validate({"ledger": "j", "run": "a", "runs": 1, "own": spread})
    assert (joint.head, joint.lines) == ("", 0)
    group = GroupResult.model_validate(GROUP)
    assert (group.one_class, group.confusion, group.calibration) == (False, None, None)
    bins = {"n": [1], "confidence": [0.5], "accuracy": [1.0]}
    errors = dict.fromkeys(("expected_calibration_error", "maximum_calibration_error", "brier", "log_loss"), 0.5)
    assert CalibrationResult.model_validate({**errors, "reliability": bins}).bins == 0


def test_faults_are_counted_by_kind() -> None:
    faults = FaultsResult.model_validate({"dropped": 1, "timed_out": 2, "recovered": 3})
    assert faults.counts == {"dropped": 1, "timed out": 2, "recovered": 3}
