import numpy as np
import pytest
import torch

from accord.config.data import DigitsData
from accord.core.errors import DataError
from accord.data.load import load_data
from accord.data.sources.digits import load_digits


def test_rows_shapes_and_range() -> None:
    data = load_digits(DigitsData(name="digits"))
    assert data.train.x.shape == (1437, 1, 8, 8)
    assert data.test.x.shape == (360, 1, 8, 8)
    assert data.train.x.dtype == torch.float32
    assert float(data.train.x.min()) == 0.0
    assert float(data.train.x.max()) == 1.0
    assert len(data.class_names) == 10


def test_the_cut_is_complete_stratified_and_the_same_for_every_seed() -> None:
    from sklearn.datasets import load_digits as bundled

    source = bundled()
    one, other = (load_data(DigitsData(name="digits"), seed) for seed in (1, 2))
    assert one.test.x.equal(other.test.x)
    assert one.train.y.equal(other.train.y)
    both = torch.cat([one.train.x, one.test.x]).reshape(-1, 64).numpy()
    assert sorted(map(bytes, both)) == sorted(map(bytes, (source.data / 16).astype(np.float32)))
    for part, share in ((one.train, 0.8), (one.test, 0.2)):
        counts = np.bincount(part.y.numpy(), minlength=10)
        assert np.abs(counts - share * np.bincount(source.target)).max() <= 1


def test_labels_stay_with_their_images() -> None:
    from sklearn.datasets import load_digits as bundled

    source = bundled()
    label_of = {
        bytes(image): label for image, label in zip((source.data / 16).astype(np.float32), source.target, strict=True)
    }
    data = load_digits(DigitsData(name="digits", test_fraction=0.5))
    for part in (data.train, data.test):
        images = part.x.reshape(-1, 64).numpy()
        assert [label_of[bytes(image)] for image in images] == part.y.tolist()


def test_the_stroke_threshold_is_the_one_the_docstring_gives() -> None:
    data = load_digits(DigitsData(name="digits"))
    for part in (data.train, data.test):
        ink = (part.x * 16).sum(dim=(1, 2, 3))
        assert part.groups["stroke"].codes.tolist() == (ink > 313).int().tolist()
    assert "threshold is 313" in " ".join(str(load_digits.__doc__).split())


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_part_without_a_row_of_each_class_is_refused(fraction: float) -> None:
    with pytest.raises(DataError, match=r"^data\.test_fraction: .* between 0.01 and 0.99$"):
        load_digits(DigitsData(name="digits", test_fraction=fraction))
