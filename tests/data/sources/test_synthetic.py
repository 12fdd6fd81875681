import numpy as np
import pytest
import torch

from accord.config.data import SyntheticData
from accord.data.sources.synthetic import load_synthetic


def test_shapes_and_names() -> None:
    section = SyntheticData(name="synthetic", train_rows=70, test_rows=9, features=3, classes=4, groups=5)
    data = load_synthetic(section, seed=0)
    assert data.train.x.shape == (70, 3)
    assert data.test.x.shape == (9, 3)
    assert data.train.x.dtype == torch.float32
    assert data.class_names == ("0", "1", "2", "3")
    assert data.train.groups["group"].names == ("0", "1", "2", "3", "4")


def test_the_seed_alone_decides_and_test_rows_do_not_depend_on_training_rows() -> None:
    small = load_synthetic(SyntheticData(name="synthetic", train_rows=50), seed=1)
    large = load_synthetic(SyntheticData(name="synthetic", train_rows=90), seed=1)
    assert small.test.x.equal(large.test.x)
    assert small.test.y.equal(large.test.y)
    assert load_synthetic(SyntheticData(name="synthetic", train_rows=50), seed=1).train.x.equal(small.train.x)
    assert not load_synthetic(SyntheticData(name="synthetic"), seed=2).test.x.equal(small.test.x)


def test_classes_are_unit_gaussians_at_the_separation_given() -> None:
    section = SyntheticData(
        name="synthetic", train_rows=60_000, test_rows=30_000, features=6, classes=3, separation=4.0
    )
    data = load_synthetic(section, seed=5)
    for label in range(3):
        rows, fresh = data.train.x[data.train.y == label], data.test.x[data.test.y == label]
        assert float(rows.mean(dim=0).norm()) == pytest.approx(4.0, abs=0.05)
        assert rows.std(dim=0).numpy() == pytest.approx(np.ones(6), abs=0.03)
        assert rows.mean(dim=0).numpy() == pytest.approx(fresh.mean(dim=0).numpy(), abs=0.06)
    counts = torch.bincount(data.train.y)
    assert counts.numpy() == pytest.approx(20_000, abs=600)


def test_groups_are_independent_of_labels() -> None:
    data = load_synthetic(SyntheticData(name="synthetic", train_rows=40_000), seed=2)
    table = np.zeros((2, 2))
    np.add.at(table, (data.train.y.numpy(), data.train.groups["group"].codes), 1)
    assert table / 40_000 == pytest.approx(np.full((2, 2), 0.25), abs=0.01)


def test_a_linear_target_has_the_slope_and_the_noise_promised() -> None:
    section = SyntheticData(
        name="synthetic", target_kind="number", train_rows=40_000, test_rows=2_000, features=5, separation=3.0
    )
    data = load_synthetic(section, seed=4)
    assert (data.class_names, data.regression) == ((), True)
    assert data.train.y.dtype == torch.float32
    x = np.hstack([data.train.x.double().numpy(), np.ones((40_000, 1))])
    found, residuals, _, _ = np.linalg.lstsq(x, data.train.y.double().numpy(), rcond=None)
    assert np.linalg.norm(found[:-1]) == pytest.approx(3.0, abs=0.03)
    assert residuals[0] / 40_000 == pytest.approx(1.0, abs=0.03)
    fresh = np.hstack([data.test.x.double().numpy(), np.ones((2_000, 1))])
    assert np.mean((fresh @ found - data.test.y.numpy()) ** 2) == pytest.approx(1.0, abs=0.1)
    fewer = load_synthetic(section.model_copy(update={"train_rows": 10}), seed=4)
    assert fewer.test.y.equal(data.test.y)


def test_a_linear_target_has_no_classes() -> None:
    with pytest.raises(ValueError, match="classes belongs to target_kind class; leave it out"):
        SyntheticData(name="synthetic", target_kind="number", classes=3)
