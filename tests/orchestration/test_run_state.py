"""A run goes on from its checkpoint, or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accord.config.schema import Study
from accord.core.errors import RunFolderError
from accord.orchestration.prepare import prepare
from accord.orchestration.rounds import train_rounds
from accord.orchestration.run_state import RunState, begin, last_checkpoint, resume_from
from accord.records import store

SAMPLE: dict[str, Any] = {"unit": "sample", "epsilon": 3.0, "delta": 1e-4}


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


def test_a_run_whose_ledger_lacks_charges_is_not_taken_up(small_study: Callable[..., Study], tmp_path: Path) -> None:
    prepared = prepare(small_study(privacy=SAMPLE))
    train_rounds(prepared, tmp_path, [begin(prepared, tmp_path)], None, "train")
    (tmp_path / "ledger.jsonl").unlink()
    with pytest.raises(RunFolderError, match="not one charge a round"):
        resume_from(prepared, tmp_path, last_checkpoint(tmp_path))
