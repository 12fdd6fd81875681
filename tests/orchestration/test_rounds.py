"""The loop: charges before work, evaluation when due, budgets that end a run, faults that keep what was done."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import accord
from accord.config.schema import Study
from accord.core.errors import DivergedError, Fault, RunFolderError
from accord.data import partition_summary as holdings
from accord.orchestration.prepare import prepare
from accord.orchestration.rounds import RunState, begin, last_checkpoint, partition_summary, resume_from, train_rounds
from accord.program.base import Program, RoundOutcome
from accord.records import store

SAMPLE: dict[str, Any] = {"unit": "sample", "epsilon": 3.0, "delta": 1e-4}


def test_a_charge_is_on_disk_before_its_round(small_study: Callable[..., Study], tmp_path: Path) -> None:
    prepared = prepare(small_study(privacy=SAMPLE))
    lines_at_work: list[int] = []

    def round(state: Any, cohort: Any, engine: Any, streams: Any) -> Any:
        lines_at_work.append(len(store.read_lines(tmp_path / "ledger.jsonl")))
        return prepared.program.round(state, cohort, engine, streams)

    watched = replace(prepared, program=Program(prepared.program.init, round))
    assert train_rounds(watched, tmp_path, [begin(watched, tmp_path)], None, "train") is None
    assert lines_at_work == [1, 2, 3, 4]


def test_the_ledger_file_says_what_each_client_spent(small_study: Callable[..., Study], tmp_path: Path) -> None:
    program = {"name": "fedavg", "rounds": 5, "cohort_size": 3}
    run = accord.run(small_study(privacy=SAMPLE, program=program), tmp_path / "run")
    prepared = prepare(run.study)
    assert prepared.ledger is not None
    plan, rounds_of = prepared.ledger.plan, dict.fromkeys(range(6), 0)
    for line, record in zip(store.read_lines(run.folder / "ledger.jsonl"), run.rounds, strict=True):
        assert tuple(line["clients"]) == record.clients
        for client in line["clients"]:
            rounds_of[client] += 1
            assert line["epsilon"][str(client)] == plan.epsilon(50, 5 * rounds_of[client])
    assert run.result is not None
    assert run.result["privacy"]["epsilon"] == max(plan.epsilon(50, 5 * k) for k in rounds_of.values())
    assert run.result["privacy"]["per_client"]["min"] == min(plan.epsilon(50, 5 * k) for k in rounds_of.values())


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
        privacy={"unit": "client", "epsilon": 9.0, "noise_multiplier": 1.0, "delta": 1e-2},
        program={"name": "fedavg", "rounds": 100, "weights": "uniform", "cohort_size": 2, "cohort_sampling": "poisson"},
    )
    run = accord.run(study, tmp_path / "run")
    assert run.result is not None
    assert run.result["reason"] == "budget"
    plan = prepare(study).ledger.plan  # type: ignore[union-attr]
    done = run.result["rounds"]
    assert plan.epsilon(6, done) <= 9.0 < plan.epsilon(6, done + 1)
    assert any(not record.clients for record in run.rounds)  # empty cohorts are rounds too, and are charged


def test_more_steps_than_charged_is_a_fault(small_study: Callable[..., Study], tmp_path: Path) -> None:
    prepared = prepare(small_study(privacy=SAMPLE))

    def greedy(state: Any, cohort: Any, engine: Any, streams: Any) -> Any:
        after, outcome = prepared.program.round(state, cohort, engine, streams)
        steps = {client: count + 1 for client, count in outcome.steps.items()}
        return after, RoundOutcome(outcome.samples, steps, 0, 0, 0)

    watched = replace(prepared, program=Program(prepared.program.init, greedy))
    with pytest.raises(Fault, match="took 6 local steps, but 5 were charged"):
        train_rounds(watched, tmp_path, [begin(watched, tmp_path)], None, "train")


def test_evaluation_and_checkpoints_when_due(small_study: Callable[..., Study], tmp_path: Path) -> None:
    study = small_study(program={"name": "fedavg", "rounds": 7}, evaluation={"every": 3, "checkpoint_every": 5})
    run = accord.run(study, tmp_path / "run")
    assert [record.round for record in run.rounds if record.test] == [3, 6, 7]
    assert all((record.groups is None) == (record.test is None) for record in run.rounds)
    assert last_checkpoint(run.folder).round == 7


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


def test_taking_up_drops_what_came_after_the_checkpoint(small_study: Callable[..., Study], tmp_path: Path) -> None:
    prepared = prepare(small_study(privacy=SAMPLE, evaluation={"checkpoint_every": 3}))
    progress = [begin(prepared, tmp_path)]
    train_rounds(prepared, tmp_path, progress, None, "train")
    full: RunState = progress[0]
    (tmp_path / "checkpoints" / "round-000004.safetensors").unlink()
    back = resume_from(prepared, tmp_path, last_checkpoint(tmp_path))
    assert (back.round, back.resumes) == (3, 1)
    assert len(store.read_lines(tmp_path / "rounds.jsonl")) == len(store.read_lines(tmp_path / "ledger.jsonl")) == 3
    assert back.ledger is not None
    assert back.ledger.steps.tolist() == [15] * 6
    # A charge that is taken back is not forgotten: an auditor finds every one that was ever written.
    assert [line["round"] for line in store.read_lines(tmp_path / "replayed.jsonl")] == [4]
    again = [back]
    train_rounds(prepared, tmp_path, again, None, "train")
    for name, value in full.server.params.items():
        assert value.numpy().tobytes() == again[0].server.params[name].numpy().tobytes()


def test_partition_summary_adds_up(small_study: Callable[..., Study]) -> None:
    federated = prepare(small_study()).federated
    summary: Any = partition_summary(federated)
    assert sum(client["rows"] for client in summary["clients"]) == 300
    assert sum(client["test_rows"] for client in summary["clients"]) == 120
    assert all(sum(client["labels"]) == client["rows"] for client in summary["clients"])


def test_a_run_of_too_many_clients_to_list_is_whole(
    small_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partition summed up, ledger by client all the same: taken up at a checkpoint, it ends as it would have."""
    monkeypatch.setattr(holdings, "MOST_LISTED", 99)
    monkeypatch.setattr(holdings, "FIRST_LISTED", 10)
    study = small_study(
        partition={"name": "iid", "num_partitions": 100},
        privacy={"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-2},
        program={"name": "fedavg", "rounds": 4, "cohort_size": 20},
    )
    run = accord.run(study, tmp_path / "run")
    partition = store.read_json(run.folder / "partition.json")
    assert (partition["population"], partition["rows"]) == (100, {"3": 100})
    assert len(partition["first_clients"]) == 10
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "the records list the first 10 clients one by one" in page
    assert "100 clients, by their commonest label" in page
    lines = store.read_lines(run.folder / "ledger.jsonl")

    def kill(stage: str, record: Any, planned: int) -> None:
        if record.round == 2:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        accord.run(study, tmp_path / "again", on_round=kill)
    again = accord.resume(tmp_path / "again")
    assert store.read_lines(again.folder / "ledger.jsonl") == lines
    assert (again.folder / "model.safetensors").read_bytes() == (run.folder / "model.safetensors").read_bytes()
    assert again.result is not None
    assert run.result is not None
    assert again.result["privacy"] == run.result["privacy"]


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


def test_a_run_whose_ledger_lacks_charges_is_not_taken_up(small_study: Callable[..., Study], tmp_path: Path) -> None:
    prepared = prepare(small_study(privacy=SAMPLE))
    train_rounds(prepared, tmp_path, [begin(prepared, tmp_path)], None, "train")
    (tmp_path / "ledger.jsonl").unlink()
    with pytest.raises(RunFolderError, match="not one charge a round"):
        resume_from(prepared, tmp_path, last_checkpoint(tmp_path))
