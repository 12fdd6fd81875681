"""Statistics before training: what is counted, and that noise covers all of it."""

import math

import numpy as np
import pytest
import torch

from accord.config.load import make_study
from accord.config.sites_data import SitesData
from accord.core.params import Params
from accord.data.federated import DataSet
from accord.privacy import noise
from accord.sites.bindings import bound_rows, read_binding
from accord.sites.statistics import BINS, WITHHELD, counts, release_plan, released
from sites.hospitals import Hospitals


@pytest.fixture
def north(hospitals: Hospitals) -> DataSet:
    return bound_rows(read_binding(hospitals.bindings["north"]), "north")


def lines(hospitals: Hospitals) -> list[list[str]]:
    text = (hospitals.bindings["north"].parent / "export.csv").read_text()
    return [line.split(";") for line in text.splitlines()[1:]]


def test_counts_are_those_of_the_file(north: DataSet, hospitals: Hospitals) -> None:
    found, rows = counts(north), lines(hospitals)
    assert found["n"].tolist() == [60]
    assert found["column/ward"].tolist() == [sum(row[2] == value for row in rows) for value in "ab"]
    assert found["group/sex"].tolist() == [sum(row[3] == value for row in rows) for value in "fm"]
    assert found["labels"].tolist() == [sum(row[4] == value for row in rows) for value in ("no", "yes")]
    stays = np.histogram([float(row[1]) for row in rows], bins=BINS, range=(0, 60))[0]
    # Whole days on the edge between two bins may round to either in float32.
    assert np.abs(np.cumsum(found["column/stay"].numpy()) - np.cumsum(stays)).max() <= 3
    assert set(found) == {"n", "column/age", "column/stay", "column/ward", "group/sex", "labels"}


def test_every_row_adds_one_to_each_array(north: DataSet) -> None:
    found = counts(north)
    for gone in range(5):
        kept = np.delete(np.arange(len(north.train)), gone)
        without = counts(
            DataSet(
                "sites", north.train.take(kept), north.test, north.class_names, "", preprocessing=north.preprocessing
            )
        )
        steps = [found[name] - without[name] for name in found]
        assert all(sorted(each.tolist())[-1] == 1 and each.sum() == 1 for each in steps)
        assert math.sqrt(sum(float(each.square().sum()) for each in steps)) == pytest.approx(math.sqrt(len(found)))


def test_noise_has_the_deviation_that_is_charged(north: DataSet) -> None:
    exact = counts(north)
    found = torch.cat(
        [torch.cat([v - exact[k] for k, v in released(exact, 3.0, -(10**9)).items()]) for _ in range(300)]
    )
    assert float(found.std()) == pytest.approx(3.0 * math.sqrt(len(exact)), rel=0.05)
    assert abs(float(found.mean())) < 0.5
    # One Gaussian mechanism in which every row takes part.
    assert release_plan(3.0, 1e-6).event(60).sampling_probability == 1


def test_noise_is_widened_for_the_rounding_of_the_counts(north: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    gaussian = noise.gaussian

    def noted(generator: np.random.Generator, like: Params, std: float) -> Params:
        drawn.append(std)
        return gaussian(generator, like, std)

    monkeypatch.setattr(noise, "gaussian", noted)
    exact = counts(north)
    released(exact, 1000.0, 0)
    # n, 20 bins of age and of stay, two values of ward, sex and back: 47 numbers in 6 arrays.
    assert drawn == [pytest.approx(1000 * math.sqrt(6) / (1 - 1000 * math.sqrt(47) / 2**20), rel=1e-9)]


def test_small_counts_are_withheld(north: DataSet) -> None:
    for value in released(counts(north), 0.01, 10).values():
        assert bool(((value == WITHHELD) | (value >= 10)).all())


def test_a_schema_of_a_shape_has_classes_and_groups_alone() -> None:
    from accord.data.sources.sites import stand_in

    section = make_study(
        {
            "data": {
                "name": "sites",
                "data_set": "x",
                "schema": {"target": "y", "shape": [1, 2, 2], "categories": {"y": ["a", "b"]}},
            }
        }
    ).data
    assert isinstance(section, SitesData)
    assert {name: value.tolist() for name, value in counts(stand_in(section)).items()} == {"n": [2], "labels": [2, 0]}
