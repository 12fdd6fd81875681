import io
from dataclasses import replace
from typing import Any

from rich.console import Console

from accord.reports.sweep.text import axis_name, axis_value, point_name, points_table, settings, short, values_of
from made_sweeps import made
from reports import number_runs as numbers


def printed(**kinds: Any) -> list[str]:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(points_table(made({"training.learning_rate": [0.1, 0.5], "privacy.epsilon": [1, 4]}, **kinds)))
    return console.export_text().splitlines()


def test_settings_that_share_a_name_are_told_apart() -> None:
    assert short("program.name", ["program.name", "model.name"]) == "program.name"
    assert short("training.learning_rate", ["training.learning_rate", "model.name"]) == "learning_rate"


def test_a_run_in_words() -> None:
    sweep = made({"training.learning_rate": [0.1], "privacy": [None]}, seeds=2)
    assert settings(sweep.rows[1]) == "learning_rate=0.1 privacy=null seed=1"
    assert point_name(sweep.rows[1]) == "learning_rate 0.1, privacy null"
    assert point_name(made({}, seeds=2).rows[0]) == "as the study says"
    assert len(point_name(made({"a.b": ["x" * 200], "c.d": ["y" * 200]}).rows[0])) == 60
    assert axis_name(("a.b", "c.d"), ["a.b", "c.d"]) == "b and d"
    assert axis_value(sweep.rows[0], ("training.learning_rate", "privacy")) == "0.1, null"
    assert values_of(sweep, ("privacy",)) == ["null"]


def test_the_table_has_what_there_is_and_fits() -> None:
    plain, full = printed(), printed(private=True, groups=True)
    assert len(plain) == len(full) == 5
    assert plain[0].split() == ["learning_rate", "epsilon", "runs", "accuracy"]
    assert full[0].split() == ["learning_rate", "epsilon", "runs", "accuracy", "ε", "accuracy", "gap"]
    assert all("±" in line for line in plain[1:])
    assert max(map(len, full)) <= 80


def test_very_many_points_are_cut_and_said() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(points_table(made({"a.b": list(range(60))}, seeds=1)))
    assert console.export_text().splitlines()[-1] == "… and 20 further points in summary.csv"


def test_errors_are_told_with_four_digits_or_their_interval() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(points_table(numbers.sweep({0.1: (3600.0, 3700.0), 0.5: (2500.0,)}, groups=True)))
    head, first, second = (line.split() for line in console.export_text().splitlines())
    assert head == ["learning_rate", "runs", "RMSE", "MSE", "gap"]
    assert first == ["0.1", "2", "60.4", "±", "5.3", "365", "±", "64"]
    assert second == ["0.5", "1", "50.00", "250.0"]


def test_runs_that_are_scored_otherwise_have_ended_all_the_same() -> None:
    labels, errors = made({"data": ["digits"]}, seeds=1), numbers.sweep({0.1: (3600.0, 3700.0)})
    rows = tuple(replace(row, point=2, settings={"data": "diabetes"}) for row in errors.rows)
    unknown = dict.fromkeys(labels.measures)
    rows = tuple(replace(row, measures={**unknown, **row.measures}) for row in rows)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(points_table(replace(labels, rows=(replace(labels.rows[0], task="classification"), *rows))))
    assert console.export_text().splitlines()[-1].split() == ["diabetes", "2", "–"]
