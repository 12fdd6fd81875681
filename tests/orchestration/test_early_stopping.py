"""Early stopping in whole runs: when it ends, what is kept and charged, and that an interruption changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import accord
from accord.config.schema import Study
from accord.core.errors import RunFolderError
from accord.orchestration.early_stopping import best_params, kept_round, validate, watched, why_end
from accord.orchestration.prepare import prepare
from accord.orchestration.rounds import train_rounds
from accord.orchestration.run_state import RunState, begin, last_checkpoint, saved_params
from accord.program.evaluate import evaluate
from accord.records import store

STOPPING: dict[str, Any] = {"fraction": 0.3, "patience": 3, "metric": "loss"}


@pytest.fixture
def restless(small_study: Callable[..., Study]) -> Callable[..., Study]:
    """A study whose loss soon goes up and down: hardly separable classes at a large learning rate."""

    def make(**sections: Any) -> Study:
        return small_study(
            **{
                "data": {"name": "synthetic", "train_rows": 120, "test_rows": 200, "classes": 3, "separation": 0.5},
                "training": {"learning_rate": 0.8, "batch_size": 5},
                "program": {"name": "fedavg", "rounds": 40},
                "evaluation": {"early_stopping": STOPPING},
                **sections,
            }
        )

    return make


def result_of(run: accord.Run) -> dict[str, Any]:
    assert run.result is not None
    return run.result


def same(a: accord.Run, b: accord.Run) -> bool:
    return all(value.numpy().tobytes() == b.params[name].numpy().tobytes() for name, value in a.params.items())


def test_it_ends_after_patience_and_keeps_the_best(restless: Callable[..., Study], tmp_path: Path) -> None:
    run = accord.run(restless(), tmp_path / "run")
    result = result_of(run)
    losses = [record.validation["loss"] for record in run.rounds if record.validation]
    best = min(range(len(losses)), key=lambda i: losses[i] or 9.0)
    assert (result["status"], result["reason"]) == ("done", "early_stopping")
    assert result["rounds"] == len(losses) == best + 1 + 3 < 40
    told = result["early_stopping"]
    assert (told["stopped"], told["kept_round"], told["best"], told["n"]) == (True, best + 1, losses[best], 60)
    assert f"the model of round {best + 1} is kept" in result["message"]
    # The kept model is that of a run that ends at that round, and the final figures are its, on the other rows.
    program = {"name": "fedavg", "rounds": best + 1}
    short = accord.run(restless(program=program), tmp_path / "short")
    assert same(run, short)
    kept = run.rounds[best].test
    assert kept is not None
    assert (result["test"]["accuracy"], result["test"]["n"]) == (kept["accuracy"], 140)
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert f"Ended early, after {best + 4} of 40 rounds" in page
    assert "Stopped early" not in page


def test_held_out_rows_are_judged_apart(restless: Callable[..., Study]) -> None:
    prepared = prepare(restless())
    scores = validate(prepared, prepared.initial)
    held = prepared.federated.validation
    assert scores is not None
    assert held is not None
    evaluated = evaluate(prepared.work.task, prepared.initial, held, 100)
    assert (scores["accuracy"], scores.n) == (evaluated.value("accuracy"), 60)
    assert len(prepared.groups["group"].codes) == 140
    assert validate(prepare(restless(evaluation={})), prepared.initial) is None


def test_training_is_that_of_a_run_without(restless: Callable[..., Study], tmp_path: Path) -> None:
    """Whom it is judged on changes no round: only how many there are."""
    stopped = prepare(restless())
    plain = prepare(restless(evaluation={}))
    assert stopped.fingerprint == plain.fingerprint
    assert stopped.federated.train.order.tolist() == plain.federated.train.order.tolist()
    program = {"name": "fedavg", "rounds": 2}
    few = [accord.run(restless(program=program), tmp_path / "a")]
    few.append(accord.run(restless(program=program, evaluation={}), tmp_path / "b"))
    ends = [saved_params(last_checkpoint(run.folder).tensors) for run in few]
    assert all((value == ends[1][name]).all() for name, value in ends[0].items())


@pytest.mark.parametrize("every", [1, 4])
def test_a_run_that_is_killed_ends_as_it_would_have(restless: Callable[..., Study], tmp_path: Path, every: int) -> None:
    study = restless(evaluation={"early_stopping": STOPPING, "checkpoint_every": every})
    whole = accord.run(study, tmp_path / "whole")
    rounds = result_of(whole)["rounds"]
    for at in (1, rounds - 2, rounds):

        def kill(stage: str, record: Any, planned: int, at: int = at) -> None:
            if record.round == at:
                raise RuntimeError("power cut")

        with pytest.raises(RuntimeError, match="power cut"):
            accord.run(study, tmp_path / f"cut-{at}", on_round=kill)
        again = accord.resume(tmp_path / f"cut-{at}")
        saved = (whole.folder / "model.safetensors").read_bytes()
        assert len((again.folder / "model.safetensors").read_bytes()) == len(saved)
        assert same(again, whole)
        for of in ("status", "reason", "message", "rounds", "early_stopping", "test"):
            assert result_of(again)[of] == result_of(whole)[of]
    assert accord.resume(whole.folder).result == whole.result


def test_an_interrupted_run_keeps_its_best_so_far(restless: Callable[..., Study], tmp_path: Path) -> None:
    whole = accord.run(restless(), tmp_path / "whole")
    rounds = result_of(whole)["rounds"]

    def interrupt(stage: str, record: Any, planned: int) -> None:
        if record.round == rounds - 1:
            raise KeyboardInterrupt

    run = accord.run(restless(), tmp_path / "run", on_round=interrupt)
    told = result_of(run)
    assert (told["status"], told["reason"], told["rounds"]) == ("stopped", "interrupted", rounds - 1)
    assert (told["early_stopping"]["stopped"], told["early_stopping"]["kept_round"]) == (False, rounds - 3)
    assert same(run, whole)
    assert same(accord.resume(run.folder), whole)


def test_rounds_not_run_are_not_charged(restless: Callable[..., Study], tmp_path: Path) -> None:
    privacy = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-3}
    evaluation = {"early_stopping": STOPPING, "twin": True}
    run = accord.run(restless(privacy=privacy, evaluation=evaluation), tmp_path / "run")
    result = result_of(run)
    assert result["reason"] == "early_stopping"
    assert result["rounds"] < 40
    assert [line["round"] for line in store.read_lines(run.folder / "ledger.jsonl")] == list(
        range(1, result["rounds"] + 1)
    )
    plan = prepare(run.study).ledger.plan  # type: ignore[union-attr]
    assert result["privacy"]["epsilon"] == plan.epsilon(20, 4 * result["rounds"])
    # The twin stops by itself, on the same rows.
    assert result["twin"]["test"]["n"] == result["test"]["n"] == 140
    twin = accord.open_run(run.folder / "twin")
    assert result_of(twin)["early_stopping"]["n"] == 60
    assert any("when to stop" in row["what"] for row in result["released"])


def test_what_decides_may_not_change_on_the_way(restless: Callable[..., Study], tmp_path: Path) -> None:
    prepared = prepare(restless())
    progress = [begin(prepared, tmp_path)]

    def cut(stage: str, record: Any, planned: int) -> None:
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train_rounds(prepared, tmp_path, progress, cut, "train")
    path = tmp_path / "study.yaml"
    path.write_text(path.read_text().replace("fraction: 0.3", "fraction: 0.2"))
    with pytest.raises(RunFolderError, match="not those the run was started with"):
        accord.resume(tmp_path)


def test_rounds_that_were_not_scored_do_not_count(restless: Callable[..., Study], tmp_path: Path) -> None:
    run = accord.run(restless(evaluation={"early_stopping": STOPPING, "every": 2}), tmp_path / "run")
    section = run.study.evaluation.early_stopping
    assert section is not None
    assert all((record.validation is None) == (record.test is None) for record in run.rounds)
    seen = watched(section, run.rounds)
    assert seen.best_round is not None
    assert seen.best_round % 2 == 0
    assert len(run.rounds) in (seen.best_round + 6, 40)
    prepared = prepare(run.study)
    assert kept_round(prepared, run.rounds) == seen.best_round
    assert best_params(prepared, run.rounds, run.params, None) is None
    assert best_params(prepared, run.rounds[: seen.best_round], run.params, None) is run.params
    assert why_end(prepared, run.rounds[:-1]) is None


def test_without_it_the_last_round_is_kept(small_study: Callable[..., Study], tmp_path: Path) -> None:
    run = accord.run(small_study(), tmp_path / "run")
    prepared = prepare(run.study)
    assert kept_round(prepared, run.rounds) == 4
    assert why_end(prepared, run.rounds) is None
    assert best_params(prepared, run.rounds, run.params, None) is None
    assert result_of(run)["early_stopping"] is None
    progress = RunState(4, prepared.program.init(prepared.initial), None, run.rounds, 0)
    assert progress.final is progress.server.params


@pytest.mark.parametrize("metric", ["balanced_accuracy", "roc_auc", "accuracy"])
def test_any_score_of_the_kind_may_decide(restless: Callable[..., Study], tmp_path: Path, metric: str) -> None:
    run = accord.run(restless(evaluation={"early_stopping": STOPPING | {"metric": metric}}), tmp_path / "run")
    scores = [record.validation[metric] for record in run.rounds if record.validation]
    assert len(scores) == len(run.rounds)
    best = max(range(len(scores)), key=lambda i: scores[i] or 0.0)  # the first of equals
    assert (result_of(run)["early_stopping"]["metric"], result_of(run)["early_stopping"]["kept_round"]) == (
        metric,
        best + 1,
    )
    assert accord.open_run(run.folder).rounds == run.rounds  # the score is in the records
    state_of_balanced = {record.test[metric] for record in run.rounds if record.test}
    assert (state_of_balanced == {None}) == (metric != "accuracy")  # on the test rows, at the end alone


def test_a_regressions_error_may_decide(small_study: Callable[..., Study], tmp_path: Path) -> None:
    study = small_study(
        data={"name": "diabetes"},
        model={"name": "linear"},
        fairness=None,
        evaluation={"early_stopping": STOPPING | {"metric": "rmse"}},
    )
    run = accord.run(study, tmp_path / "run")
    errors = [record.validation["rmse"] or 9e9 for record in run.rounds if record.validation]
    assert result_of(run)["early_stopping"]["best"] == min(errors)
