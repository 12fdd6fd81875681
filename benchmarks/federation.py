"""The time of a round across three sites: real processes on loopback, mutual TLS, signed policy, ledger and journal.

    python benchmarks/federation.py                # 200 KB and 8 MB of parameters
    python benchmarks/federation.py --rounds 100

Each site has 2,000 rows and takes one local step of 16 rows, so that a round is what the federation costs. The time is
that of `train` in the run's records: from the offer of a round to the sum of its answers. Nothing else may run.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from accord.config.load import make_study
from accord.orchestration.runs import run
from accord.sites.local_federation import local_federation

SITES = ("east", "north", "west")
SIZES = {"200 KB": 512, "8 MB": 20_000}
"""Width of the one hidden layer over 96 features and 2 classes, by the size of the parameters in float32."""
FEATURES = 96


def schema() -> dict[str, object]:
    names = {f"x{i}": [0.0, 1.0] for i in range(FEATURES)}
    return {"target": "y", "ranges": names, "categories": {"y": ["no", "yes"]}}


def rows(seed: int) -> str:
    rng = np.random.default_rng(seed)
    lines = [",".join([*(f"x{i}" for i in range(FEATURES)), "y"])]
    for values in rng.random((2500, FEATURES)).round(3):
        lines.append(",".join(map(str, values)) + (",yes" if values[0] + rng.normal(0, 0.1) > 0.5 else ",no"))
    return "\n".join(lines) + "\n"


RULE = {
    "data_set": "bench",
    "programs": ["fedavg"],
    "models": ["mlp"],
    "settings": {"model.hidden": {"most": 20_000}},
    "approval": "rule",
    "leaves": {"evaluation": "exact"},
    "unprotected": True,
    "privacy": {"least_noise": 0.1, "most_delta": 1e-3},
    "budget": {"delta": 1e-5, "total": 1e6},
    "bounds": {"rounds": 10_000, "parameters": 10_000_000},
}


def described(home: Path, name: str, seed: int) -> dict[str, object]:
    path = home / f"{name}.csv"
    path.write_text(rows(seed))
    return {"data_set": "bench", "schema": schema(), "source": {"name": "csv", "path": str(path)}}


def measure(home: Path, identity: Path, width: int, rounds: int, private: bool) -> list[float]:
    sections: dict[str, object] = {
        "data": {"name": "sites", "data_set": "bench", "schema": schema()},
        "model": {"name": "mlp", "hidden": [width]},
        "training": {"batch_size": 16, "local_steps": 1, "learning_rate": 0.1},
        "program": {"name": "fedavg", "rounds": rounds},
        "evaluation": {"every": rounds, "checkpoint_every": rounds},
        "engine": {"name": "federation", "identity": str(identity)},
        "trackers": [],
    }
    if private:
        sections["privacy"] = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-5}
    done = run(make_study(sections), home / f"run-{width}-{private}")
    return [record.seconds["train"] for record in done.rounds][5:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="accord-bench-") as folder:
        home = Path(folder)
        sites = {name: described(home, name, seed) for seed, name in enumerate(SITES)}
        with local_federation(home / "members", sites, (RULE,)) as there:
            # Private ones first: after training without privacy no epsilon holds for these rows.
            for private, size in ((private, size) for private in (True, False) for size in SIZES):
                seconds = measure(home, there.identity, SIZES[size], arguments.rounds + 5, private)
                low, middle, high = statistics.quantiles(seconds, n=4)
                what = f"{size}, {'unit sample' if private else 'without privacy'}"
                found[what] = {"median_s": middle, "low_s": low, "high_s": high, "rounds": len(seconds)}
                print(
                    f"{what}: median {middle:.3f} s ({low:.3f} to {high:.3f}) over {len(seconds)} rounds",
                    flush=True,
                )
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
