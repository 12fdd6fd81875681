"""Calibration, fine-tuning and early stopping as the report tells them."""

from collections.abc import Callable
from typing import Any

from accord.records.run_result import RunResult
from accord.reports.run.evaluation_sections import calibration, early_stopping, fine_tuning
from reports.examples import result_of

Make = Callable[[str], dict[str, Any]]


def test_calibration_has_its_figure_and_facts(make: Make) -> None:
    section = calibration(result_of(make("judged")))
    assert section is not None
    (part,) = section.parts
    assert "in 4 bins of equal width" in part.text[0]
    assert [plot.title for plot in part.plots] == ["Reliability"]
    assert dict(part.facts)["Expected calibration error"] == "0.075"
    assert calibration(result_of(make("plain"))) is None


def test_fine_tuning_is_a_table_of_before_and_after(make: Make) -> None:
    part = fine_tuning(result_of(make("judged")))
    assert part is not None
    assert "the test rows of 9 clients" in part.text[0]
    assert "2 epochs at a learning rate of 0.05" in part.text[0]
    assert "better at 6 and worse at 1 of them" in part.text[0]
    assert "At 1 client its parameters are no longer finite" in part.text[0]
    (table,) = part.tables
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["Before", "80.0%", "10.0 points", "61.0%", "60.0%", "95.0%"],
        ["After", "90.0%", "5.0 points", "71.0%", "70.0%", "100.0%"],
    ]
    assert fine_tuning(result_of(make("plain"))) is None


def test_early_stopping_says_when_and_what_is_kept(make: Make) -> None:
    result = make("judged")["result"]
    said = early_stopping(RunResult.from_json(result))
    assert said is not None
    assert said.startswith(
        "Ended early, after 12 of 30 rounds: no better loss on 40 test rows held out in 3 evaluations"
    )
    assert "the model of round 9 is kept" in said
    result["early_stopping"]["stopped"] = False
    assert early_stopping(RunResult.from_json(result)) == (
        "By loss on 40 test rows held out, the model of round 9 is kept, and judged on the other test rows."
    )
    assert early_stopping(result_of(make("plain"))) is None
