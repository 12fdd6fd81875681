"""`accord run --profile`: where the time was spent, on stderr and in the JSON."""

import time
from collections.abc import Mapping

from accord.core.timing import STAGES


def profile(busy: Mapping[str, float], began: float) -> dict[str, float]:
    """Returns busy seconds by stage, 0 for stages that did not occur, and `wall`, the seconds since `began`."""
    return {stage: busy.get(stage, 0.0) for stage in STAGES} | {"wall": time.perf_counter() - began}


def show(seconds: Mapping[str, float]) -> None:
    """Prints the table to stderr."""
    from rich.table import Table

    from accord.cli.console import console

    stages = {stage: value for stage, value in seconds.items() if stage != "wall"}
    total = sum(stages.values()) or 1.0
    table = Table("stage", "busy seconds", "share", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for stage, value in sorted(stages.items(), key=lambda item: -item[1]):
        table.add_row(stage, f"{value:.2f}", f"{value / total:.0%}")
    shown = console(stderr=True)
    shown.print(table)
    shown.print(f"{total:.2f} s busy over all threads, {seconds['wall']:.2f} s by the clock from start to report")
