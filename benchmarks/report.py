"""RESULTS.md: the benchmark's table for people, with the machine, the versions and how it was made."""

import os
import platform
from pathlib import Path
from typing import Any

from accord.core.versions import versions

_NOTES = Path(__file__).parent / "NOTES.md"


def page(rows: list[Any], *, heading: bool = True) -> str:
    """The whole page, or the rows alone."""
    lines = [_line(row) for row in rows]
    if not heading:
        return "\n".join(lines)
    about = ", ".join(f"{name} {value}" for name, value in versions().items())
    return "\n".join(
        [
            "# Speed",
            "",
            "Written by `make bench` (peers: `make bench-peers` first). Two sides do rounds in turn, A B A B, in one",
            "run; the figure is the median of the pairs' ratios after a pair of warm-up, in brackets their quartiles.",
            "Ratios are Accord's speed over the other's. Accuracy is test accuracy after as many rounds on both sides,",
            "so that equal work can be seen; networks start from values drawn alike, not from the same ones, and",
            "batches and noise are drawn apart, so single runs differ by a point or two, private ones by ten. Each row",
            "says when it was measured, and at which commit. All rows but the last three have `engine.compile: true`,",
            "which a run chooses by itself where it is long enough to pay for compiling: from 70 rounds of this",
            "workload on for 784-200-200-10, 35 for the CNN, 1,800 for softmax regression.",
            "",
            f"{about}; {_processor()}.",
            "",
            "| workload | against | ratio | asked | Accord / other | accuracy %, Accord / other | measured |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *lines,
            "",
            _NOTES.read_text().rstrip(),
            "",
        ]
    )


def _line(row: Any) -> str:
    low, high = row.spread
    asked = "" if row.target is None else f"{'≤' if row.most else '≥'} {row.target:g}: {'met' if row.ok else 'NOT met'}"
    digits = 0 if row.figures[0] >= 100 else 2
    figures = " / ".join(f"{value:,.{digits}f}" for value in row.figures)
    known = all(value is not None for value in row.accuracy)
    accuracy = " / ".join(f"{100 * value:.1f}" for value in row.accuracy) if known else ""
    return (
        f"| {row.workload} | {row.against} | {row.ratio:.2f} ({low:.2f} to {high:.2f}) | {asked} | "
        f"{figures} {row.unit} | {accuracy} | {row.measured} |"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return (named[0] if named else platform.processor()) + memory
