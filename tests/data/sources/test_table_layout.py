"""Which column is what."""

import pytest

from accord.config.data import CsvData
from accord.core.errors import StudyError
from accord.data.sources.table_layout import layout_of

COLUMNS = ["Unnamed: 0", "age", "job", "sex", "pay"]


def settings(**values: object) -> CsvData:
    return CsvData.model_validate({"name": "csv", "path": "t.csv", "target": "pay", "categorical": ["job"]} | values)


def test_columns_are_numbers_categories_groups_or_the_target() -> None:
    layout = layout_of(settings(groups=["sex"], bins={"age": [30]}, keep_protected=True), COLUMNS, ["Unnamed: 0"])
    assert layout.numbers == ("age", "sex")
    assert layout.categories == ("job",)
    assert layout.read_as_numbers() == ["age", "sex"]
    assert layout.read_as_texts() == ["pay", "job", "sex"]
    aside = layout_of(settings(groups=["sex"], bins={"age": [30]}, features=["job"]), COLUMNS, ["Unnamed: 0"])
    assert (aside.numbers, aside.read_as_numbers(), aside.groups) == ((), ["age"], ("sex", "age"))


def test_a_column_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(StudyError, match=r"data\.groups: t\.csv has no column 'sax'; did you mean 'sex'\?"):
        layout_of(settings(groups=["sax"]), COLUMNS, [])


def test_all_columns_that_are_not_there_are_told_at_once() -> None:
    given = settings(
        target="pey", features=["aeg", "job"], groups=["sxe"], ranges={"aeg": (0, 1)}, dates={"q": "cyclic"}
    )
    with pytest.raises(StudyError) as caught:
        layout_of(given, COLUMNS, [])
    told = [line.split(": ")[0] for line in caught.value.problems]
    assert told == ["data.target", "data.features", "data.groups", "data.ranges", "data.dates"]
    for word, line in zip(["pay", "age", "sex", "age"], caught.value.problems[:4], strict=True):
        assert f"did you mean {word!r}?" in line
    assert caught.value.problems[4].endswith("has no column 'q' (it has: Unnamed: 0, age, job, sex, pay)")


@pytest.mark.parametrize("given", [{"dates": {"age": "cyclic"}}, {"logarithmic": ["age"]}])
def test_a_rule_for_a_column_that_is_no_feature_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(StudyError, match=f"data.{next(iter(given))}: 'age' is no feature; add it to data.features"):
        layout_of(settings(features=["job"], **given), COLUMNS, [])
