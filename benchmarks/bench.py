"""Accord beside what users would pick instead, on real Fashion-MNIST: ratios measured in one run.

    make bench                                      # everything; make bench-peers first, for the peers' rows
    python benchmarks/bench.py --only "26 k CNN"    # rows whose name holds the words; replaces those

The two sides of a row do rounds in turn, A B A B; a row's figure is the median of the pairs' ratios after one pair of
warm-up, its spread their quartiles. Needs ACCORD_DATA, and nothing else running. Writes results.json and RESULTS.md.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from report import page
from sides import HERE, Accord, Side, best_plain, installed, peer, study

from accord.orchestration.runs import run as run_study

MLP: dict[str, Any] = {"name": "mlp", "hidden": [200, 200]}
CNN: dict[str, Any] = {"name": "tfp_cnn"}
MCMAHAN: dict[str, Any] = {"name": "mcmahan_cnn"}
SOFTMAX: dict[str, Any] = {"name": "logistic"}
NAMES = {"mlp": "784-200-200-10", "cnn": "26 k CNN", "mcmahan": "McMahan's CNN", "softmax": "softmax 784-10"}
MODELS = {"mlp": MLP, "cnn": CNN, "mcmahan": MCMAHAN, "softmax": SOFTMAX}
SAMPLE: dict[str, Any] = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-5, "clip_norm": 1.0}


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        workload: what both sides do.
        against: the other side.
        ratio: Accord's speed over the other's, or what the row says.
        spread: the quartiles of the pairs' ratios.
        target: what must be reached; None where nothing was asked.
        ok: whether it is.
        most: the target is not to be passed, instead of to be reached.
        figures: both sides' medians, in `unit`.
        unit: of the figures.
        accuracy: both sides' test accuracy after as many rounds, where it is known.
        measured: the day and Accord's commit.
    """

    workload: str
    against: str
    ratio: float
    spread: tuple[float, float]
    target: float | None
    ok: bool
    most: bool = False
    figures: tuple[float, float] = (0.0, 0.0)
    unit: str = "samples/s"
    accuracy: tuple[float | None, float | None] = (None, None)
    measured: str = ""


def compare(workload: str, against: str, target: float | None, ours: Side, theirs: Side, rounds: int) -> Row:
    """Rounds in turn."""
    a, b = [], []
    for number in range(1, rounds + 2):
        a.append(ours.round(number))
        b.append(theirs.round(number))
    ratios = [x / y for x, y in zip(a[1:], b[1:], strict=True)]
    ratio = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4)
    figures = (statistics.median(a[1:]), statistics.median(b[1:]))
    accuracy = (ours.accuracy, theirs.accuracy)
    return Row(workload, against, ratio, (low, high), target, target is None or ratio >= target, False, figures,
               "samples/s", accuracy)  # fmt: skip


def plain_row(short: str, target: float, rounds: int) -> Row:
    prepared = study(MODELS[short])
    theirs, name = best_plain(prepared)
    return compare(NAMES[short], name, target, Accord(prepared), theirs, rounds)


def peer_row(name: str, short: str, target: float | None, rounds: int) -> Row:
    label = {"pfl": "pfl 0.6, 2 processes", "flower": "Flower 1.41, 2 workers"}[name]
    with peer(name, short) as theirs:
        ours = Accord(study(MODELS[short]))
        for side in (ours, theirs):
            side.round(0)  # a peer's first round sets it up; as many rounds on both sides
        return compare(NAMES[short], label, target, ours, theirs, rounds)


def opacus_row(short: str, target: float, rounds: int) -> Row:
    """One client of 6,000 rows in batches of 250; Opacus in each of its modes with 1 and 2 threads, the best stands."""
    sections: dict[str, Any] = {"partition": {"name": "iid", "num_partitions": 10}, "privacy": SAMPLE}
    sections["program"] = {"name": "fedavg", "cohort_size": 1}
    prepared = study(MODELS[short], **sections, training={"batch_size": 250, "learning_rate": 0.05})
    speeds = {}
    for mode in ("hooks", "functorch", "ew", "ghost"):
        for threads in ("1", "2"):
            with peer("opacus", short, mode, threads) as trial:
                speeds[mode, threads] = max(trial.round(number) for number in (1, 2))
    mode, threads = max(speeds, key=lambda key: speeds[key])
    label = f"Opacus 1.6 {mode}, {threads} thread{'s' if threads == '2' else ''}"
    with peer("opacus", short, mode, threads) as theirs:
        return compare(f"{NAMES[short]}, DP, one client, batch 250", label, target, Accord(prepared, (0,)), theirs,
                       rounds)  # fmt: skip


def ragged_row(rounds: int) -> Row:
    skewed = {
        "name": "dirichlet",
        "num_partitions": 100,
        "alpha": 0.3,
        "min_partition_size": 10,
        "self_balancing": True,
    }
    ours, theirs = Accord(study(MLP, partition=skewed)), Accord(study(MLP))
    return compare(f"{NAMES['mlp']}, Dirichlet(0.3) sizes", "equal sizes", 0.8, ours, theirs, rounds)


def private_row(short: str, target: float, rounds: int) -> Row:
    training = {"batch_size": 32, "learning_rate": 0.05}
    noised, plain = (Accord(study(MODELS[short], training=training, privacy=p)) for p in (SAMPLE, None))
    return compare(f"{NAMES[short]}, DP, cohort of 20, batch 32", "the same without privacy", target, noised, plain,
                   rounds)  # fmt: skip


def population_rows(rounds: int) -> list[Row]:
    """A million clients: each cohort size in processes of its own, in turn, for peak memory's sake."""
    seconds: dict[int, list[float]] = {100: [], 10_000: []}
    memory: dict[int, list[float]] = {100: [], 10_000: []}
    for _ in range(3):
        for cohort in seconds:
            command = [sys.executable, __file__, "--population", str(cohort), "--rounds", str(rounds)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            seconds[cohort].append(found["seconds"] / cohort)
            memory[cohort].append(found["mb"])
    rows = []
    for against, unit, limit, values in (
        ("cohort 100: time a client", "ms/client", 1.1, {k: [1000 * s for s in v] for k, v in seconds.items()}),
        ("cohort 100: peak memory", "MB", 1.3, memory),
    ):
        ratios = sorted(a / b for a, b in zip(values[10_000], values[100], strict=True))
        figures = (statistics.median(values[10_000]), statistics.median(values[100]))
        rows.append(Row("population 1,000,000, cohort 10,000", against, ratios[1], (ratios[0], ratios[2]), limit,
                        ratios[1] <= limit, True, figures, unit))  # fmt: skip
    return rows


def population(cohort: int, rounds: int) -> None:
    """One process of `population_rows`: a whole run, records and report included; prints seconds and memory."""
    from accord.config.load import make_study

    values = {
        "data": {"name": "synthetic", "train_rows": 2_000_000, "test_rows": 2000, "features": 20, "classes": 5},
        "partition": {"name": "iid", "num_partitions": 1_000_000},
        "model": {"name": "mlp", "hidden": [32]},
        "training": {"batch_size": 2, "learning_rate": 0.1, "local_epochs": 5},
        "program": {"name": "fedavg", "rounds": rounds + 1, "cohort_size": cohort},
    }
    with tempfile.TemporaryDirectory() as folder:
        done = run_study(make_study(values), Path(folder) / "run")
    trained = [record.seconds["train"] for record in done.rounds][1:]
    print(json.dumps({"seconds": statistics.median(trained), "mb": (done.result or {})["peak_rss_mb"]}))


def startup_row(rounds: int) -> Row:
    """`accord run examples/digits.yaml`, from process start to its first round's line."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(rounds):
            command = [
                str(Path(sys.executable).parent / "accord"),
                "run",
                str(HERE.parent / "examples" / "digits.yaml"),
            ]
            began = time.perf_counter()
            with subprocess.Popen([*command, "--out", f"{folder}/{i}"], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True) as process:  # fmt: skip
                line = process.stderr.readline() if process.stderr else ""
                seconds.append(time.perf_counter() - began)
                process.kill()
            if not re.search(r"training: round 1/", line):
                raise RuntimeError(f"the run did not start: {line}")
    low, middle, high = statistics.quantiles(seconds, n=4)
    return Row("accord run examples/digits.yaml", "seconds from process start to first round", middle, (low, high),
               4.0, middle <= 4.0, True, (middle, 4.0), "s")  # fmt: skip


def jobs(rounds: int) -> dict[str, Callable[[], Row | list[Row]]]:
    """Every row by name, in the table's order."""
    few = min(rounds, 5)
    out: dict[str, Callable[[], Row | list[Row]]] = {}
    for short, plain, pfl, flower in (
        ("mlp", 5.5, 3.3, None), ("cnn", 4.0, 2.0, None), ("mcmahan", 1.4, 1.1, None), ("softmax", 10.0, None, None),
    ):  # fmt: skip
        count = few if short == "mcmahan" else rounds
        out[f"{NAMES[short]} plain"] = lambda s=short, t=plain, n=count: plain_row(s, t, n)
        if installed("pfl"):
            out[f"{NAMES[short]} pfl"] = lambda s=short, t=pfl, n=count: peer_row("pfl", s, t, n)
        if installed("flower"):
            out[f"{NAMES[short]} flower"] = lambda s=short, t=flower, n=few: peer_row("flower", s, t, n)
    out["ragged"] = lambda: ragged_row(rounds)
    if installed("opacus"):
        out[f"{NAMES['mlp']} opacus"] = lambda: opacus_row("mlp", 2.0, rounds)
        out[f"{NAMES['cnn']} opacus"] = lambda: opacus_row("cnn", 1.8, rounds)
    out[f"{NAMES['mlp']} private"] = lambda: private_row("mlp", 0.4, rounds)
    out[f"{NAMES['cnn']} private"] = lambda: private_row("cnn", 0.7, rounds)
    out["population"] = lambda: population_rows(few)
    out["startup"] = lambda: startup_row(rounds)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="pairs measured, at least 5 (default 9)")
    parser.add_argument("--only", default="", help="rows whose name holds these words")
    parser.add_argument("--population", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.population:
        population(arguments.population, arguments.rounds)
        return
    if not os.environ.get("ACCORD_DATA"):
        sys.exit("bench: set ACCORD_DATA to the folder that holds fashion-mnist")
    os.environ["ACCORD_DATA"] = str(Path(os.environ["ACCORD_DATA"]).resolve())  # peers run in a folder of their own
    missing = [name for name in ("pfl", "flower", "opacus") if not installed(name)]
    if missing:
        print(f"bench: without {', '.join(missing)} (make bench-peers sets them up)", file=sys.stderr)
    every = jobs(max(5, arguments.rounds))
    chosen = {name: job for name, job in every.items() if arguments.only in name}
    if not chosen:
        sys.exit(f"bench: no row's name holds {arguments.only!r}; the rows: {', '.join(every)}")
    store = HERE / "results.json"
    # A row measured takes the place of the one of the same name; others stay until they are measured.
    found = [Row(**row) for row in json.loads(store.read_text())] if store.exists() else []
    for job in chosen.values():
        rows = job()
        for row in rows if isinstance(rows, list) else [rows]:
            row = replace(row, measured=stamp())
            found = put(found, row)
            print(page([row], heading=False), flush=True)
        store.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n")
        (HERE / "RESULTS.md").write_text(page(found))


def stamp() -> str:
    """Today and the commit that is measured."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()
    return f"{date.today().isoformat()} {commit}".strip()


def put(rows: list[Row], row: Row) -> list[Row]:
    """Rows with `row` in the place of the one that compares the same, or at the end."""
    same = [i for i, one in enumerate(rows) if (one.workload, family(one)) == (row.workload, family(row))]
    return [row if i in same[:1] else one for i, one in enumerate(rows)] + ([] if same else [row])


def family(row: Row) -> str:
    """Whom the row compares with, whatever its mode or thread count."""
    return row.against if row.against.startswith("cohort") else row.against.split()[0]


if __name__ == "__main__":
    main()
