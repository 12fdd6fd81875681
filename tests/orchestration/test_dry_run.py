"""What a dry run says, against the run itself; and that it writes, charges and changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import accord
from accord.cli.dry_run import rows
from accord.config.schema import Study
from accord.orchestration.dry_run import describe, probe
from accord.orchestration.make_ready import make_twin_ready
from accord.orchestration.prepare import prepare

PLANS: list[dict[str, Any]] = [
    {"privacy": {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-3}},
    {"privacy": {"unit": "sample", "epsilon": 3.0, "delta": 1e-3}, "program": {"name": "fedavg", "cohort_size": 2}},
    {
        "privacy": {"unit": "client", "noise_multiplier": 1.0, "delta": 1e-3, "clip_norm": 1.0},
        "program": {"name": "fedavg", "rounds": 3, "weights": "uniform"},
    },
]


@pytest.mark.parametrize("sections", PLANS)
def test_noise_and_epsilon_are_those_of_the_run(
    small_study: Callable[..., Study], tmp_path: Path, sections: dict[str, Any]
) -> None:
    study = small_study(**sections)
    told = describe(prepare(study), None)["privacy"]
    result = accord.run(study, tmp_path / "run").result
    assert result is not None
    assert told["noise_multiplier"] == result["privacy"]["noise_multiplier"]
    assert told["epsilon_planned"] == pytest.approx(result["privacy"]["epsilon"], rel=1e-9)


def test_a_probe_changes_nothing_of_the_run_after_it(small_study: Callable[..., Study], tmp_path: Path) -> None:
    study = small_study(program={"name": "scaffold", "rounds": 4})
    prepared = prepare(study)
    found = probe(prepared)
    assert prepared.engine.carried == {}
    assert found.rounds == 4
    again = accord.run(study, tmp_path / "run")
    assert len(again.rounds) == 4


def test_time_is_measured_or_not_told(small_study: Callable[..., Study]) -> None:
    prepared = prepare(small_study(program={"name": "fedavg", "rounds": 100}))
    found = probe(prepared)
    assert found.rounds == 4
    assert found.each is not None
    assert found.seconds is not None
    assert found.seconds > 90 * found.each
    hasty = probe(prepared, seconds=0.0)
    assert (hasty.rounds, hasty.seconds, hasty.each) == (1, None, None)
    assert hasty.peak_mb > 50


def test_what_would_run(small_study: Callable[..., Study]) -> None:
    told = describe(prepare(small_study(), "mine"), None)
    assert (told["study"], told["clients"], told["rounds"], told["parameters"]) == ("mine", 6, 4, 21)
    assert told["rows_per_client"] == {"min": 50, "median": 50.0, "max": 50}
    assert told["privacy"] is None


@pytest.mark.parametrize(("twin", "privacy"), [(True, PLANS[0]["privacy"]), (False, PLANS[0]["privacy"]), (True, None)])
def test_a_twin_is_told_with_its_time(
    small_study: Callable[..., Study], twin: bool, privacy: dict[str, Any] | None
) -> None:
    prepared = prepare(small_study(privacy=privacy, evaluation={"twin": twin}), "mine")
    assert prepared.has_twin == (twin and privacy is not None)
    measured = probe(make_twin_ready(prepared)) if prepared.has_twin else None
    told = describe(prepared, probe(prepared), measured)
    assert (told["twin"] is not None) == prepared.has_twin
    shown = dict(rows(told))
    assert ("twin" in shown) == ("both" in shown) == prepared.has_twin
    if told["twin"] is not None:
        assert told["twin"]["seconds"] > 0
        assert "without privacy" in shown["twin"]
