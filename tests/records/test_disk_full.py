"""Disks that are really full: what was written before stays whole, and writing goes on once there is room."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from accord.records.checkpoints import latest, load_model
from accord.records.store import append_line, read_lines

SCRIPT = Path(__file__).with_name("filling_process.py")
KINDS = ["result.json", "model", "checkpoints", "tensorboard", "rounds.jsonl"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for 320 kB."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs takes root and the mount command")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=320k", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"this machine does not let root mount a tmpfs: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def filled(folder: Path, limit: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), str(limit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    refused: dict[str, Any] = json.loads(done.stdout)
    assert list(refused) == KINDS
    return refused


def check_everything_is_readable(folder: Path, refused: dict[str, Any]) -> None:
    written = {kind: refused[kind]["written"] for kind in KINDS}
    lines = read_lines(folder / "rounds.jsonl")
    assert [line["round"] for line in lines] == list(range(1, written["rounds.jsonl"] + 1))
    assert (folder / "rounds.jsonl").read_bytes().count(b"\n") == len(lines), "no part of a line is left"
    assert (folder / "rounds.jsonl").read_bytes().endswith(b"\n")

    assert len(json.loads((folder / "result.json").read_text())["text"]) == written["result.json"] * 5000
    assert torch.equal(
        load_model(folder / "model.safetensors")["w"],
        torch.full((written["model"] * 1000,), float(written["model"])),
    )
    checkpoint = latest(folder)
    assert checkpoint is not None
    assert (checkpoint.round, checkpoint.skipped) == (written["checkpoints"], ())
    assert len(checkpoint.tensors["w"]) == checkpoint.round * 1000

    reader = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    reader.Reload()
    assert [event.step for event in reader.Scalars("time/train")] == list(range(1, written["tensorboard"] + 1))
    assert list(folder.rglob("*.part")) == [], "no part of a file is left"


def check_the_refusals(refused: dict[str, Any], folder: Path, reason: str) -> None:
    for kind in KINDS:
        message = refused[kind]["error"]
        assert reason in message
        assert str(folder) in message
        assert "\n" not in message
        assert refused[kind]["written"] >= 2, f"{kind} never had room"


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    refused = filled(tmp_path, limit=60_000)
    check_the_refusals(refused, tmp_path, "File too large")
    check_everything_is_readable(tmp_path, refused)


def test_a_full_disk(small_disk: Path) -> None:
    run = small_disk / "run"
    run.mkdir()
    for kind in KINDS:
        (small_disk / f"ballast-{kind}").write_bytes(b"x" * 48 * 1024)
    refused = filled(run, limit=0)
    check_the_refusals(refused, run, "No space left on device")
    check_everything_is_readable(run, refused)

    (run / "model.safetensors").unlink()
    after = refused["rounds.jsonl"]["written"] + 1
    append_line(run / "rounds.jsonl", {"round": after})
    assert [line["round"] for line in read_lines(run / "rounds.jsonl")] == list(range(1, after + 1))
