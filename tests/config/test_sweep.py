"""The `sweep` section: what it takes, what it refuses, how many runs it is."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config import yaml_text
from accord.config.load import dump_study, parse_study, parse_sweep
from accord.config.sweep import MOST_RUNS, Sweep, shown
from accord.core.errors import StudyError


def test_what_it_holds() -> None:
    sweep = Sweep(grid={"training.learning_rate": (0.1, 1.0), "program": ("fedavg", "cyclic")}, seeds=3)
    assert sweep.size == 12
    assert sweep.axes == (("training.learning_rate",), ("program",))
    both = Sweep(zip={"training.learning_rate": (0.1, 1.0), "program.rounds": (20, 10)}, seeds=(4, 2))
    assert (both.size, both.axes) == (4, (("training.learning_rate", "program.rounds"),))
    assert both.seeds_from(9) == (4, 2)
    assert Sweep(grid={"a.b": (None,)}).seeds_from(9) == (9,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "sweep: give grid, zip or seeds, such as seeds: 3"),
        ("{grid: {training.learning_rate: 0.1}}", "grid.training.learning_rate needs a list of values, such as [0.1]"),
        ("{grid: {training: {momentum: [0.1]}}}", "write training.momentum instead of momentum below training"),
        ("{grid: {training.momentum: []}}", "sweep: grid.training.momentum lists no value"),
        ("{grid: {training.momentum: [0, 0.0]}}", "grid.training.momentum lists 0.0 twice"),
        ("{grid: {seed: [1]}}", "list the seeds in sweep.seeds"),
        ("{grid: {sweep.seeds: [1]}}", "would sweep the sweep"),
        ("{grid: {training..momentum: [1]}}", "is not a setting's path"),
        ("{grid: {a.b: [1]}, zip: {a.b: [1]}}", "a.b is in grid and in zip"),
        ("{zip: {a.b: [1], a.c: [1, 2]}}", "must be of one length (a.b has 1, a.c has 2)"),
        ("{seeds: [1, 1]}", "seeds lists 1 twice"),
        ("{seeds: [1, x]}", "seeds takes a list of whole numbers from 0"),
        ("{seeds: [true]}", "seeds takes a list of whole numbers from 0"),
        ("{seeds: 0}", "sweep.seeds: expected a value >= 1 or a list, got 0"),
        ("{grids: {}}", "sweep.grids: unknown key; did you mean 'grid'?"),
        ("{grid: 3}", "sweep.grid: expected a mapping"),
        (f"{{seeds: {MOST_RUNS + 1}}}", "are more than the 10,000 a sweep may have"),
    ],
)
def test_what_is_wrong_is_one_line(text: str, said: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_sweep(f"data: digits\nsweep: {text}", source="x.yaml")
    message = str(caught.value)
    assert said in message
    assert message.startswith("x.yaml:2: sweep")
    assert "\n" not in message


def test_a_study_need_be_one_only_with_the_values() -> None:
    text = "data: digits\nprivacy: {unit: sample, delta: 1e-4}\nsweep: {grid: {privacy.epsilon: [1, 2]}}"
    with pytest.raises(StudyError, match="give epsilon"):
        parse_study(text)
    assert parse_sweep(text)[0].size == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: digits", "x.yaml: the study has no sweep; give it one, such as sweep: {seeds: 3}"),
        ("data: digits\nsweeps: {seeds: 3}", "x.yaml:2: sweeps: unknown section; did you mean 'sweep'?"),
        ("", "x.yaml: the file is empty"),
        ("[1]", "x.yaml: a study is a mapping"),
    ],
)
def test_a_missing_sweep(text: str, said: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_sweep(text, source="x.yaml")
    assert str(caught.value).startswith(said)


def test_set_changes_it_and_the_text_has_it() -> None:
    sweep, text = parse_sweep("data: digits", ["sweep.seeds=2", "program.rounds=3"])
    assert sweep.seeds == 2
    again, _ = parse_sweep(text)
    assert again == sweep
    assert parse_study(text).program.rounds == 3


def test_a_study_with_a_sweep_is_written_and_read_equal() -> None:
    study = parse_study("data: digits\nsweep: {grid: {privacy: [null, {unit: sample}], a.b: [x, 1e-5]}, seeds: [3, 1]}")
    assert parse_study(dump_study(study)) == study
    assert "sweep" not in study.model_dump()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["unit", "epsilon"]), inner),
    max_leaves=5,
)


@given(VALUES)
@settings(derandomize=True, deadline=None)
def test_a_value_shown_reads_back(value: Any) -> None:
    assert yaml_text.read(shown(value), "x").value == value
