"""Comparing and sweeping load matplotlib only where a figure is drawn."""

import subprocess
import sys
from pathlib import Path

SHOWN = """
import sys
sys.path.insert(0, {tests!r})
import made_sweeps
from reports import comparing
from rich.console import Console
import accord.cli.compare, accord.cli.sweep, accord.cli.sweep_progress, accord.sweeps.run, accord.sweeps.points
import accord.orchestration.runs, accord.reports.run.terminal
from accord.records.sweep_folder import summary_text, table_text
from accord.reports.compare.terminal import comparison_table
from accord.reports.sweep.text import points_table

found, made = comparing.three_sides(), made_sweeps.made({{"a.b": [1, 2]}}, private=True, groups=True)
Console().print(comparison_table(found), points_table(made))
found.as_json(), table_text(made), summary_text(made), found._repr_html_(), made._repr_html_()
before = "matplotlib" in sys.modules
from accord.reports.compare.page import render
render(found)
print("loaded:", before, "matplotlib" in sys.modules)
"""


def test_nothing_but_a_figure_loads_matplotlib() -> None:
    tests = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", SHOWN.format(tests=tests)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: False True"
