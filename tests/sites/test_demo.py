"""The demonstration: a coordinator and three sites as real processes, real rows, a report, and nothing left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from accord.core.errors import DataError
from accord.data.sources.adult import ORIGIN
from accord.data.sources.places import find


def adult_is_here() -> bool:
    try:
        find(ORIGIN, None)
    except DataError:
        return False
    return True


def processes() -> set[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(b"accord-demo" in word for word in words):
            found.add(b" ".join(words).decode(errors="replace"))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not adult_is_here(), reason="needs Adult's files")
def test_it_runs_reports_and_leaves_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path)}
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "accord", "federation", "demo", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "all processes are ended" in done.stdout
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "done"
    assert result["privacy"]["noise_source"] == "site"
    # Each site adds the least noise that keeps its training within the study's epsilon of 2. Three evaluations, with
    # noise of 16 times their sensitivity, come on top.
    assert 1.9 < result["privacy"]["epsilon"] <= 2.1
    assert result["privacy"]["per_client"]["min"] > 1.8
    assert result["test"]["accuracy"] > 0.78, "75.2% is what predicting no high income at all would give"
    assert result["faults"]["dropped"] == 0
    assert {name.partition("=")[0] for name in result["fairness"]["groups"]} == {"sex", "race"}
    assert (tmp_path / "run" / "report.html").stat().st_size > 100_000
    trail = [sys.executable, "-m", "accord", "audit-trail", str(tmp_path / "run"), "--json"]
    traced = json.loads(subprocess.run(trail, capture_output=True, text=True, check=True).stdout)
    assert traced["whole"]
    figures = {each["figure"] for each in traced["traces"]}
    assert {
        "result.json: privacy.epsilon",
        "result.json: test.accuracy",
        "rounds.jsonl: round 10: epsilon.max",
    } <= figures
    assert all(each["sources"] for each in traced["traces"])
    assert list((tmp_path / "tmp").iterdir()) == []
    assert processes() == set()
