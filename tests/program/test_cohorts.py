"""Cohorts repeat, have their size, and fit the population."""

from collections.abc import Callable

import numpy as np
import pytest

from accord.config.schema import Study
from accord.core.errors import StudyError
from accord.core.streams import bind
from accord.program.cohorts import check_cohort, draw_cohort, participations

STREAMS = bind(0)


def test_cohorts_repeat_and_have_their_size(small_study: Callable[..., Study]) -> None:
    study = small_study(program={"name": "fedavg", "cohort_size": 3})
    drawn = [draw_cohort(study, 50, round_number, STREAMS) for round_number in range(1, 30)]
    assert drawn == [draw_cohort(study, 50, round_number, STREAMS) for round_number in range(1, 30)]
    assert all(len(set(cohort)) == 3 for cohort in drawn)
    assert len(set(drawn)) > 20
    assert draw_cohort(small_study(), 4, 1, STREAMS) == (0, 1, 2, 3)


def test_poisson_cohorts_come_at_their_rate(small_study: Callable[..., Study]) -> None:
    study = small_study(program={"name": "fedavg", "cohort_size": 10, "cohort_sampling": "poisson"})
    sizes = [len(draw_cohort(study, 100, round_number, STREAMS)) for round_number in range(1, 401)]
    assert abs(np.mean(sizes) - 10) < 4 * np.sqrt(100 * 0.1 * 0.9 / 400)
    assert abs(np.var(sizes) - 9) < 3


def test_participations_are_what_will_be_drawn(small_study: Callable[..., Study]) -> None:
    study = small_study(program={"name": "fedavg", "rounds": 20, "cohort_size": 3})
    counts = np.zeros(10, dtype=int)
    for round_number in range(1, 21):
        counts[list(draw_cohort(study, 10, round_number, STREAMS))] += 1
    assert participations(study, 10, STREAMS).tolist() == counts.tolist()


def test_cohort_and_quorum_must_fit_the_population(small_study: Callable[..., Study]) -> None:
    check_cohort(small_study(program={"name": "fedavg", "cohort_size": 4}), 4)
    with pytest.raises(StudyError, match=r"program.cohort_size 5 is larger than the population of 4 clients"):
        check_cohort(small_study(program={"name": "fedavg", "cohort_size": 5}), 4)
    with pytest.raises(StudyError, match=r"program.min_clients 9"):
        check_cohort(small_study(program={"name": "cyclic", "min_clients": 9}), 4)
