"""Robust means in the study file: what their settings make possible, and what they refuse."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.programs import Program
from accord.config.programs.robust import KrumProgram, MultiKrumProgram, TrimmedMeanProgram

SECTION: TypeAdapter[Program] = TypeAdapter(Program)


def test_each_rule_knows_the_fewest_clients_it_works_with() -> None:
    assert [TrimmedMeanProgram(name="trimmed_mean", trim=trim).fewest() for trim in (0.2, 0.1, 0.3, 0.45)] == [
        5,
        10,
        4,
        3,
    ]
    assert [KrumProgram(name="krum", malicious=f).fewest() for f in (0, 2, 10)] == [3, 7, 23]
    assert MultiKrumProgram(name="multi_krum", malicious=2).fewest() == 7
    assert MultiKrumProgram(name="multi_krum", malicious=2, keep=9).fewest() == 11


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "krum", "malicious": 4, "cohort_size": 10}, r"cohort_size 10 is too few .* 2 \* 4 \+ 3 = 11"),
        ({"name": "krum", "malicious": 4, "min_clients": 5}, "min_clients 5 is too few clients: malicious 4 needs"),
        ({"name": "multi_krum", "malicious": 1, "keep": 8, "cohort_size": 8}, "keep 8 beside malicious 1 needs 9"),
        ({"name": "trimmed_mean", "trim": 0.1, "cohort_size": 9}, "trim 0.1 leaves out nothing of fewer than 10"),
        ({"name": "trimmed_mean", "trim": 0.5}, "less than 0.5"),
        ({"name": "trimmed_mean", "trim": 0.0}, "greater than or equal to 0.001"),
        ({"name": "krum", "malicious": -1}, "greater than or equal to 0"),
        ({"name": "krum", "keep": 3}, "keep"),
        ({"name": "median", "cohort_sampling": "poisson"}, "cohort_sampling"),
        ({"name": "geometric_median", "smoothing": 0.0}, "greater than 0"),
        ({"name": "bulyan", "malicious": 2, "cohort_size": 10}, r"cohort_size 10 is too few .* 4 \* 2 \+ 3 = 11"),
        (
            {"name": "krum", "malicious": 1, "cohort_size": 8, "pre_aggregation": {"rule": "bucketing"}},
            r"cohort_size 8 is too few clients: malicious 1 needs .* = 5 after pre_aggregation bucketing, .* 9",
        ),
        (
            {"name": "median", "cohort_size": 6, "pre_aggregation": {"rule": "nnm", "malicious": 3}},
            "cohort_size 6 is too few clients: the rule needs 1 after pre_aggregation nnm, which takes 7 clients",
        ),
        ({"name": "median", "pre_aggregation": {"rule": "nnm", "bucket_size": 3}}, "bucket_size belongs to"),
        ({"name": "median", "pre_aggregation": {"rule": "bucketing", "malicious": 3}}, "malicious belongs to"),
    ],
)
def test_what_a_rule_cannot_do_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SECTION.validate_python(values)


@pytest.mark.parametrize(
    "name", ["median", "trimmed_mean", "krum", "multi_krum", "geometric_median", "bulyan", "centred_clipping"]
)
def test_a_name_is_enough(name: str) -> None:
    assert SECTION.validate_python({"name": name}).fewest() <= 10  # clients of a default partition
