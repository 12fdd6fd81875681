"""A sweep spelled out: its points in order, their studies, and one line on all that is wrong."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accord.config.engine import VectorisedEngine
from accord.config.load import make_study
from accord.core.errors import StudyError
from accord.orchestration.prepare import prepare
from accord.sweeps.points import digest_of, plan_sweep, with_threads

Write = Callable[..., Path]


def test_the_grid_times_the_zip_times_the_seeds(sweep_file: Write) -> None:
    sweep = {
        "grid": {"training.learning_rate": [0.1, 0.2], "program": ["fedavg", "cyclic"]},
        "zip": {"program.rounds": [2, 4], "training.batch_size": [10, 5]},
        "seeds": [7, 3],
    }
    plan = plan_sweep(sweep_file(sweep))
    naive = [
        (rate, program, rounds, batch, seed)
        for rate, program in itertools.product([0.1, 0.2], ["fedavg", "cyclic"])
        for rounds, batch in [(2, 10), (4, 5)]
        for seed in [7, 3]
    ]
    found = [
        (s.training.learning_rate, s.program.name, s.program.rounds, s.training.batch_size, s.seed)
        for s in (run.study for run in plan.runs)
    ]
    assert found == naive
    assert [point.number for point in plan.points] == list(range(1, 9))
    assert {run.study.sweep for run in plan.runs} == {None}
    assert len({run.name for run in plan.runs}) == len({run.digest for run in plan.runs}) == 16
    assert all(set(run.name) <= set("abcdefghijklmnopqrstuvwxyz_=,.-0123456789") for run in plan.runs)


def test_null_and_whole_sections_are_values(sweep_file: Write) -> None:
    private = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-4}
    plan = plan_sweep(sweep_file({"grid": {"privacy": [None, private], "partition": ["iid"]}}))
    first, second = (run.study for run in plan.runs)
    assert first.privacy is None
    assert second.privacy is not None
    assert second.privacy.noise_multiplier == 1.0


def test_a_count_of_seeds_starts_from_the_studys(sweep_file: Write) -> None:
    assert plan_sweep(sweep_file({"seeds": 3}, seed=5)).seeds == (5, 6, 7)


@pytest.mark.parametrize("text", ["naïve: 'x'", "1e-5", "two\nlines", "[a, b]", "null", "007", "yes"])
def test_texts_stay_texts(text: str, sweep_file: Write) -> None:
    custom = {"name": "custom", "function": "a:b", "settings": {"k": "x"}}
    data: Any = plan_sweep(sweep_file({"grid": {"data.settings.k": [text]}}, data=custom)).runs[0].study.data
    assert data.settings == {"k": text}


def test_all_that_is_wrong_is_told_at_once(sweep_file: Write) -> None:
    grid = {"training.learning_rate": [-1, 0.1], "program.rounds": [3, 0]}
    with pytest.raises(StudyError) as caught:
        plan_sweep(sweep_file({"grid": grid}))
    assert str(caught.value) == (
        "sweep: 3 of 4 points cannot be run: "
        "point 1, training.learning_rate=-1 program.rounds=3 (and 1 more): "
        "training.learning_rate: expected a value > 0, got -1; "
        "point 4, training.learning_rate=0.1 program.rounds=0: program.rounds: expected a value >= 1, got 0"
    )


def test_what_is_wrong_everywhere_is_told_once(sweep_file: Write) -> None:
    with pytest.raises(StudyError) as caught:
        plan_sweep(sweep_file({"grid": {"training.learningrate": [1, 2, 3]}}))
    assert str(caught.value).startswith(
        "sweep: 3 of 3 points cannot be run: every point: training.learningrate: unknown key; did you mean"
    )


def test_what_is_wrong_with_the_study_itself_is_said_as_by_run(sweep_file: Write) -> None:
    path = sweep_file({"seeds": 2}, privacy={"unit": "sample", "delta": 1e-4})
    with pytest.raises(StudyError, match=r"study.yaml:\d+: privacy: give epsilon"):
        plan_sweep(path)
    with pytest.raises(StudyError, match=r"^--set program.rounds=x: program.rounds: expected a whole number"):
        plan_sweep(path, ["privacy=null", "program.rounds=x"])


def test_points_that_are_one_study_are_refused(sweep_file: Write) -> None:
    grid = {"model": ["logistic", {"name": "logistic"}]}
    with pytest.raises(StudyError, match="points 1 and 2 are one study"):
        plan_sweep(sweep_file({"grid": grid}))


def test_neither_threads_nor_the_sweep_enter_a_digest() -> None:
    study = make_study({"data": "synthetic", "program": {"name": "fedavg", "rounds": 1}})
    swept = make_study({"data": "synthetic", "program": {"name": "fedavg", "rounds": 1}, "sweep": {"seeds": 3}})
    assert digest_of(study) == digest_of(swept) == digest_of(with_threads(study, 1))
    assert prepare(study).fingerprint == prepare(swept).fingerprint
    assert digest_of(study) != digest_of(study.model_copy(update={"seed": 1}))


def test_threads_are_set_where_they_are_open() -> None:
    study = make_study({"data": "synthetic"})
    four = make_study({"data": "synthetic", "engine": {"name": "vectorised", "threads": 4}})
    plain = make_study({"data": "synthetic", "engine": "sequential"})
    assert isinstance(study.engine, VectorisedEngine)
    assert with_threads(study, 1).engine == study.engine.model_copy(update={"threads": 1})
    assert with_threads(study, None) is study
    assert with_threads(four, 1) is four
    assert with_threads(plain, 1) is plain
