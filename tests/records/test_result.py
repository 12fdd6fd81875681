"""What a run says of itself is taken from its records."""

import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from accord.privacy.ledger import Ledger
from accord.privacy.plan import PrivacyPlan
from accord.privacy.units import Unit
from accord.records import ledger_file as joint_ledger
from accord.records.ledger_file import locked
from accord.records.result import peak_rss_mb, privacy_summary, released, totals
from accord.records.round_record import RoundRecord
from accord.tasks.classification import CLASSIFICATION


def record(number: int) -> RoundRecord:
    return RoundRecord(number, (0,), (0,), (), 100, 10, None, None, None, 50, 60, 2, {"train": 2.0, "evaluate": 0.5})


def test_sums_over_rounds() -> None:
    values = totals([record(1), record(2), record(3)], recovered=1)
    assert values["communication"] == {"uplink_bytes": 150, "downlink_bytes": 180, "messages": 6}
    assert values["seconds"] == 7.5
    assert values["seconds_by_stage"] == {"train": 6.0, "evaluate": 1.5}
    assert values["samples_per_second"] == 300 / 6
    assert values["faults"] == {"dropped": 0, "timed_out": 0, "recovered": 1}
    assert totals([], 0)["samples_per_second"] == 0.0


def test_the_headline_is_the_worst_clients_epsilon() -> None:
    plan = PrivacyPlan("sample", 1.0, 2.0, 1e-4, expected_size=10, budget=5.0)
    ledger = Ledger.open(plan, [100, 200, 400]).charge({0: 10, 1: 20})
    summary = privacy_summary(ledger)
    assert summary is not None
    spent = ledger.epsilons()
    assert summary["epsilon"] == summary["per_client"]["max"] == spent.max() > 0
    assert summary["per_client"]["min"] == 0.0
    assert summary["per_client"]["median"] == sorted(spent)[1]
    assert (summary["unit"], summary["delta"], summary["budget"]) == ("sample", 1e-4, 5.0)
    assert summary["noise_source"] == "simulated"
    assert summary["joint"] is None
    assert privacy_summary(None) is None


def test_on_a_joint_ledger_the_headline_is_of_all_runs_together(tmp_path: Path) -> None:
    """And of all that was charged: a round that was charged, but not finished, counts."""
    plan = PrivacyPlan("sample", 1.0, 2.0, 1e-4, expected_size=10, budget=5.0)
    sizes = np.array([100, 200, 400])
    for rounds in ([{0: 10, 1: 20}], [{1: 5}, {2: 7}]):
        with locked(tmp_path / "j") as opened:
            before = opened.before(plan.delta, plan.accountant, "rows", 3)
            entry = joint_ledger.entry(opened, opened.run("study"), "study", plan, "rows", sizes)
            entry.begin()
        ledger = Ledger.open(plan, sizes, before)
        for number, steps in enumerate(rounds, start=1):
            entry.charge(number, steps)
    finished = ledger.charge({1: 5})
    summary = privacy_summary(finished, entry)
    assert summary is not None
    together = [plan.epsilon(100, 10), plan.epsilon(200, 25), plan.epsilon(400, 7)]
    assert summary["epsilon"] == summary["per_client"]["max"] == max(together)
    assert summary["per_client"]["min"] == min(together)
    own = {"min": 0.0, "median": plan.epsilon(400, 7), "max": plan.epsilon(200, 5)}
    assert summary["joint"] == {
        "ledger": str(tmp_path / "j"), "run": entry.run, "runs": 2, "own": own,
        "head": entry.tail.head, "lines": 5,
    }  # fmt: skip


def test_the_ledgers_limits_are_told() -> None:
    told = {kind: released(plan, groups=True, per_client=True, twin=kind != "none") for kind, plan in PLANS.items()}
    words = {kind: " ".join(row["what"] + row["how"] for row in rows) for kind, rows in told.items()}
    assert "no privacy was asked for" in words["none"]
    assert "noised per-sample clipped gradients" in words["sample"]
    assert "noised clipped batch gradients" in words["batch"]
    assert "noised at the server" in words["client"]
    for kind in ("sample", "batch", "client"):
        assert "covered by no guarantee" in words[kind]  # the twin
        assert "simulated" in words[kind]
        assert "no lower bits are left" in words[kind]
    assert "covered by no guarantee" not in words["none"]


PLANS = {
    "none": None,
    "sample": PrivacyPlan("sample", 1.0, 1.0, 1e-4, expected_size=10),
    "batch": PrivacyPlan("batch", 1.0, 1.0, 1e-4, expected_size=10),
    "client": PrivacyPlan("client", 1.0, 1.0, 1e-4, sampling="everyone"),
}


def test_each_option_adds_the_row_of_what_it_releases() -> None:
    def told(**options: bool) -> list[str]:
        asked = {"groups": False, "per_client": False, "twin": False} | options
        return [row["what"] for row in released(None, **asked)]  # type: ignore[arg-type]

    words, base = CLASSIFICATION.words, told()
    rows = {
        "groups": words.released_groups,
        "per_client": "figures on each client's share of the test rows",
        "twin": f"the twin's model and {words.released_score}",
        "early_stopping": "when to stop, and which round's model is kept",
        "predictions": "label, prediction, probabilities and groups of each test row",
        "personal": f"{words.released_score} of clients' own models over clients",
        "fine_tune": f"{words.released_score} of fine-tuned models over clients",
    }
    assert base == ["client updates", words.released_test, "who held what"]
    for option, row in rows.items():
        assert [what for what in told(**{option: True}) if what not in base] == [row]
    assert set(told(**dict.fromkeys(rows, True))) == {*base, *rows.values()}


@pytest.mark.parametrize(("platform", "megabytes"), [("darwin", 3.0), ("freebsd14", 3 * 2**10), ("win32", 3 * 2**10)])
def test_peak_memory_where_the_system_tells_it_otherwise(
    platform: str, megabytes: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS counts bytes, other systems kilobytes."""
    monkeypatch.setattr(Path, "exists", lambda path: False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=3 * 2**20))
    assert peak_rss_mb() == megabytes


@pytest.mark.parametrize("unit", ["sample", "batch", "client", "local"])
def test_under_privacy_it_is_told_what_else_is_known(unit: Unit) -> None:
    sampling: dict[str, Any] = {"expected_size": 10} if unit in ("sample", "batch") else {"sampling": "everyone"}
    plan = PrivacyPlan(unit, 1.0, 1.0, 1e-4, **sampling)
    without, private = (
        [row["what"] for row in released(each, groups=False, per_client=False, twin=False)] for each in (None, plan)
    )
    assert [what for what in private if what not in without] == [
        *(["sum of clipped client updates", "client updates on their way to the server"] if unit == "client" else []),
        "noised sums, gradients, updates and counts",
        "number of clients and of training rows of each",
        "who was in each cohort, bytes and times by round",
        "rows processed",
        "the model's code",
        "noise",
    ]


def test_peak_memory_is_what_linux_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: True)
    told = "Name:\tpython\nVmPeak:\t 9216 kB\nVmHWM:\t 3072 kB\nVmRSS:\t 1024 kB\n"
    monkeypatch.setattr(Path, "read_text", lambda path: told)
    assert peak_rss_mb() == 3.0


def test_metrics_of_ones_own_are_listed_among_what_is_released() -> None:
    listed = [row["what"] for row in released(None, groups=False, per_client=False, twin=False, metrics=["f1", "mcc"])]
    assert "metrics of one's own: f1, mcc" in listed
    assert any("areas under curves" in what and "commonest label" in what for what in listed)


def test_peak_memory_is_this_processs_and_not_its_parents() -> None:
    held_here = np.ones(80_000_000, dtype=np.uint8)
    held_here[::4096] = 2
    code = "from accord.records.result import peak_rss_mb; print(peak_rss_mb())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    small = float(child.stdout)
    big_first = "import subprocess, sys; x = bytearray(600_000_000); x[::4096] = b'1' * len(x[::4096]); "
    code = f"{big_first} subprocess.run([sys.executable, '-c', {code!r}])"
    big = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert abs(float(big.stdout) - small) < 100
    assert peak_rss_mb() > held_here.nbytes / 2**20


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"at_sites": True}, "exact, as the sites' owners chose: outside the guarantee"),
        ({"at_sites": True, "noised_counts": True}, "noised and charged by each site whose policy says so"),
        ({}, "outside the guarantee"),
    ],
)
def test_it_says_what_protects_test_rows(how: dict[str, bool], said: str) -> None:
    rows = released(None, groups=True, per_client=True, twin=False, **how)  # type: ignore[arg-type]
    about = [row["how"] for row in rows if "test rows" in row["how"]]
    assert len(about) >= 2
    assert all(each.endswith(said) for each in about)
