"""The final model at each client."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

import accord
from accord.config.schema import Study
from accord.fairness.audit import ClientSpread, client_spread
from accord.tasks.kinds import KINDS


def test_a_spread_names_its_score() -> None:
    spread: ClientSpread = client_spread(np.array([5, 9, 10]), np.array([10, 10, 10]), lower_is_better=False)
    written = KINDS["classification"].spread_json(spread)
    assert written["measure"] == "accuracy"
    assert (written["min"], written["max"]) == (0.5, 1.0)


def test_fine_tuning_and_models_of_ones_own_are_asked_for(small_study: Callable[..., Study], tmp_path: Path) -> None:
    plain = accord.run(small_study(), tmp_path / "plain").result
    assert plain is not None
    assert (plain["fine_tune"], plain["personal"]) == (None, None)
    tuned = accord.run(small_study(evaluation={"fine_tune": {"steps": 2}}), tmp_path / "tuned").result
    assert tuned is not None
    assert (tuned["fine_tune"]["clients"], tuned["fine_tune"]["steps"]) == (6, 2)
    ditto = accord.run(small_study(program={"name": "ditto", "rounds": 2}), tmp_path / "ditto").result
    assert ditto is not None
    assert ditto["personal"]["clients"] == 6
