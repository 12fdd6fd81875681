from collections.abc import Callable
from typing import Any

from accord.records.run_result import RunResult
from accord.reports.run.group_sections import groups
from reports.examples import result_of

Make = Callable[[str], dict[str, Any]]


def test_every_column_has_figures_measures_and_gaps(make: Make) -> None:
    section = groups(result_of(make("private")))
    assert section is not None
    intro, sex, crossed = section.parts
    assert "95% intervals" in intro.text[0]
    assert "too small to say" in intro.text[0]
    assert [plot.title for plot in sex.plots] == ["Accuracy by sex", "Rates by sex"]
    measures, gaps = sex.tables
    assert measures.head == ("Group", "Rows", "Accuracy", "Selected", "TPR", "FPR", "FNR")
    assert measures.rows[1][2].text == "80.3%"
    assert measures.rows[1][2].small == "78.9–81.7%"
    assert gaps.rows[0][1].text == "10.9 points"
    assert gaps.rows[0][2].text == "5.9 to 16.9"
    assert crossed.title == "sex × race"


def test_how_well_a_groups_rows_are_told_apart_stands_in_its_table(make: Make) -> None:
    example = make("private")
    for group in example["result"]["fairness"]["groups"].values():
        group |= {"balanced_accuracy": 0.7, "roc_auc": 0.8, "average_precision": 0.6}
        group["intervals"] |= {"balanced_accuracy": [0.65, 0.75], "roc_auc": [0.75, 0.85]}
    section = groups(result_of(example))
    assert section is not None
    measures = section.parts[1].tables[0]
    assert measures.head[-3:] == ("Balanced accuracy", "ROC AUC", "PR AUC")
    assert [cell.text for cell in measures.rows[0][-3:]] == ["70.0%", "0.800", "0.600"]
    assert [cell.small for cell in measures.rows[0][-3:]] == ["65.0–75.0%", "0.750 to 0.850", "–"]


def test_small_groups_are_tagged_and_empty_ones_named(make: Make) -> None:
    section = groups(result_of(make("private")))
    assert section is not None
    crossed = section.parts[2]
    tags = {row[0].text: row[0].tag for row in crossed.tables[0].rows}
    assert tags["Male, Amer-Indian-Eskimo"] == "too small to say"
    assert tags["Male, White"] == ""
    assert "Female, Amer-Indian-Eskimo" not in tags
    assert crossed.text == ("Without a test row, and so left out: Female, Amer-Indian-Eskimo.",)


def test_without_a_positive_label_only_accuracy_is_defined(make: Make) -> None:
    section = groups(result_of(make("many_class")))
    assert section is not None
    assert "undefined (–)" in section.parts[0].text[0]
    measures, gaps = section.parts[1].tables
    assert measures.head == ("Group", "Rows", "Accuracy")
    assert [row[1].text for row in gaps.rows] == ["10.9 points", "–", "–", "–", "–", "–"]


def test_without_groups_there_is_no_section(make: Make) -> None:
    assert groups(result_of(make("plain"))) is None


def test_a_rate_of_few_rows_is_marked_by_itself(make: Make) -> None:
    section = groups(result_of(make("judged")))
    assert section is not None
    assert "A rate marked “few”" in section.parts[0].text[0]
    measures = section.parts[1].tables[0]
    (women,) = (row for row in measures.rows if row[0].text == "Female")
    assert [cell.tag for cell in women] == ["", "", "", "", "few", "", "few", ""]
    assert (measures.head[-1], women[-1].text, women[-1].small) == ("Calibration", "0.075", "Brier 0.310")
    assert [plot.title for plot in section.parts[1].plots][2:] == ["Calibration by sex", "Confusion by sex"]


def test_an_interval_that_does_not_hold_its_gap_is_said(make: Make) -> None:
    section = groups(result_of(make("judged")))
    assert section is not None
    _, sex, crossed = section.parts
    assert not sex.text
    assert (
        "does not hold the value itself for: accuracy gap. Between small groups chance widens gaps" in crossed.text[-1]
    )


def test_matrices_left_out_are_said_to_be(make: Make) -> None:
    result = make("judged")["result"]
    result["fairness"]["confusion"] = {"class_names": [], "note": "left out: 26 classes are more than 20"}
    section = groups(RunResult.from_json(result))
    assert section is not None
    assert "Confusion matrices are left out: 26 classes are more than 20." in section.parts[0].text[0]
