"""Clients take part while their budget lasts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import accord
from accord.config.schema import Study
from accord.orchestration.prepare import prepare
from accord.records import store

SAMPLE: dict[str, Any] = {"unit": "sample", "epsilon": 3.0, "delta": 1e-4}


def test_a_budget_ends_the_run_with_a_usable_model(small_study: Callable[..., Study], tmp_path: Path) -> None:
    study = small_study(privacy=SAMPLE | {"noise_multiplier": 1.5}, program={"name": "fedavg", "rounds": 200})
    run = accord.run(study, tmp_path / "run")
    assert run.result is not None
    assert (run.result["status"], run.result["reason"]) == ("stopped", "budget")
    done = run.result["rounds"]
    plan = prepare(study).ledger.plan  # type: ignore[union-attr]
    assert plan.epsilon(50, 5 * done) <= 3.0 < plan.epsilon(50, 5 * (done + 1))
    assert 0 < done < 200
    assert run.result["test"]["accuracy"] > 0.5
    assert len(store.read_lines(run.folder / "ledger.jsonl")) == done == len(run.rounds)
    again = accord.resume(run.folder)
    assert again.result is not None
    assert (again.result["reason"], again.result["rounds"]) == ("budget", done)


def test_clients_without_budget_stay_out_and_the_rest_go_on(small_study: Callable[..., Study], tmp_path: Path) -> None:
    """Small clients spend faster: they drop out one by one until the quorum fails."""
    study = small_study(
        partition={"name": "size", "partition_sizes": [20, 40, 60, 180]},
        privacy=SAMPLE | {"noise_multiplier": 1.5},
        program={"name": "fedavg", "rounds": 300, "min_clients": 2},
    )
    run = accord.run(study, tmp_path / "run")
    assert run.result is not None
    assert run.result["reason"] == "quorum"
    counts = [len(record.clients) for record in run.rounds]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 4
    assert counts[-1] == 2
    assert run.rounds[-1].refused == (0, 1)
    assert run.result["privacy"]["per_client"]["max"] <= 3.0


def test_client_unit_ends_when_the_population_has_spent(small_study: Callable[..., Study], tmp_path: Path) -> None:
    study = small_study(
        privacy={"unit": "client", "epsilon": 4.0, "noise_multiplier": 1.0, "delta": 1e-2},
        program={"name": "fedavg", "rounds": 200, "weights": "uniform", "cohort_size": 1, "cohort_sampling": "poisson"},
    )
    run = accord.run(study, tmp_path / "run")
    assert run.result is not None
    assert run.result["reason"] == "budget"
    plan = prepare(study).ledger.plan  # type: ignore[union-attr]
    done = run.result["rounds"]
    assert plan.epsilon(6, done) <= 4.0 < plan.epsilon(6, done + 1)
    assert any(not record.clients for record in run.rounds)  # empty cohorts are rounds too, and are charged
