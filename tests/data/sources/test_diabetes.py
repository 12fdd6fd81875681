import numpy as np
import pytest
import torch

from accord.config.data import DiabetesData
from accord.core.errors import DataError
from accord.data.load import load_data
from accord.data.sources.diabetes import RANGES, load_diabetes


def section(**changes: object) -> DiabetesData:
    return DiabetesData.model_validate({"name": "diabetes"} | changes)


def test_rows_shapes_and_kinds() -> None:
    data = load_diabetes(section())
    assert data.train.x.shape == (353, 9)
    assert data.test.x.shape == (89, 9)
    assert data.train.x.dtype == data.train.y.dtype == torch.float32
    assert data.regression
    assert (data.class_names, data.derived) == ((), ())
    assert data.train.groups["sex"].names == ("1", "2")


def test_the_cut_is_complete_stratified_and_the_same_for_every_seed() -> None:
    from sklearn.datasets import load_diabetes as bundled

    source = bundled(scaled=False)
    one, other = (load_data(section(), seed) for seed in (1, 2))
    assert one.test.x.equal(other.test.x)
    assert one.train.y.equal(other.train.y)
    both = torch.cat([one.train.y, one.test.y]).tolist()
    assert sorted(both) == sorted(source.target)
    sexes = np.bincount(source.data[:, 1].astype(int) - 1)
    for part, share in ((one.train, 0.8), (one.test, 0.2)):
        assert np.abs(np.bincount(part.groups["sex"].codes) - share * sexes).max() <= 1


def test_rows_are_the_published_ones_scaled_by_the_ranges_given() -> None:
    from sklearn.datasets import load_diabetes as bundled

    source = bundled(scaled=False)
    data = load_diabetes(section(keep_protected=True))
    columns = [source.feature_names.index(name) for name in RANGES]
    low, high = np.array(list(RANGES.values())).T
    for part in (data.train, data.test):
        raw = (part.x[:, :9].double().numpy() + 1) / 2 * (high - low) + low
        for row, sex, y, feature in zip(raw, part.groups["sex"].codes, part.y.tolist(), part.x[:, 9], strict=True):
            same = np.isclose(source.data[:, columns], row, rtol=0, atol=1e-3).all(axis=1)
            assert (source.target[same] == y).any()
            assert (source.data[same, 1] == sex + 1).any()
            assert float(feature) == 2 * sex - 1
        assert float(part.x.abs().max()) <= 1


def test_the_target_is_scaled_by_a_declared_range_alone() -> None:
    plain, scaled = load_diabetes(section()), load_diabetes(section(target_range=(0.0, 400.0)))
    torch.testing.assert_close(scaled.test.y * 400, plain.test.y)
    assert float(plain.test.y.max()) > 200
    with pytest.raises(
        DataError, match=r"progression \d+ is outside of its range 0 to 200; .* widen data.target_range"
    ):
        load_diabetes(section(target_range=(0.0, 200.0)))


@pytest.mark.parametrize("fraction", [0.0001, 0.9999])
def test_a_part_without_a_row_of_each_sex_is_refused(fraction: float) -> None:
    with pytest.raises(DataError, match=r"^data\.test_fraction: .* between 0.01 and 0.99$"):
        load_diabetes(section(test_fraction=fraction))


@pytest.mark.parametrize("bounds", [[1.0], [2.0, 1.0], [0.0, 1.0, 2.0]])
def test_a_target_range_rises(bounds: list[float]) -> None:
    with pytest.raises(ValueError, match=r"target_range needs \[low, high\] with low < high"):
        section(target_range=bounds)
