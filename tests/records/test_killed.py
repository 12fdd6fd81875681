"""Real processes killed with SIGKILL while they write: nothing that was on the disk is lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from accord.records.checkpoints import latest
from accord.records.store import read_lines

SCRIPT = Path(__file__).with_name("writing_process.py")
KILLS = 25


class Writers:
    """Starts writers one after the other and says which rounds they reported to be on the disk."""

    def __init__(self, folder: Path) -> None:
        self._reports, write_end = os.pipe()
        os.set_blocking(self._reports, False)
        self._parent = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), str(write_end)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[write_end],
        )
        os.close(write_end)
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self._parent.stdout is not None
        return self._parent.stdout.readline().strip()

    def killed_after(self, rounds: int, seconds: float) -> list[int]:
        """The rounds that a writer reported before it was killed, so long after its first `rounds`."""
        assert self._parent.stdin is not None
        print(file=self._parent.stdin, flush=True)
        process = int(self._answer())
        reported: list[int] = []
        deadline = time.monotonic() + 20
        while len(reported) < rounds and time.monotonic() < deadline:
            time.sleep(0.001)
            reported += self._reported()
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
        assert self._answer() == "ended"
        assert len(reported) >= rounds, "the writer did not get on"
        return reported + self._reported()

    def _reported(self) -> list[int]:
        try:
            return [int(line) for line in os.read(self._reports, 1 << 20).split()]
        except BlockingIOError:
            return []

    def close(self) -> None:
        self._parent.communicate(timeout=10)
        os.close(self._reports)


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Writers]:
    made = Writers(tmp_path)
    yield made
    made.close()


def test_nothing_on_the_disk_is_lost_to_a_kill(tmp_path: Path, writers: Writers) -> None:
    moments = random.Random(12)
    before, summary, least, middles = 0, 0, 0, 0
    for _ in range(KILLS):
        wanted = moments.choice([1, 2, 3])
        reported = writers.killed_after(wanted, moments.uniform(0.0, 0.03))
        least += wanted - 1
        rounds = [line["round"] for line in read_lines(tmp_path / "rounds.jsonl")]
        ledger = [line["round"] for line in read_lines(tmp_path / "ledger.jsonl")]
        assert rounds == list(range(1, len(rounds) + 1))
        assert ledger == list(range(1, len(ledger) + 1))
        assert reported[-1] <= len(rounds) <= reported[-1] + 1
        assert len(rounds) - 1 <= len(ledger) <= len(rounds)

        checkpoint = latest(tmp_path)
        if checkpoint is None:
            assert len(rounds) == 1
            continue
        assert checkpoint.skipped == ()
        assert len(ledger) - 1 <= checkpoint.round <= len(ledger)
        assert checkpoint.round >= before, "a kill lost a checkpoint"
        assert checkpoint.state["round"] == checkpoint.round
        assert torch.equal(checkpoint.tensors["params/w"], torch.full((40_000,), float(checkpoint.round)))
        middles += len(rounds) != checkpoint.round
        before = checkpoint.round

        if (tmp_path / "result.json").exists():
            result = json.loads((tmp_path / "result.json").read_text())
            assert summary <= result["rounds"] <= checkpoint.round
            summary = result["rounds"]
        assert len(list((tmp_path / "checkpoints").glob("round-*"))) <= 3
    assert before >= least, "a resumed run lost rounds"
    assert middles, "no kill landed between the writes of a round"
