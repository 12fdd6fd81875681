"""Speed of the vectorised engine, side by side with what users would pick instead, alternating in one run.

    python benchmarks/bench.py [--rounds 7] [--only WORD]

Real Fashion-MNIST from ACCORD_DATA: 100 clients, cohorts of 20, one epoch, batch 10, SGD. Each pair alternates A B
A B; the figure is the median of the pairs' ratios after one warm-up pair, the spread their quartiles. Writes
results.json and RESULTS.md beside this file. Opacus runs from the environment that `make bench-peers` makes.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from plain import round_seconds

from accord.config.load import make_study
from accord.prepare import Prepared, prepare, versions

HERE = Path(__file__).parent
OPACUS = HERE / ".peers" / "opacus" / "bin" / "python"
MLP: dict[str, Any] = {"name": "mlp", "hidden": [200, 200]}
CNN: dict[str, Any] = {"name": "tfp_cnn"}
SAMPLE = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-5}
Speed = Callable[[int], float]
"""Round number to training samples per second."""


def study(model: dict[str, Any], **sections: Any) -> Prepared:
    base: dict[str, Any] = {
        "data": {"name": "fashion-mnist"},
        "partition": {"name": "iid", "num_partitions": 100},
        "model": model,
        "training": {"batch_size": 10, "learning_rate": 0.05},
        "engine": {"name": "vectorised", "shard_size": 10},
    }
    return prepare(make_study(base | sections))


def accord_speed(prepared: Prepared, cohort: int = 20) -> Speed:
    def speed(round: int) -> float:
        torch.set_num_threads(1)
        began = time.perf_counter()
        summed = prepared.engine.sum_cohort(
            prepared.work, range(cohort), prepared.initial, round, [1 / cohort] * cohort
        )
        return sum(summed.samples.values()) / (time.perf_counter() - began)

    return speed


def plain_speed(prepared: Prepared, threads: int) -> Speed:
    model, data = prepared.work.task.model, prepared.federated
    rows = sum(len(data.train.rows(client)) for client in range(20))
    return lambda round: rows / round_seconds(model, data, range(20), 10, 0.05, threads)


def pairs(ours: Speed, theirs: Speed, rounds: int) -> tuple[list[float], float, float]:
    """Ratios of alternating pairs after a warm-up pair, and both sides' median speeds."""
    a, b = [], []
    for round in range(rounds + 1):
        a.append(ours(round + 1))
        b.append(theirs(round + 1))
    return [x / y for x, y in zip(a[1:], b[1:], strict=True)], statistics.median(a[1:]), statistics.median(b[1:])


def row(workload: str, against: str, target: float, ours: Speed, theirs: Speed, rounds: int) -> dict[str, Any]:
    ratios, a, b = pairs(ours, theirs, rounds)
    low, _, high = statistics.quantiles(ratios, n=4)
    ratio = statistics.median(ratios)
    found = {"workload": workload, "against": against, "ratio": ratio, "spread": [low, high], "target": target}
    return found | {"ok": ratio >= target, "samples_per_second": [a, b]}


def plain_row(name: str, model: dict[str, Any], target: float, rounds: int) -> dict[str, Any]:
    prepared = study(model)
    best = max((1, 2), key=lambda threads: plain_speed(prepared, threads)(1))
    ours, theirs = accord_speed(prepared), plain_speed(prepared, best)
    return row(name, f"plain loop, {best} threads", target, ours, theirs, rounds)


def opacus_row(name: str, model: dict[str, Any], short: str, target: float, rounds: int) -> dict[str, Any]:
    """One client of 6,000 rows, batch 250, against each of Opacus' modes; the best stands."""
    one = {"partition": {"name": "iid", "num_partitions": 10}, "privacy": SAMPLE}
    prepared = study(model, **one, training={"batch_size": 250, "learning_rate": 0.05})
    folder = Path(os.environ["ACCORD_DATA"]) / "fashion-mnist"
    best: dict[str, Any] = {}
    for mode in ("hooks", "functorch", "ghost"):
        command = [OPACUS, HERE / "opacus_peer.py", folder, short, "250", mode, str(rounds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        speeds = [float(line) for line in done.stdout.split()]
        found = row(name, f"Opacus {mode}", target, accord_speed(prepared, 1), lambda k, s=speeds: s[k - 1], rounds)
        if not best or found["ratio"] < best["ratio"]:
            best = found
    return best


def own_rows(rounds: int) -> list[Callable[[], dict[str, Any]]]:
    """Rows that hold Accord against itself."""

    def ragged() -> dict[str, Any]:
        skewed = {"name": "dirichlet", "num_partitions": 100, "alpha": 0.3, "min_partition_size": 10}
        uneven, even = accord_speed(study(MLP, partition=skewed)), accord_speed(study(MLP))
        return row("784-200-200-10, Dirichlet(0.3) sizes", "equal sizes", 0.8, uneven, even, rounds)

    def private(name: str, model: dict[str, Any], target: float) -> dict[str, Any]:
        training = {"batch_size": 32, "learning_rate": 0.05}
        noised, plain = (accord_speed(study(model, training=training, privacy=p)) for p in (SAMPLE, None))
        return row(f"{name}, sample-level DP, cohort of 20, batch 32", "without privacy", target, noised, plain, rounds)

    return [
        ragged,
        lambda: private("784-200-200-10", MLP, 0.4),
        lambda: private("26 k CNN", CNN, 0.7),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="rows whose workload or rival holds this word")
    arguments = parser.parse_args()
    rounds = arguments.rounds
    jobs: dict[str, Callable[[], dict[str, Any]]] = {
        "784-200-200-10 plain": lambda: plain_row("784-200-200-10", MLP, 5.5, rounds),
        "26 k CNN plain": lambda: plain_row("26 k CNN", CNN, 4.0, rounds),
        "softmax plain": lambda: plain_row("softmax regression 784-10", {"name": "logistic"}, 10.0, rounds),
        "McMahan plain": lambda: plain_row("McMahan's CNN", {"name": "mcmahan_cnn"}, 1.4, min(rounds, 5)),
    }
    jobs |= {f"own {i}": job for i, job in enumerate(own_rows(rounds))}
    if OPACUS.exists():
        jobs["784-200-200-10 opacus"] = lambda: opacus_row("784-200-200-10, DP-SGD", MLP, "mlp", 2.0, rounds)
        jobs["26 k CNN opacus"] = lambda: opacus_row("26 k CNN, DP-SGD", CNN, "cnn", 1.8, rounds)
    found = []
    for name, job in jobs.items():
        if arguments.only in name:
            found.append(job())
            print(line(found[-1]), flush=True)
    if not arguments.only:
        (HERE / "results.json").write_text(json.dumps(found, indent=1) + "\n")
        (HERE / "RESULTS.md").write_text(page(found, rounds))


def line(found: dict[str, Any]) -> str:
    low, high = found["spread"]
    a, b = found["samples_per_second"]
    verdict = "met" if found["ok"] else "NOT met"
    return (
        f"| {found['workload']} | {found['against']} | {found['ratio']:.2f} ({low:.2f}–{high:.2f}) | "
        f"≥ {found['target']:g}: {verdict} | {a:,.0f} / {b:,.0f} |"
    )


def page(found: list[dict[str, Any]], rounds: int) -> str:
    about = ", ".join(f"{name} {value}" for name, value in versions().items())
    lines = [
        "# Speed",
        "",
        f"`make bench`: medians of {rounds} alternating pairs after a warm-up pair; quartiles in brackets.",
        f"{about}; {platform.processor() or platform.machine()}.",
        "",
        "| workload | against | ratio | target | samples a second, Accord / other |",
        "| --- | --- | --- | --- | --- |",
        *map(line, found),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
