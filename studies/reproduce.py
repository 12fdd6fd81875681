"""Runs a study's variants over its seeds and writes the table beside the source's figures.

    python studies/reproduce.py tutorial-mnist [--jobs 2]

Reads NAME/study.yaml and NAME/runs.yaml; runs `accord run` for each variant and seed; writes NAME/results.json
(what each run printed, abridged) and NAME/table.md. Runs already in results.json are not repeated.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from scipy import stats

HERE = Path(__file__).parent
KEPT = ("status", "rounds", "test", "privacy", "fairness", "communication", "seconds", "samples_per_second", "versions")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(path.parent.name for path in HERE.glob("*/runs.yaml")))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    arguments = parser.parse_args()
    folder = HERE / arguments.name
    plan = yaml.safe_load((folder / "runs.yaml").read_text())
    store = folder / "results.json"
    results: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {}

    def one(job: tuple[dict[str, Any], int]) -> None:
        variant, seed = job
        key = f"{variant['label']} / seed {seed}"
        if key not in results:
            results[key] = run(folder / "study.yaml", {**variant["set"], "seed": seed})
            store.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
            print(f"{key}: {results[key]['test']['accuracy']:.4f}", file=sys.stderr)

    jobs = [(variant, seed) for variant in plan["variants"] for seed in plan["seeds"]]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(one, jobs))
    text, met = table(arguments.name, plan, results)
    (folder / "table.md").write_text(text)
    print(text)
    return 0 if met else 1


def run(study: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """One run's JSON, abridged."""
    options = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            str(Path(sys.executable).with_name("accord")),
            "run",
            str(study),
            *options,
            "--json",
            "--out",
            f"{folder}/run",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(command)}\n{done.stderr.strip().splitlines()[-1]}")
    result = json.loads(done.stdout)
    for group in (result["fairness"] or {"groups": {}})["groups"].values():
        del group["calibration"], group["confusion"]  # long, and in no table
    return {key: result[key] for key in KEPT}


def mean_interval(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of the 95% t interval over seeds."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, float(half)


def percent(values: list[float]) -> str:
    mean, half = mean_interval(values)
    return f"{100 * mean:.2f} ± {100 * half:.2f}" if len(values) > 1 else f"{100 * mean:.2f}"


def table(name: str, plan: dict[str, Any], results: dict[str, Any]) -> tuple[str, bool]:
    """The study's Markdown table, and whether every target in it is met."""
    lines = [
        f"# {plan['title']}",
        "",
        f"Command: `python studies/reproduce.py {name}`",
        f"Source: {plan['source']}.",
        "",
    ]
    lines += ["| variant | test accuracy % (mean ± 95% over seeds) | each seed | ε | noise | source | target |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    met = True
    for variant in plan["variants"]:
        runs = [results[f"{variant['label']} / seed {seed}"] for seed in plan["seeds"]]
        accuracy = [r["test"]["accuracy"] for r in runs]
        private = runs[0]["privacy"]
        epsilon = f"{max(r['privacy']['epsilon'] for r in runs):.3f}" if private else "none"
        noise = f"{private['noise_multiplier']:.3f}" if private else "–"
        target = "–"
        if "at_least" in variant:
            reached = statistics.fmean(accuracy) >= variant["at_least"]
            met = met and reached
            target = f"≥ {100 * variant['at_least']:.1f}: {'met' if reached else 'NOT met'}"
        each = ", ".join(f"{100 * a:.2f}" for a in accuracy)
        cells = [variant["label"], percent(accuracy), each, epsilon, noise, variant.get("reported", "–"), target]
        lines.append(f"| {' | '.join(cells)} |")
    if plan.get("paired"):
        lines += ["", paired(plan, results)]
    if plan.get("note"):
        lines += ["", plan["note"]]
    if plan.get("groups"):
        lines += ["", *groups(plan, results)]
    versions = results[next(iter(results))]["versions"]
    lines += ["", "Versions: " + ", ".join(f"{key} {value}" for key, value in versions.items()) + ".", ""]
    return "\n".join(lines), met


def paired(plan: dict[str, Any], results: dict[str, Any]) -> str:
    """Each variant's accuracy less the first's, seed by seed, with 95% t-intervals."""
    first, *others = (
        [results[f"{variant['label']} / seed {seed}"]["test"]["accuracy"] for seed in plan["seeds"]]
        for variant in plan["variants"]
    )
    told = []
    for variant, accuracy in zip(plan["variants"][1:], others, strict=True):
        differences = [100 * (one - base) for one, base in zip(accuracy, first, strict=True)]
        spread = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
        told.append(f"{variant['label']} {statistics.fmean(differences):+.2f} ± {spread:.2f}")
    return f"Points more than {plan['variants'][0]['label']}, seed by seed: {'; '.join(told)}."


def groups(plan: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """Rates and gaps by group: means over seeds, of the figures and of the ends of their intervals."""
    lines = [
        f"Means over seeds {plan['seeds']}, of the figures and, in brackets, of the ends of their 95% intervals over",
        "test rows. A gap is the largest difference between groups: noise in small groups can only widen it. Its",
        "interval allows for that, and for how many pairs of groups there are (see docs/fairness.md).",
    ]
    for column in results[next(iter(results))]["fairness"]["columns"]:
        lines += ["", f"## {column}", ""]
        lines += ["| variant | group | n | accuracy % | selection rate % | TPR % | FPR % |", "|" + " --- |" * 7]
        gaps = ["| variant | accuracy gap | demographic parity diff. | equalised odds diff. | worst group |"]
        gaps += ["|" + " --- |" * 5]
        for variant in plan["variants"]:
            runs = [results[f"{variant['label']} / seed {seed}"]["fairness"] for seed in plan["seeds"]]
            for group, first in runs[0]["groups"].items():
                if group.partition("=")[0] == column and first["n"]:
                    lines.append(f"| {' | '.join(group_cells(variant['label'], group, first, runs))} |")
            gaps.append(f"| {' | '.join(gap_cells(variant['label'], column, runs))} |")
        lines += ["", *gaps]
    return lines


def group_cells(label: str, group: str, first: dict[str, Any], runs: list[dict[str, Any]]) -> list[str]:
    small = " (too small to say)" if first["too_small"] else ""
    cells = [label, group.partition("=")[2] + small, str(first["n"])]
    for rate in ("accuracy", "selection_rate", "tpr", "fpr"):
        values = [r["groups"][group][rate] for r in runs if r["groups"][group][rate] is not None]
        intervals = [r["groups"][group]["intervals"][rate] for r in runs]
        ends = [statistics.fmean(ends[side] for ends in intervals) for side in (0, 1)] if all(intervals) else None
        interval = f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]" if ends else ""
        cells.append(f"{100 * statistics.fmean(values):.2f}{interval}" if values else "–")
    return cells


def gap_cells(label: str, column: str, runs: list[dict[str, Any]]) -> list[str]:
    cells = [label]
    for gap in ("accuracy_gap", "demographic_parity_difference", "equalized_odds_difference"):
        values = [r["columns"][column][gap] for r in runs]
        intervals = [r["columns"][column]["intervals"][gap] for r in runs]
        ends = [statistics.fmean(ends[side] for ends in intervals) for side in (0, 1)]
        cells.append(f"{statistics.fmean(values):.4f} [{ends[0]:.4f}, {ends[1]:.4f}]")
    worst = [r["columns"][column]["worst_group"] for r in runs]
    return [*cells, ", ".join(sorted({w for w in worst if w})) or "–"]


if __name__ == "__main__":
    sys.exit(main())
