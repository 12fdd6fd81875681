"""Each kind of task is one value: it fits its measures, and a new score needs no other file."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from accord.records.round_record import TestScores
from accord.reports.scoring import SCORINGS, _of_kind
from accord.tasks.base import Evaluated, Score, TaskKind
from accord.tasks.classification import CLASSIFICATION
from accord.tasks.kinds import KINDS, kind_of_classes, kind_of_scores
from accord.tasks.regression import REGRESSION

SOURCE = Path(__file__).parents[2] / "src" / "accord"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_kind_fits_together(kind: TaskKind) -> None:
    assert set(kind.in_tables) <= set(kind.scores)
    assert set(kind.beside) <= set(kind.all_scores)
    assert kind.headline is kind.in_tables[0]
    assert len({score.name for score in kind.all_scores}) == len(kind.all_scores)
    assert len({score.result_key for score in kind.all_scores}) == len(kind.all_scores)
    # What ranks groups is what is averaged over clients, in the same direction.
    assert kind.groups.ranked_by == kind.local.name == kind.group_scores[0].name
    assert kind.groups.lower_is_better == kind.local.lower_is_better
    assert {score.name for score in kind.group_scores} == set(kind.groups.names)
    assert {score.name for score in kind.gap_scores} == {gap.name for gap in kind.groups.gaps}
    assert set(kind.compared_gaps) <= {gap.name for gap in kind.groups.gaps}
    assert kind.gap.name == kind.gap_scores[0].name == kind.groups.gaps[0].name
    assert kind.worst_group.name == f"worst_group_{kind.local.name}"
    assert kind.worst_group.lower_is_better == kind.local.lower_is_better
    assert SCORINGS[kind.name].task == kind.name


def test_a_kind_is_known_by_its_classes_and_by_its_scores() -> None:
    assert (kind_of_classes(2), kind_of_classes(0)) == (CLASSIFICATION, REGRESSION)
    for kind in KINDS.values():
        assert kind_of_scores([score.result_key for score in kind.scores]) is kind
    # A record of an earlier version has a null accuracy in a regression, too.
    assert kind_of_scores(["accuracy", "loss", "n", "rmse", "mae", "r2"]) is REGRESSION


def test_a_new_score_is_one_value() -> None:
    """Once it stands in its kind, it is computed, recorded, compared and drawn: nothing else names it."""
    wrong = Score("error_rate", "Errors", form="share", of_rows=lambda seen: seen.predictions != seen.targets)
    kind = replace(CLASSIFICATION, scores=(*CLASSIFICATION.scores, wrong), in_tables=(*CLASSIFICATION.in_tables, wrong))
    seen = Evaluated(kind, np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), np.zeros(4))
    assert seen.value("error_rate") == 0.25
    record = TestScores({score.result_key: score.of(seen) for score in kind.scores}, len(seen))
    assert record.as_json()["error_rate"] == 0.25
    told = _of_kind(kind)
    assert told.on_test["error_rate"] == ("test", "error_rate")
    assert told.scores[-1].shown(0.25) == "25.0%"


@pytest.mark.parametrize("name", ["balanced_accuracy", "roc_auc", "average_precision", "mae", "r2", "rmse"])
def test_a_score_is_named_in_its_kind_and_where_it_is_computed(name: str) -> None:
    """Adding a score touches one file, one more for a formula of its own, and one for how it follows from sums."""
    named = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if _names(path, name)}
    assert len(named) <= 3
    assert named <= {
        "tasks/classification.py",
        "tasks/regression.py",
        "fairness/ranking.py",
        "fairness/errors_by_group.py",
        "orchestration/scores_from_sums.py",
    }


def test_records_read_kinds_without_waiting_for_pytorch() -> None:
    """`accord compare` and `accord report` read records; PyTorch and SciPy's statistics take seconds to load."""
    code = "import sys, accord.records.round_record; sys.exit('torch' in sys.modules or 'scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _names(path: Path, score: str) -> bool:
    return re.search(rf'"{score}"', path.read_text(encoding="utf-8")) is not None
