"""A process that writes a run's records until the system refuses, for `test_disk_full.py`.

`python filling_process.py FOLDER LIMIT` allows no file to grow past LIMIT bytes, where LIMIT is not 0, and
prints as JSON, for each kind of record, how many rounds it wrote and the error that ended it. Before each
kind it removes a file `ballast-KIND` beside FOLDER, if there is one, to give that kind some room.
"""

import json
import resource
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch

from accord.core.errors import StorageError
from accord.records.checkpoints import save, save_model
from accord.records.round_record import RoundRecord
from accord.records.store import append_line, write_json
from accord.records.trackers import TensorBoardTracker


def until_refused(write: Callable[[int], object]) -> dict[str, object]:
    """Calls `write` with 1, 2, ... until it raises `StorageError`; other errors end the process."""
    for round in count(1):
        try:
            write(round)
        except StorageError as error:
            return {"written": round - 1, "error": str(error)}
    raise RuntimeError("the system never refused")


def record_of(round_number: int) -> RoundRecord:
    """A round that holds little."""
    return RoundRecord(round_number, (0,), (0,), (), 1, 1, None, None, None, 100, 100, 2, {"train": 0.5})


def main() -> None:
    """Fills each kind of record."""
    folder, limit = Path(sys.argv[1]), int(sys.argv[2])
    tracker = TensorBoardTracker(folder / "tensorboard", 1)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    def weights(round_number: int) -> dict[str, torch.Tensor]:
        return {"w": torch.full((round_number * 1000,), float(round_number))}

    writes: dict[str, Callable[[int], object]] = {
        "result.json": lambda round_number: write_json(folder / "result.json", {"text": "x" * round_number * 5000}),
        "model": lambda round_number: save_model(folder / "model.safetensors", weights(round_number), {}),
        "checkpoints": lambda round_number: save(folder, round_number, weights(round_number), {"round": round_number}),
        "tensorboard": lambda round_number: tracker.round(record_of(round_number)),
        "rounds.jsonl": lambda round_number: append_line(
            folder / "rounds.jsonl", {"round": round_number, "text": "y" * 900}
        ),
    }
    refused = {}
    for kind, write in writes.items():
        folder.with_name(f"ballast-{kind}").unlink(missing_ok=True)
        refused[kind] = until_refused(write)
    print(json.dumps(refused))


if __name__ == "__main__":
    main()
