"""A process that writes a run's records without end, to be killed by `test_killed.py`.

`python writing_process.py FOLDER` imports torch once. Each line on its standard input then makes it fork a
writer that resumes the run in FOLDER; it answers with the writer's process id. Writers report each round
that is on the disk to the file descriptor given as the second argument, one number a line.
"""

import os
import sys
from itertools import count
from pathlib import Path
from typing import Any

import torch

from accord.records.checkpoints import latest, save
from accord.records.store import append_line, keep_lines, read_lines, write_json


def tensors_of(round_number: int) -> dict[str, torch.Tensor]:
    """What round `round_number` saves: large enough that a kill lands inside writes too."""
    return {"params/w": torch.full((40_000,), float(round_number)), "extra/steps": torch.tensor(round_number)}


def line_of(round_number: int) -> dict[str, Any]:
    """The line of round `round_number` in both append-only files."""
    return {"round": round_number, "cohort": list(range(round_number % 7, 2000))}


def write_for_ever(folder: Path, report: int) -> None:
    """Resumes at the newest checkpoint and goes on until killed."""
    checkpoint = latest(folder)
    resumed = checkpoint.round if checkpoint else 0
    for name in ("rounds.jsonl", "ledger.jsonl"):
        keep_lines(folder / name, lambda line: line["round"] <= resumed)
        if len(read_lines(folder / name)) != resumed:
            raise SystemExit(f"{name} lacks lines of the checkpoint's rounds")
    for round in count(resumed + 1):
        append_line(folder / "rounds.jsonl", line_of(round))
        os.write(report, f"{round}\n".encode())
        append_line(folder / "ledger.jsonl", line_of(round))
        save(folder, round, tensors_of(round), line_of(round))
        write_json(folder / "result.json", {"rounds": round, "padding": "x" * 50_000})


def main() -> None:
    """Forks a writer for each line of standard input."""
    folder, report = Path(sys.argv[1]), int(sys.argv[2])
    print("ready", flush=True)
    while sys.stdin.readline():
        process = os.fork()
        if process == 0:
            write_for_ever(folder, report)
        print(process, flush=True)
        os.waitpid(process, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main()
