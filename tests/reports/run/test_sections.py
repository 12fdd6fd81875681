from collections.abc import Callable
from dataclasses import replace
from typing import Any

from accord.reports.run import sections
from reports.examples import result_of
from reports.results import over_clients, result

Make = Callable[[str], dict[str, Any]]


def test_learning_has_both_curves_and_every_round(make: Make) -> None:
    example = make("private")
    (part,) = sections.learning(example["rounds"], result_of(example)).parts
    assert [plot.title for plot in part.plots] == ["Accuracy", "Loss"]
    assert "96.1%" in part.plots[0].alt
    assert len(part.tables[0].rows) == 20
    assert part.tables[0].rows[-1][0].text == "20"


def test_very_many_rounds_are_thinned_and_keep_the_last(make: Make) -> None:
    example = make("plain")
    rounds = [replace(example["rounds"][0], round=r) for r in range(1, 1004)]
    (part,) = sections.learning(rounds, result_of(example)).parts
    assert len(part.tables[0].rows) <= sections.MOST_ROUND_ROWS
    assert part.tables[0].rows[-1][0].text == "1,003"
    assert "every 11 rounds" in part.tables[0].caption


def test_spent_is_the_last_line_of_each_client_and_0_for_who_never_took_part() -> None:
    ledger = [{"epsilon": {"0": 0.2, "2": 0.3}}, {"epsilon": {"2": 0.4}}]
    spent = sections.epsilon_by_client(ledger, 4)
    assert spent is not None
    assert spent.tolist() == [0.2, 0.0, 0.4, 0.0]
    assert sections.epsilon_by_client([{"epsilon": {"population": 1.0}}], 4) is None
    assert sections.epsilon_by_client([], 4) is None


def test_privacy_counts_rounds_and_refusals_by_client(make: Make) -> None:
    example = make("private")
    example["ledger"][-1] |= {"clients": [0, 1], "refused": [3]}
    section = sections.privacy(example["rounds"], example["ledger"], example["partition"], result_of(example))
    rows = section.parts[0].tables[0].rows
    took, refused = [row[2].text for row in rows], [row[3].text for row in rows]
    assert took[:4] == ["20", "20", "19", "19"]
    assert refused[:4] == ["0", "0", "0", "1"]


def test_privacy_of_one_account_says_so(make: Make) -> None:
    example = make("client_unit")
    section = sections.privacy(example["rounds"], example["ledger"], example["partition"], result_of(example))
    assert "one account" in section.parts[0].text[1]
    assert [plot.title for plot in section.parts[0].plots] == ["ε by round"]
    assert not section.parts[0].tables


def test_many_clients_get_no_table(make: Make) -> None:
    example = make("crowd")
    section = sections.privacy(example["rounds"], example["ledger"], example["partition"], result_of(example))
    assert not section.parts[0].tables
    held = sections.holdings(example["partition"])
    assert not held.parts[0].tables
    assert [plot.title for plot in held.parts[0].plots] == ["Labels by client", "Rows by client"]
    assert dict(held.parts[0].facts)["Clients"] == "500"


def test_holdings_list_every_label(make: Make) -> None:
    partition = make("plain")["partition"]
    (grid,) = sections.holdings(partition).parts[0].tables
    assert grid.head[3:] == tuple(partition["class_names"])
    assert [cell.text for cell in grid.rows[0][3:]] == [str(n) for n in partition["clients"][0]["labels"]]


def test_clients_are_left_out_where_they_were_not_judged(make: Make) -> None:
    assert sections.clients(result_of(make("bare"))) is None
    assert sections.clients(result(clients=over_clients(None))) is None


def test_stages_are_shares_of_the_whole_run_longest_first(make: Make) -> None:
    (part,) = sections.cost(result_of(make("plain"))).parts
    bars = [row[2].bar for row in part.tables[0].rows]
    assert all(bar is not None and 0 <= bar <= 1 for bar in bars)
    assert bars == sorted(bars, key=lambda bar: -(bar or 0.0))
    assert dict(part.facts)["Uplink"] == "1.8 MB"


def test_released_lists_what_and_how(make: Make) -> None:
    (part,) = sections.released(result_of(make("private"))).parts
    assert [cell.text for cell in part.tables[0].rows[0]] == [
        "model after each round",
        "made from the clients' updates",
    ]
    assert not sections.released(result(released=[])).parts[0].tables


def test_versions(make: Make) -> None:
    assert ("torch", "2.13.0+cpu") in sections.versions(result_of(make("plain")))


JOINT = {"ledger": "/data/adult.ledger", "run": "5f0c", "runs": 3, "own": {"min": 0.5, "median": 0.6, "max": 0.701}}


def test_on_a_joint_ledger_clients_are_shown_by_what_this_run_charged(make: Make) -> None:
    """What earlier runs charged to clients that never took part in this one, its records do not say."""
    example = make("private")
    example["result"]["privacy"]["joint"] = JOINT
    for line in example["ledger"]:
        line["own"] = {client: value / 2 for client, value in line["epsilon"].items()}
    section = sections.privacy(example["rounds"], example["ledger"], example["partition"], result_of(example))
    (part,) = section.parts
    assert [plot.title for plot in part.plots] == ["ε by round", "ε by client, this run by itself"]
    assert "3 runs on the ledger adult.ledger together" in part.plots[0].caption
    worst = max(example["ledger"][-1]["epsilon"].values())
    assert max(row[4].text for row in part.tables[0].rows) == f"{worst / 2:.3f}"
    assert {row[5].text for row in part.tables[0].rows} == {"–"}  # the budget bounds all runs together
    facts = dict(part.facts)
    assert facts["ε, worst client"] == "1.96"
    assert facts["ε of this run by itself"] == "0.701"
    assert facts["Run in it"] == "5f0c"


def test_errors_have_two_curves_and_three_columns(make: Make) -> None:
    example = make("numbers")
    section = sections.learning(example["rounds"], result_of(example))
    (part,) = section.parts
    assert section.title == "Errors by round"
    assert [plot.title for plot in part.plots] == ["RMSE", "MAE"]
    assert part.tables[0].head[4:7] == ("RMSE", "MAE", "R²")
    assert part.tables[0].rows[-1][4].text == "54.88"


def test_rows_with_a_number_to_predict_have_no_labels_to_show(make: Make) -> None:
    (part,) = sections.holdings(make("numbers")["partition"]).parts
    assert [plot.title for plot in part.plots] == ["Rows by client"]
    assert part.tables[0].head == ("Client", "Rows", "Test rows")


def test_each_figure_over_clients_has_its_name(make: Make) -> None:
    section = sections.clients(result_of(make("plain")))
    assert section is not None
    assert section.parts[0].facts == (
        ("Mean", "86.1%"),
        ("Standard deviation", "4.7 points"),
        ("Least", "73.1%"),
        ("Worst tenth, mean", "74.4%"),
        ("Greatest", "95.8%"),
    )


def test_what_each_client_spent_is_a_share_of_its_budget(make: Make) -> None:
    example = make("private")
    section = sections.privacy(example["rounds"], example["ledger"], example["partition"], result_of(example))
    (grid,) = section.parts[0].tables
    worst = max(grid.rows, key=lambda row: float(row[4].text))
    assert [cell.text for cell in worst[4:]] == ["1.96", "98.0%"]
