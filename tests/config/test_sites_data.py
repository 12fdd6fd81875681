from typing import Any

import pytest

from accord.config.load import dump_study, make_study, parse_study
from accord.core.errors import StudyError

SCHEMA: dict[str, Any] = {"target": "pay", "categories": {"pay": ["low", "high"], "sex": ["f", "m"]}}
TABLE = {**SCHEMA, "groups": ["sex"], "ranges": {"age": [0, 100], "hours": [0, 99]}}
PICTURES = {**SCHEMA, "groups": ["sex"], "shape": [1, 28, 28]}


def study(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"data": {"name": "sites", "data_set": "people", "schema": schema, **more}}


def test_a_study_of_sites_has_a_client_for_each_and_reads_back() -> None:
    made = make_study(study(TABLE, simulation={"path": "people.csv", "site": "town"}))
    assert made.partition.name == "natural"
    assert made.partition.partition_by == "site"
    assert parse_study(dump_study(made)) == made


def test_the_features_are_all_that_is_stated_and_not_set_aside() -> None:
    assert make_study(study(TABLE)).data.schema.feature_names == ("age", "hours")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"categories": {"pay": ["low", "high"]}}, "values of 'sex'"),
        ({"features": ["age", "weight"]}, "[low, high] of 'weight'"),
        ({"categorical": ["job"]}, "values of 'job'"),
        ({"dates": {"born": "days_since"}}, "[low, high] of 'born'"),
        ({"groups": ["site"], "categories": {**SCHEMA["categories"], "site": ["a", "b"]}}, "'site' names the sites"),
        ({"ranges": {}}, "no column is left"),
        ({"tokens": 5}, "tokens goes with shape"),
        ({"ranges": {"age": None}}, "'age' is blank"),
    ],
)
def test_what_the_schema_leaves_open_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(StudyError) as error:
        make_study(study({**TABLE, **changed}))
    assert told in str(error.value)


def test_rows_of_a_shape_have_no_columns_to_describe() -> None:
    make_study(study(PICTURES, simulation={"function": "m:f", "site": "town"}))
    with pytest.raises(StudyError, match="ranges is about a table"):
        make_study(study({**PICTURES, "ranges": {"age": [0, 1]}}))
    with pytest.raises(StudyError, match="a table has a path"):
        make_study(study(PICTURES, simulation={"path": "people.csv", "site": "town"}))


def test_another_partition_is_refused() -> None:
    with pytest.raises(StudyError, match="leave partition out"):
        make_study({**study(TABLE), "partition": {"name": "iid"}})


def test_a_slip_inside_the_schema_is_named_by_its_place() -> None:
    with pytest.raises(StudyError, match=r"data\.schema\.targt: unknown key"):
        make_study(study({**TABLE, "targt": "x"}))
