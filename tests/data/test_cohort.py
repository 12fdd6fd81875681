import numpy as np
import pytest
from scipy import stats

from accord.core.errors import StudyError
from accord.core.streams import stream
from accord.data import cohort


def test_fixed_is_sorted_distinct_and_of_the_size_asked_for() -> None:
    drawn = cohort.fixed(50, 20, stream(1, "cohort"))
    assert drawn.dtype == np.int64
    assert len(drawn) == 20
    assert (np.diff(drawn) > 0).all()
    assert drawn.min() >= 0
    assert drawn.max() < 50


def test_fixed_takes_every_client_equally_often() -> None:
    draws = 4000
    counts = np.zeros(12)
    for round in range(draws):
        counts[cohort.fixed(12, 3, stream(5, "cohort", round))] += 1
    # Within a draw, counts are negatively correlated: the statistic is chi-square after this scaling.
    expected = draws * 3 / 12
    statistic = ((counts - expected) ** 2).sum() / expected * (12 - 1) / (12 - 3)
    assert stats.chi2.sf(statistic, 11) > 0.001


def test_a_cohort_of_everyone_is_the_population() -> None:
    assert cohort.everyone(7).tolist() == list(range(7))
    assert cohort.fixed(7, 7, stream(1, "cohort")).tolist() == list(range(7))
    assert cohort.poisson(7, 1.0, stream(1, "cohort")).tolist() == list(range(7))
    assert cohort.poisson(7, 0.0, stream(1, "cohort")).tolist() == []


def test_poisson_sizes_are_binomial_and_clients_equally_likely() -> None:
    draws, population, rate = 3000, 20, 0.15
    cohorts = [cohort.poisson(population, rate, stream(9, "cohort", round)) for round in range(draws)]
    sizes = np.bincount([len(drawn) for drawn in cohorts], minlength=population + 1)
    expected = draws * stats.binom.pmf(np.arange(population + 1), population, rate)
    common = expected > 5
    observed, wanted = sizes[common], expected[common]
    observed = np.append(observed, draws - observed.sum())
    wanted = np.append(wanted, draws - wanted.sum())
    assert stats.chisquare(observed, wanted).pvalue > 0.001
    taken = np.bincount(np.concatenate(cohorts), minlength=population)
    statistic = ((taken - draws * rate) ** 2 / (draws * rate * (1 - rate))).sum()
    assert stats.chi2.sf(statistic, population) > 0.001
    assert all((np.diff(drawn) > 0).all() for drawn in cohorts)


def test_a_million_clients() -> None:
    drawn = cohort.fixed(1_000_000, 10_000, stream(1, "cohort"))
    assert len(np.unique(drawn)) == 10_000
    assert 9_000 < len(cohort.poisson(1_000_000, 0.01, stream(1, "cohort"))) < 11_000


def test_a_cohort_larger_than_the_population_is_refused_by_name() -> None:
    with pytest.raises(StudyError, match=r"^program\.cohort_size: 11 clients .* at most 10$"):
        cohort.fixed(10, 11, stream(1, "cohort"))
    with pytest.raises(StudyError, match=r"^program\.cohort_size: .* at most 10$"):
        cohort.poisson(10, 1.1, stream(1, "cohort"))
