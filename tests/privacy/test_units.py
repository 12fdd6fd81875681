"""Each unit's rules, written out once more: what is clipped, where noise goes, what an account counts."""

from typing import get_args

import numpy as np
import pytest

from accord.privacy.plan import PrivacyPlan
from accord.privacy.units import UNITS, Unit

# clips, noise, sensitivity in clip norms, relation, accounts over clients of 5, 9 and 2 rows, what 4 steps cost
RULES = {
    "sample": ("sample", "step", 1, "add_remove", [5, 9, 2], 4),
    "batch": ("batch", "step", 2, "add_remove", [5, 9, 2], 4),
    "client": ("update", "sum", 1, "add_remove", [3], 1),
    "local": ("update", "update", 2, "replace_one", [3, 3, 3], 1),
}


@pytest.mark.parametrize("name", RULES)
def test_a_units_rules(name: str) -> None:
    clips, noise, factor, relation, accounts, charge = RULES[name]
    unit = UNITS[name]
    assert (unit.name, unit.clips, unit.noise) == (name, clips, noise)
    found = [unit.noises_steps, unit.noises_update, unit.noises_sum]
    assert found == [noise == each for each in ("step", "update", "sum")]
    assert unit.clips_samples == (name == "sample")
    assert unit.accounts(np.array([5, 9, 2])).tolist() == accounts
    assert unit.charge(4) == charge
    assert unit.amplified == (name != "local")
    assert unit.counts == ("samples" if noise == "step" else "clients")
    sampling = "poisson" if noise == "step" else "everyone"
    plan = PrivacyPlan(name, 0.5, 1.0, 1e-3, sampling=sampling)  # type: ignore[arg-type]
    assert plan.mechanism is unit
    assert plan.sensitivity == factor * 0.5
    assert plan.relation == relation
    assert plan.charge(4) == charge


def test_every_unit_has_rules() -> None:
    assert set(UNITS) == set(get_args(Unit)) == set(RULES)


def test_units_that_protect_the_same_share_words() -> None:
    assert UNITS["sample"].protects == UNITS["batch"].protects
    assert len({unit.protects for unit in UNITS.values()}) == 3
