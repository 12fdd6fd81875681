"""An interrupt inside a round leaves nothing of that round in what clients keep.

The round is done again with the same noise: control variates of the first attempt would take that noise off the second.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import accord
from accord.config.schema import Study
from accord.orchestration import rounds, run_state, scoring
from accord.program import local

PRIVATE = {"unit": "sample", "noise_multiplier": 5.0, "delta": 1e-3}
KINDS: dict[str, dict[str, Any]] = {
    "scaffold": {"program": {"name": "scaffold", "rounds": 4}, "privacy": PRIVATE},
    "fedbn": {"program": {"name": "fedbn", "rounds": 4, "local_layers": ["3.*"]}, "privacy": PRIVATE},
    "ditto": {"program": {"name": "ditto", "rounds": 4}},
}


def study(kind: str, engine: dict[str, Any]) -> Study:
    return Study.model_validate(
        {
            "data": {"name": "synthetic", "train_rows": 120, "test_rows": 60, "features": 4},
            "partition": {"name": "iid", "num_partitions": 4},
            "model": {"name": "mlp", "hidden": [5]},
            "training": {"learning_rate": 0.05, "batch_size": 10},
            "engine": engine,
            **KINDS[kind],
        }
    )


def cut_between_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a round is half done: after the tenth client's work."""
    finish, ended = local.finish, iter(range(1000))

    def interrupted(*arguments: Any, **named: Any) -> local.Finished:
        if next(ended) == 10:
            raise KeyboardInterrupt
        return finish(*arguments, **named)

    monkeypatch.setattr(local, "finish", interrupted)


def cut_while_judging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after the third round's work and before its record."""
    scores, asked = scoring.score_model, iter(range(1000))

    def interrupted(*arguments: Any) -> Any:
        if next(asked) == 2:
            raise KeyboardInterrupt
        return scores(*arguments)

    monkeypatch.setattr(rounds, "score_model", interrupted)


def cut_after_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between the third round's checkpoint and its being taken note of."""
    save, saved = run_state.save, iter(range(1000))

    def interrupted(*arguments: Any) -> None:
        save(*arguments)
        if next(saved) == 3:
            raise KeyboardInterrupt

    for module in (rounds, run_state):
        monkeypatch.setattr(module, "save", interrupted)


def compared(run: accord.Run) -> dict[str, Any]:
    result = dict(run.result or {})
    return {key: result[key] for key in ("rounds", "test", "privacy", "clients", "personal", "communication")}


@pytest.mark.parametrize("cut", [cut_between_clients, cut_while_judging, cut_after_saving])
@pytest.mark.parametrize("engine", [{"name": "sequential"}, {"name": "vectorised", "chunk_size": 1, "threads": 1}])
@pytest.mark.parametrize("kind", KINDS)
def test_the_resumed_run_is_the_uninterrupted_one(
    kind: str, engine: dict[str, Any], cut: Callable[[pytest.MonkeyPatch], None], tmp_path: Path
) -> None:
    whole = accord.run(study(kind, engine), tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        cut(patch)
        stopped = accord.run(study(kind, engine), tmp_path / "cut")
    assert stopped.result is not None
    assert stopped.result["reason"] == "interrupted"
    assert stopped.result["rounds"] in (1, 2)
    again = accord.resume(tmp_path / "cut")
    assert compared(again) == compared(whole)
    for name, value in whole.params.items():
        assert torch.equal(again.params[name], value), name


@pytest.mark.parametrize("kind", ["fedbn", "ditto"])
def test_what_a_stopped_run_tells_is_of_the_rounds_it_recorded(kind: str, tmp_path: Path) -> None:
    """Own models as they were after the last recorded round, not as the unfinished one left them."""
    engine = {"name": "sequential"}
    told: list[Any] = []

    def second(stage: str, record: Any, planned: int) -> None:
        if record.round == 2:
            raise KeyboardInterrupt

    clean = accord.run(study(kind, engine), tmp_path / "clean", on_round=second)
    with pytest.MonkeyPatch.context() as patch:
        cut_while_judging(patch)
        stopped = accord.run(study(kind, engine), tmp_path / "cut")
    for run in (clean, stopped):
        assert run.result is not None
        assert run.result["rounds"] == 2
        told.append(run.result["personal"])
    assert told[0] is not None
    assert told[0] == told[1]
