from typing import Any

import pytest

from accord.config.overrides import apply
from accord.core.errors import StudyError

FEDAVG = {"program": {"name": "fedavg", "rounds": 5, "weights": "size"}}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=3", {"seed": 3}),
        ("seed = 3", {"seed": 3}),
        ("training.learning_rate=1e-3", {"training": {"learning_rate": 1e-3}}),
        ("model.hidden=[32, 16]", {"model": {"name": "mlp", "hidden": [32, 16]}}),
        ("program.rounds=7", {"program": {"name": "fedavg", "rounds": 7}}),
        ("program.name=cyclic", {"program": {"name": "cyclic"}}),
        ("program=cyclic", {"program": {"name": "cyclic"}}),
        ("program={name: cyclic, rounds: 2}", {"program": {"name": "cyclic", "rounds": 2}}),
        ("data.path=C:\\data", {"data": {"path": "C:\\data"}}),
        ("model.settings.width.first=3", {"model": {"name": "mlp", "settings": {"width": {"first": 3}}}}),
        ("data.function=mine:make=2", {"data": {"function": "mine:make=2"}}),
        ("training.local_epochs=", {"training": {"local_epochs": None}}),
        ("privacy=null", {"privacy": None}),
        ("privacy=client", {"privacy": {"unit": "client"}}),
        ("privacy.epsilon=2", {"privacy": {"epsilon": 2}}),
        ("elsewhere.a=1", {"elsewhere": {"a": 1}}),
    ],
)
def test_one_override_on_an_empty_study(override: str, expected: dict[str, Any]) -> None:
    assert apply({}, [override]).settings == expected


def test_the_last_override_wins() -> None:
    assert apply({"seed": 0}, ["seed=1", "seed=2"]).settings == {"seed": 2}
    assert apply({}, ["privacy.epsilon=2", "privacy=null"]).settings == {"privacy": None}


def test_the_settings_handed_in_are_left_alone() -> None:
    shared = {"width": 1}
    given = {"data": {"name": "custom", "settings": shared}, "model": {"name": "custom", "settings": shared}}
    result = apply(given, ["model.settings.width=2"]).settings
    assert result["model"]["settings"] == {"width": 2}
    assert result["data"]["settings"] == {"width": 1}
    assert shared == {"width": 1}


@pytest.mark.parametrize("override", ["program.name=cyclic", "program=cyclic"])
def test_another_variety_keeps_what_it_knows(override: str) -> None:
    result = apply(FEDAVG, [override])
    assert result.settings == {"program": {"name": "cyclic", "rounds": 5}}
    assert result.problems == []


def test_a_bare_name_in_the_file_can_be_built_on() -> None:
    assert apply({"program": "cyclic"}, ["program.rounds=2"]).settings == {"program": {"name": "cyclic", "rounds": 2}}


def test_the_same_variety_keeps_everything() -> None:
    assert apply(FEDAVG, ["program.name=fedavg"]).settings == FEDAVG


def test_an_unknown_variety_keeps_everything_for_the_message() -> None:
    assert apply(FEDAVG, ["program.name=x"]).settings["program"]["weights"] == "size"
    assert apply({"program": {"name": "x", "weights": "size"}}, ["program=fedavg"]).settings == {
        "program": {"name": "fedavg", "weights": "size"}
    }


def test_what_the_files_own_variety_does_not_know_stays_wrong() -> None:
    result = apply({"program": {"name": "cyclic", "weights": "size"}}, ["program.name=fedavg"])
    assert [problem.path for problem in result.problems] == [("program", "weights")]
    assert "it belongs to fedavg" in result.problems[0].text


def test_what_set_itself_gave_the_new_variety_stays_whatever_the_order() -> None:
    given = {"program": {"name": "cyclic", "order": "fixed"}}
    expected = {"program": {"name": "fedavg", "weights": "uniform"}}
    for order in (
        ["program.weights=uniform", "program=fedavg"],
        ["program=fedavg", "program.weights=uniform"],
    ):
        result = apply(given, order)
        assert result.settings == expected
        assert result.problems == []


def test_origins_name_the_override_behind_each_value() -> None:
    result = apply(FEDAVG, ["program.rounds=7", "privacy.epsilon=1"])
    assert result.origins == {
        ("program", "rounds"): "program.rounds=7",
        ("privacy",): "privacy.epsilon=1",
        ("privacy", "epsilon"): "privacy.epsilon=1",
    }
    assert apply({}, ["privacy.epsilon=1", "privacy=null"]).origins == {("privacy",): "privacy=null"}
    assert apply({}, ["model.hidden=[1,\n 2]"]).origins["model", "hidden"] == "model.hidden=[1, 2]"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rounds", "--set rounds: not of the form key=value, such as program.rounds=20"),
        ("=3", "--set =3: not of the form key=value, such as program.rounds=20"),
        ("", "--set : not of the form key=value, such as program.rounds=20"),
        ("a..b=3", "--set a..b=3: not of the form key=value, such as program.rounds=20"),
        (".a=3", "--set .a=3: not of the form key=value, such as program.rounds=20"),
        (
            "program.name.x=3",
            "--set program.name.x=3: program.name holds a value, not a section; set it as a whole",
        ),
        (
            "model.hidden.0=3",
            "--set model.hidden.0=3: model.hidden holds a value, not a section; set it as a whole",
        ),
        ("seed.x=3", "--set seed.x=3: seed holds a value, not a section; set it as a whole"),
        (
            "model.hidden=[1",
            "--set model.hidden=[1:1:3: not valid YAML: expected ',' or ']', but got '<stream end>' "
            "(while parsing a flow sequence)",
        ),
        (
            "seed={a: 1, a: 2}",
            "--set seed={a: 1, a: 2}:1:8: not valid YAML: key 'a' is given twice, first in line 1",
        ),
    ],
)
def test_an_override_that_cannot_be_applied(override: str, message: str) -> None:
    given = {"seed": 1, "program": {"name": "fedavg"}, "model": {"name": "mlp", "hidden": [8]}}
    with pytest.raises(StudyError) as caught:
        apply(given, [override])
    assert str(caught.value) == message
