"""The loop: charges before work, evaluation when due, budgets that end a run, faults that keep what was done."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import accord
from accord.config.schema import Study
from accord.data import partition_summary as summary_module
from accord.data.partition_summary import partition_summary
from accord.orchestration.prepare import prepare
from accord.orchestration.rounds import train_rounds
from accord.orchestration.run_state import begin, last_checkpoint
from accord.program.base import Program
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


def test_evaluation_and_checkpoints_when_due(small_study: Callable[..., Study], tmp_path: Path) -> None:
    study = small_study(program={"name": "fedavg", "rounds": 7}, evaluation={"every": 3, "checkpoint_every": 5})
    run = accord.run(study, tmp_path / "run")
    assert [record.round for record in run.rounds if record.test] == [3, 6, 7]
    assert all((record.groups is None) == (record.test is None) for record in run.rounds)
    assert last_checkpoint(run.folder).round == 7


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
    monkeypatch.setattr(summary_module, "MOST_LISTED", 99)
    monkeypatch.setattr(summary_module, "FIRST_LISTED", 10)
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
