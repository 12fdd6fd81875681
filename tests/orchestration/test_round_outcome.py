"""What a round came to is what was charged, and is recorded."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import accord
from accord.config.schema import Study
from accord.core.errors import DivergedError, Fault
from accord.orchestration.prepare import prepare
from accord.orchestration.rounds import train_rounds
from accord.orchestration.run_state import begin
from accord.program.base import Program, RoundOutcome

SAMPLE: dict[str, Any] = {"unit": "sample", "epsilon": 3.0, "delta": 1e-4}


def test_more_steps_than_charged_is_a_fault(small_study: Callable[..., Study], tmp_path: Path) -> None:
    prepared = prepare(small_study(privacy=SAMPLE))

    def greedy(state: Any, cohort: Any, engine: Any, streams: Any) -> Any:
        after, outcome = prepared.program.round(state, cohort, engine, streams)
        steps = {client: count + 1 for client, count in outcome.steps.items()}
        return after, RoundOutcome(outcome.samples, steps, 0, 0, 0)

    watched = replace(prepared, program=Program(prepared.program.init, greedy))
    with pytest.raises(Fault, match="took 6 local steps, but 5 were charged"):
        train_rounds(watched, tmp_path, [begin(watched, tmp_path)], None, "train")


def test_a_model_that_diverges_is_a_fault_and_the_rounds_before_are_kept(
    small_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = small_study(
        model={"name": "custom", "function": "networks:explosive"},
        training={"learning_rate": 1e8, "local_steps": 1},
        program={"name": "fedavg", "rounds": 50},
    )
    with pytest.raises(DivergedError, match=r"no longer finite; lower training\.learning_rate") as caught:
        accord.run(study, tmp_path / "run")
    assert "\n" not in str(caught.value)
    kept = accord.open_run(tmp_path / "run")
    assert kept.result is None
    assert all(bool(value.isfinite().all()) for value in kept.params.values())


def test_refused_clients_are_those_of_the_cohort_that_did_not_take_part(
    small_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = small_study(
        partition={"name": "size", "partition_sizes": [20, 40, 60, 180]},
        privacy=SAMPLE | {"noise_multiplier": 1.5},
        program={"name": "fedavg", "rounds": 300, "min_clients": 2},
    )
    run = accord.run(study, tmp_path / "run")
    for record in run.rounds:
        assert record.refused == tuple(client for client in record.cohort if client not in record.clients)
    assert any(record.refused for record in run.rounds)


@pytest.mark.parametrize("privacy", [None, SAMPLE])
@pytest.mark.parametrize("what", ["samples", "steps"])
def test_a_client_outside_of_the_cohort_is_a_fault_in_one_line(
    small_study: Callable[..., Study], tmp_path: Path, privacy: dict[str, Any] | None, what: str
) -> None:
    prepared = prepare(small_study(privacy=privacy))

    def strange(state: Any, cohort: Any, engine: Any, streams: Any) -> Any:
        after, outcome = prepared.program.round(state, cohort, engine, streams)
        counts = {"samples": dict(outcome.samples), "steps": dict(outcome.steps)}
        counts[what][99] = 1
        return after, RoundOutcome(counts["samples"], counts["steps"], 0, 0, 0)

    watched = replace(prepared, program=Program(prepared.program.init, strange))
    with pytest.raises(Fault, match="round 1: the program's outcome names client 99, who is not in the") as caught:
        train_rounds(watched, tmp_path, [begin(watched, tmp_path)], None, "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("unit", ["sample", "batch"])
def test_a_private_record_has_the_expected_rows_and_not_those_drawn(
    small_study: Callable[..., Study], tmp_path: Path, unit: str
) -> None:
    privacy = {"unit": unit, "noise_multiplier": 1.0, "delta": 1e-3}
    run = accord.run(small_study(privacy=privacy), tmp_path / "run")
    # 6 clients of 50 rows, 5 steps each with batches of 10 on average; 24 sums of Poisson sizes would not all be this.
    assert [record.samples for record in run.rounds] == [6 * 5 * 10] * 4
    assert run.outcome is not None
    assert run.outcome.samples == 4 * 6 * 5 * 10
    assert any(item.what == "rows processed" for item in run.outcome.released)
