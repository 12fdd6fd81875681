import io
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from accord.records.run_result import RunResult
from accord.reports.run.terminal import bar, budget_table, partition_table, result_table
from reports.examples import result_of

Make = Callable[[str], dict[str, Any]]


def squeezed(text: str) -> str:
    """The words alone: how far columns lie apart depends on the widest figure."""
    return " ".join(text.split())


def _lines(table: RenderableType, width: int = 80, **settings: Any) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True, **settings)
    console.print(table)
    return console.export_text(styles=False).splitlines()


@pytest.mark.parametrize("width", [80, 60])
def test_every_result_fits_and_says_nothing_undefined(example: dict[str, Any], width: int) -> None:
    lines = _lines(result_table(result_of(example)), width)
    assert max(map(cell_len, lines)) <= width
    text = " ".join(lines)
    assert "None" not in text
    assert "nan" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [80, 60])
def test_every_partition_fits(example: dict[str, Any], width: int) -> None:
    assert max(map(cell_len, _lines(partition_table(example["partition"]), width))) <= width


@pytest.mark.parametrize("width", [80, 60])
def test_a_private_result_at_a_glance(make: Make, width: int) -> None:
    text = "\n".join(line.rstrip() for line in _lines(result_table(result_of(make("private"))), width))
    for said in (
        "digits-private · done · 20 rounds",
        "90.0%   96.1% without privacy, −6.1 points",
        "ε 1.96  of 2.00, worst client, δ = 10⁻⁵",
        "min 0.813, median 1.39, max 1.96",
        "accountant rdp",
        "79.8%   Male, White (78.3–81.3%), n = 2,830",
        "10.9 points   (5.9 to 16.9) by sex",
        "2 groups too small to say",
        "3.7 MB  400 messages",
        "27.4 s",
    ):
        assert squeezed(said) in squeezed(text)
    assert len(text.splitlines()) <= 17


def test_a_stopped_run_says_so_and_why_first(make: Make) -> None:
    lines = _lines(result_table(result_of(make("stopped"))))
    assert "stopped early" in lines[0]
    assert lines[1].startswith("Stopped early after 7 of 20 rounds: the privacy budget")


def test_without_privacy_or_groups(make: Make) -> None:
    text = "\n".join(_lines(result_table(result_of(make("plain")))))
    assert "ε = ∞, no guarantee" in text
    assert "Worst group" not in text
    assert "on 360 test rows" in text


def test_one_account_is_every_clients(make: Make) -> None:
    text = "\n".join(_lines(result_table(result_of(make("client_unit")))))
    assert "every client" in text
    assert "median" not in text


def test_faults_are_told_where_there_were_any(make: Make) -> None:
    result = make("plain")["result"]
    assert "Faults" not in "\n".join(_lines(result_table(RunResult.from_json(result))))
    result["faults"] = {"dropped": 2, "timed_out": 0, "recovered": 1}
    assert "2 dropped, 1 recovered" in "\n".join(_lines(result_table(RunResult.from_json(result))))


def test_names_are_never_read_as_markup(make: Make) -> None:
    text = "\n".join(_lines(result_table(result_of(make("hostile"))), 160))
    assert "<script>" in text
    assert "[/" not in text


def test_many_clients_show_the_first_and_a_summary(make: Make) -> None:
    lines = [line.rstrip() for line in _lines(partition_table(make("crowd")["partition"]))]
    assert "… and 490 further clients" in lines
    assert lines[-1].startswith("500 clients hold 73,763 rows")
    assert len(lines) < 40


def test_labels_with_most_rows_come_first() -> None:
    clients = [{"client": 0, "name": "north", "rows": 60, "test_rows": 9, "labels": [10, 0, 50]}]
    text = "\n".join(_lines(partition_table({"class_names": ["a", "b", "c"], "clients": clients})))
    assert "north" in text
    assert "c:50  a:10" in text
    assert "b:" not in text


@settings(derandomize=True, deadline=None)
@given(st.floats(-1, 2), st.integers(1, 40))
def test_bars_keep_their_width(share: float, width: int) -> None:
    assert cell_len(bar(share, width)) == width
    assert len(bar(share, width)) == width


def test_budget_table_lines_up() -> None:
    lines = _lines(budget_table([("ε", "0.685"), ("noise multiplier", "1.3")]), 60)
    assert lines[0].index("0.685") == lines[1].index("1.3")


def test_what_was_judged_beside_accuracy_is_told(make: Make) -> None:
    text = "\n".join(line.rstrip() for line in _lines(result_table(result_of(make("judged")))))
    for said in (
        "judged · done · 12 rounds",
        "round 9  by loss on 40 rows held out; ended at round 12 of 30",
        "0.075    expected error, 4 bins; Brier score 0.310",
        "Worst tenth     74.4%    of 8 clients, mean 86.1%",
        "Fine-tuned      90.0%    mean of 9 clients, 80.0% before",
        "  worst tenth   71.0%    61.0% before",
    ):
        assert squeezed(said) in squeezed(text)


@pytest.mark.parametrize("width", [80, 60])
def test_on_a_joint_ledger_both_epsilons_are_told_and_which_one_holds(make: Make, width: int) -> None:
    result = make("private")["result"]
    own = {"min": 0.5, "median": 0.6, "max": 0.701}
    result["privacy"]["joint"] = {"ledger": "/data/adult.ledger", "run": "5f0c", "runs": 3, "own": own}
    lines = _lines(result_table(RunResult.from_json(result)), width)
    assert max(map(cell_len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for said in ("ε 1.96 of 2.00", "ε of 3 runs on the ledger adult.ledger together", "this run ε 0.701 by itself"):
        assert squeezed(said) in squeezed(text)
    result["privacy"]["joint"]["runs"] = 1
    assert "ε of the first run on the ledger adult.ledger" in " ".join(
        " ".join(_lines(result_table(RunResult.from_json(result)))).split()
    )


@pytest.mark.parametrize("width", [80, 60])
def test_errors_at_a_glance(make: Make, width: int) -> None:
    text = "\n".join(line.rstrip() for line in _lines(result_table(result_of(make("numbers"))), width))
    for said in (
        "RMSE              54.88   53.85 without privacy, +1.03",
        "  MAE             43.90",
        "  R²              0.490",
        "Worst group, MSE  4,100   Male (3,280 to 4,920), n = 60",
        "  MSE gap         900.0   (40 to 2,100) by sex",
        "  bias gap        22.00   (25.0 to 47.0) by sex",
        "Worst tenth, MSE  5,400   of 10 clients, mean 3,600",
    ):
        assert squeezed(said) in squeezed(text)
    text = "\n".join(line.rstrip() for line in _lines(result_table(result_of(make("numbers_judged"))), width))
    assert "Own models, MSE   3,300    mean of 9 clients, 3,600 shared" in text
    assert "Fine-tuned, MSE   3,100    mean of 9 clients, 3,600 before" in text


def test_rows_with_a_number_to_predict_are_counted_without_labels(make: Make) -> None:
    lines = _lines(partition_table(make("numbers")["partition"]))
    assert lines[1].split() == ["Client", "Rows"]
    assert len(lines) == 14


def test_each_gap_is_told_where_it_is_widest(make: Make) -> None:
    result = make("private")["result"]
    result["fairness"]["headline_columns"] = {"accuracy_gap": "sex*race", "demographic_parity_difference": "sex"}
    text = squeezed(" ".join(_lines(result_table(RunResult.from_json(result)))))
    assert "accuracy gap 14.6 points (9.6 to 20.6) by sex × race" in text
    assert "parity gap 17.0 points (12.0 to 23.0) by sex" in text


def test_what_an_accuracy_is_worth_is_told(make: Make) -> None:
    """A model that says no to everyone: the commonest label's share, one label, the class that is selected."""
    example = make("private")
    example["result"]["twin"] = None
    example["result"]["test"] |= {
        **{"majority_share": 0.729, "majority_label": "no", "predicts_one_label": "no"},
        **{"balanced_accuracy": 0.5, "roc_auc": 0.5, "average_precision": 0.271},
    }
    example["result"]["fairness"] |= {"positive_label": ">50K", "headline_columns": {"accuracy_gap": "sex*race"}}
    text = squeezed(" ".join(_lines(result_table(result_of(example)), 120)))
    assert "on 360 test rows; 72.9% of them are “no”" in text
    assert "predicts “no” for every test row" in text
    assert "balanced accuracy 50.0%, ROC AUC 0.500, PR AUC 0.271" in text
    assert "selected where “>50K” is predicted" in text
    gap = next(line for line in text.split("  ") if "accuracy gap" in line)
    assert "sex and race" in gap or "sex × race" in gap or "sex*race" in gap
